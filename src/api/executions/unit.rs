//! `/api/v1/execution/<id>/params` and `…/journal`: what the runner of a container fetches and sends, with the run's own
//! credential and nothing else. A piece of the journal is stored together with its offset, so nothing is stored twice.

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::missing;
use crate::{
    api::{
        Data, data,
        extract::{json, path::ExecutionPath},
    },
    app::App,
    auth::{Reporter, Run},
    engine::Entry,
    error::{Error, Result},
    execution::{
        failure::Failure,
        journal,
        report::{self, By, Report},
        secrets::Mask,
        status::Status,
    },
    store::{self, executions::Parts, runs::ExecutionRun},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(params)).routes(routes!(add))
}

/// How far the journal of a run is stored.
#[derive(Serialize, utoipa::ToSchema)]
struct Stored {
    /// Bytes. The runner goes on here, wherever it believed to be.
    offset: i64,
}

/// A piece of the journal.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document; it is read leniently")]
struct Piece {
    /// Where it begins: bytes.
    offset: i64,
    /// Where the next one begins.
    next: i64,
    /// Whole lines, each a word of the runner in JSON.
    lines: String,
}

/// Whose credential is brought must be the run that is spoken of.
fn own(who: &Reporter, path: &ExecutionPath) -> Result<Run> {
    match who {
        Reporter::Run(run) if run.execution == path.0 => Ok(*run),
        Reporter::Run(_) => Err(missing()),
        Reporter::User(_) => Err(Error::forbidden()),
    }
}

/// The parameters of a run, for itself.
#[utoipa::path(get, path = "/api/v1/execution/{execution}/params", tag = "executions", security(("bearerAuth" = [])), params(("execution" = String, Path)),
    responses((status = 200, body = Data<crate::json::Object>), (status = 403, body = crate::api::ErrorBody), (status = 404, body = crate::api::ErrorBody)))]
async fn params(State(app): State<App>, who: Reporter, path: ExecutionPath) -> Result<Json<Data<Box<RawValue>>>> {
    own(&who, &path)?;
    let execution = store::executions::find(&app.db, path.0, Parts { params: true, ..Parts::FEW }).await?;
    let params = execution.and_then(|execution| execution.params).ok_or_else(missing)?;
    Ok(data(params.0))
}

/// Stores a piece of the journal, if it begins where the last one ended, and says how far the journal is stored.
#[utoipa::path(post, path = "/api/v1/execution/{execution}/journal", tag = "executions", security(("bearerAuth" = [])), params(("execution" = String, Path)), request_body = Piece,
    responses((status = 200, body = Data<Stored>), (status = 400, body = crate::api::ErrorBody), (status = 403, body = crate::api::ErrorBody), (status = 404, body = crate::api::ErrorBody)))]
async fn add(
    State(app): State<App>,
    who: Reporter,
    path: ExecutionPath,
    json::Body(body): json::Body,
) -> Result<Json<Data<Stored>>> {
    let run = own(&who, &path)?;
    let number = |key: &str| body.get::<i64>(key).filter(|n| *n >= 0);
    let (Some(offset), Some(next), Some(lines)) = (number("offset"), number("next"), body.get::<String>("lines"))
    else {
        return Err(Error::invalid("offset, next and lines are required"));
    };
    if next < offset {
        return Err(Error::invalid("next is before offset"));
    }
    let mask = Mask::of_execution(&app, path.0).await?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let status = store::executions::lock(&mut tx, path.0).await?.ok_or_else(missing)?;
    let counts = |row: &ExecutionRun| row.attempt == run.attempt && !status.is_terminal();
    // Words of an earlier attempt, and those after the end, are heard and change nothing.
    let Some(mut row) = store::runs::find_within(&mut tx, path.0).await?.filter(counts) else {
        return Ok(data(Stored { offset: next }));
    };
    if row.journal_offset != offset {
        return Ok(data(Stored { offset: row.journal_offset }));
    }
    let mut entries: Vec<Entry> = lines.lines().filter_map(|line| Entry::read(line.as_bytes())).collect();
    entries.iter_mut().for_each(|entry| mask.hide_in(entry));
    let by = By::new(format!("run:{}", run.execution), "reported");
    let said = journal::Said { entries, offset: next, by: by.clone() };
    let failed = journal::keep(&mut tx, &app, &mut row, said, &mut None, now).await?;
    let over = failed.is_some();
    if let Some((class, message)) = failed {
        let failure = Some(Failure::said(&class, message));
        let report = Report { status: Some(Status::Failed), failure, ..Report::default() };
        report::apply(&mut tx, &app, path.0, &report, &by, now).await?;
    }
    tx.commit().await?;
    if over {
        app.wake();
    }
    Ok(data(Stored { offset: next }))
}
