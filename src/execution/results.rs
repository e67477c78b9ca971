//! Results of a run. Small ones stand in the row; large ones lie beside it as an object, so that lists and updates of the
//! table stay fast. Beside the existing server all stand in the row, where it reads them.

use bytes::Bytes;
use serde_json::value::RawValue;
use sqlx::types::Json as SqlJson;

use crate::{
    app::App,
    auth::tokens,
    store::{self, Id, Json, Tx, runs::Locked},
};

/// Bytes of results that stand in the row.
const IN_ROW: usize = 1_000_000;
/// Bytes of results that are kept at all.
pub const MAX_BYTES: usize = 64 << 20;
/// The key of results that were removed because their time was over; no object has it.
pub const EXPIRED: &str = "expired";
/// Values of one document of results, as `mend` counts them.
pub const MAX_VALUES: usize = 40_000_000;

/// Results of a report, ready to be kept.
#[derive(Debug, Clone)]
pub struct Results {
    document: Json,
    /// The object in which they lie already, if they are large.
    key: Option<String>,
}

/// Makes results ready to be kept. Comes before the transaction: an object may be far away. An error is that of the objects or
/// of the database; what was stored for nothing goes with the execution.
pub async fn place(app: &App, execution: Id, results: Json) -> anyhow::Result<Results> {
    let text = results.0.get();
    if text.len() <= IN_ROW || app.coexists || store::executions::glance(&app.db, execution).await?.is_none() {
        return Ok(Results { document: results, key: None });
    }
    let key = format!("{}/{}.json", folder(execution), tokens::digest(text));
    app.objects.put(&key, Bytes::copy_from_slice(text.as_bytes())).await?;
    Ok(Results { document: results, key: Some(key) })
}

impl Results {
    /// The object in which they lie. An execution of the existing server has no row of ours to name one in.
    fn key(&self, row: &Locked) -> Option<&str> {
        self.key.as_deref().filter(|_| row.is_ours())
    }

    /// What stands in the row.
    pub fn in_row(&self, row: &Locked) -> anyhow::Result<Json> {
        Ok(match self.key(row) {
            Some(_) => SqlJson(RawValue::from_string("{}".to_owned())?),
            None => self.document.clone(),
        })
    }
}

/// Keeps results, in the transaction that has locked the execution; with `only_if_none`, only where none are kept yet.
pub async fn keep(
    tx: &mut Tx,
    execution: Id,
    row: &Locked,
    results: &Results,
    only_if_none: bool,
) -> anyhow::Result<()> {
    if store::executions::set_results(tx, execution, &results.in_row(row)?, only_if_none).await? {
        kept(tx, execution, row, results).await?;
    }
    Ok(())
}

/// Notes where results lie whose part in the row has been written.
pub async fn kept(tx: &mut Tx, execution: Id, row: &Locked, results: &Results) -> sqlx::Result<()> {
    let key = results.key(row);
    if key.is_some() || row.has_results_beside {
        store::runs::set_results_key(tx, execution, key).await?;
    }
    Ok(())
}

/// Results that lie beside their row; `None` if the object is gone.
pub async fn load(app: &App, key: &str) -> anyhow::Result<Option<Json>> {
    let Some(bytes) = app.objects.get(key).await? else { return Ok(None) };
    let text = String::from_utf8(bytes.into())?;
    Ok(Some(SqlJson(RawValue::from_string(text)?)))
}

/// Where the results of an execution lie, also those of a report that came to nothing.
pub fn folder(execution: Id) -> String {
    format!("results/{execution}")
}
