//! `/api/v1/script/<s>/log` and `…/log/stream`: what a build says, whole or live.

use axum::{Json, extract::State, http::HeaderMap, response::Response};

use super::find;
use crate::{
    api::{
        Data, data,
        extract::{path::ScriptPath, query::Pairs},
        stream::{self, Source},
    },
    app::App,
    auth::User,
    clock,
    error::{Error, Result},
    store::{
        self,
        script_logs::{After, ScriptLog},
    },
};

/// Where a reader goes on: `start` (later than) wins over `last-id` (greater than).
pub(in crate::api) fn after(query: &Pairs) -> Result<After> {
    if let Some(start) = query.get("start").filter(|text| !text.is_empty()) {
        let start = clock::parse(start).ok_or_else(|| {
            Error::invalid(format!("start is {start:?}; it must be a time such as 2026-11-24T02:56:01"))
        })?;
        return Ok(After { start: Some(start), id: 0 });
    }
    match query.get("last-id").filter(|text| !text.is_empty()) {
        None => Ok(After::default()),
        Some(text) => {
            let id = text
                .trim()
                .parse()
                .map_err(|_| Error::invalid(format!("last-id is {text:?}; it must be the id of a log line")))?;
            Ok(After { start: None, id })
        }
    }
}

/// The build log of a script, in order; `start` or `last-id` to go on.
#[utoipa::path(get, path = "/api/v1/script/{script}/log", tag = "scripts", security(("bearerAuth" = ["script:read"])),
    params(("script" = String, Path), ("start" = Option<String>, Query), ("last-id" = Option<i64>, Query)),
    responses((status = 200, body = Data<Vec<ScriptLog>>), (status = 404, body = crate::api::ErrorBody)))]
pub async fn list(
    State(app): State<App>,
    user: User,
    path: ScriptPath,
    query: Pairs,
) -> Result<Json<Data<Vec<ScriptLog>>>> {
    let script = find(&app, &user, &path).await?;
    Ok(data(store::script_logs::list(&app.db, script.id, after(&query)?, i64::MAX).await?))
}

/// The build log of a script, live, as server-sent events; SUCCESS or FAIL ends it.
#[utoipa::path(get, path = "/api/v1/script/{script}/log/stream", tag = "scripts", security(("bearerAuth" = ["script:read"])),
    params(("script" = String, Path), ("last-id" = Option<i64>, Query)),
    responses((status = 200, content_type = "text/event-stream"), (status = 204), (status = 404, body = crate::api::ErrorBody)))]
pub async fn stream(
    State(app): State<App>,
    user: User,
    path: ScriptPath,
    query: Pairs,
    headers: HeaderMap,
) -> Result<Response> {
    let script = find(&app, &user, &path).await?;
    stream::open(app, user, Source::Script(script.id), &query, &headers).await
}
