//! Parameters of a run are held against the schema that its version ships, before the run is accepted.

use serde_json::Value;
use tokio::sync::Semaphore;

use crate::{
    build::schema,
    error::{Error, Result},
    store::Json,
};

/// What the QGIS plugin sends along to every script, for itself and for the letter at the end of a run. A schema has a say in
/// these only if it names them.
const COMPANIONS: [&str; 3] = ["local_context", "task_name", "task_notes"];

/// Checks at one time: a schema costs processor time, which other requests need too.
static CHECKS: Semaphore = Semaphore::const_new(2);

/// Refuses parameters that do not fit. They are kept as they were written, whatever this reading makes of their numbers.
pub async fn check(schema: Json, params: &Json) -> Result<()> {
    let _slot = CHECKS.acquire().await.map_err(anyhow::Error::from)?;
    let params = params.0.get().to_owned();
    let faults = tokio::task::spawn_blocking(move || faults(schema.0.get(), &params)).await;
    let faults = faults.map_err(anyhow::Error::from)?.map_err(|why| Error::invalid_as("invalid_parameters", why))?;
    if faults.is_empty() { Ok(()) } else { Err(Error::Parameters(faults)) }
}

fn faults(schema: &str, params: &str) -> Result<Vec<crate::error::Fault>, String> {
    let mut params: Value = serde_json::from_str(params)
        .map_err(|_| "A number in the parameters is too large to be checked against the script's schema.")?;
    let named: Value = serde_json::from_str(schema).unwrap_or_default();
    if let Some(params) = params.as_object_mut() {
        for key in COMPANIONS {
            let required = named["required"].as_array().is_some_and(|keys| keys.iter().any(|named| named == key));
            if named["properties"].get(key).is_none() && !required {
                params.remove(key);
            }
        }
    }
    schema::faults(schema, &params)
}
