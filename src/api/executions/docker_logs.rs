//! `/api/v1/execution/<id>/docker-logs` and `…/batch-logs`: what the unit of an execution printed, as its worker kept it.

use axum::{Json, extract::State};
use serde::Serialize;

use crate::{
    api::{Data, data, extract::path::ExecutionPath},
    app::App,
    auth::Admin,
    error::{Error, Result},
    store,
};

/// A line that a unit printed.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Line {
    /// From 0 on.
    id: usize,
    /// When the worker read it.
    created_at: String,
    text: String,
}

fn missing() -> Error {
    Error::not_found("Logs not found for execution")
}

/// The last lines that a run printed: kept with its end, and every half minute while it runs. Administrators only.
#[utoipa::path(get, path = "/api/v1/execution/{execution}/docker-logs", tag = "executions", security(("bearerAuth" = ["execution:read"])), params(("execution" = String, Path)),
    responses((status = 200, body = Data<Vec<Line>>), (status = 403, body = crate::api::ErrorBody), (status = 404, body = crate::api::ErrorBody)))]
pub async fn docker_logs(State(app): State<App>, _: Admin, path: ExecutionPath) -> Result<Json<Data<Vec<Line>>>> {
    let output = store::execution_output::find(&app.db, path.0).await?.ok_or_else(missing)?;
    let created_at = format!("{}Z", output.collected_at.format("%Y-%m-%dT%H:%M:%S%.9f"));
    let line = |(id, text): (usize, &str)| Line { id, created_at: created_at.clone(), text: text.to_owned() };
    Ok(data(output.text.lines().enumerate().map(line).collect()))
}

/// The log of AWS Batch: no execution here is held there. Administrators only.
#[utoipa::path(get, path = "/api/v1/execution/{execution}/batch-logs", tag = "executions", security(("bearerAuth" = ["execution:read"])), params(("execution" = String, Path)),
    responses((status = 403, body = crate::api::ErrorBody), (status = 404, body = crate::api::ErrorBody)))]
pub async fn batch_logs(_: State<App>, _: Admin, _: ExecutionPath) -> Result<Json<Data<Vec<Line>>>> {
    Err(missing())
}
