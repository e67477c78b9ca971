//! `POST /api/v1/execution/<id>/rerun`: the same run again, or with another version or other parameters.

use axum::{extract::State, http::HeaderMap};
use serde_json::value::RawValue;
use sqlx::types::Json as SqlJson;

use super::{ExecutionView, find, run};
use crate::{
    api::{
        Data, ErrorBody,
        extract::{json::MaybeJson, path::ExecutionPath},
    },
    app::App,
    auth::User,
    error::{Error, Result},
    execution::submit::Wishes,
    store::{self, executions::Parts, scripts::Key},
};

/// Starts a run again, with its version and parameters unless the body says otherwise: `version` is `same` or `latest`,
/// `params` replace the earlier ones. Slots, limits and checks are those of any run.
#[utoipa::path(post, path = "/api/v1/execution/{execution}/rerun", tag = "executions", security(("bearerAuth" = ["execution:write"])),
    params(("execution" = String, Path)), request_body = Option<Object>,
    responses((status = 200, body = Data<ExecutionView>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn start(
    State(app): State<App>,
    user: User,
    path: ExecutionPath,
    headers: HeaderMap,
    MaybeJson(body): MaybeJson,
) -> Result<run::Answer> {
    let body = body.unwrap_or_default();
    let latest = match body.get::<String>("version").as_deref() {
        None if !body.is_set("version") => false,
        Some("same") => false,
        Some("latest") => true,
        _ => return Err(Error::invalid("version must be \"same\" or \"latest\"")),
    };
    let other = body.raw("params").filter(|params| params.get() != "null");
    if other.is_some_and(|params| !params.get().starts_with('{')) {
        return Err(Error::invalid("params must be an object, such as {\"year\": 2020}"));
    }
    let first = find(&app, &user, path.0, Parts { params: true, run: true, ..Parts::FEW }).await?;
    let gone = || Error::not_found(format!("The script of execution {} does not exist any more", first.id));
    let id = first.script_id.ok_or_else(gone)?;
    let script = store::scripts::find(&app.db, &Key::Id(id), &user.viewer()).await?.ok_or_else(gone)?;
    let params = match (other, first.params) {
        (Some(params), _) => params.to_owned(),
        (None, Some(params)) => params.0,
        (None, None) => RawValue::from_string("{}".to_owned()).map_err(anyhow::Error::from)?,
    };
    let wishes = Wishes {
        version: first.script_version.filter(|_| !latest),
        rerun_of: Some(first.id),
        ..run::wishes(&app, &headers, &script.slug)?
    };
    run::submit(&app, &user, &script, &SqlJson(params), &wishes).await
}
