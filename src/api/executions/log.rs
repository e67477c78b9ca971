//! `/api/v1/execution/<id>/log` and `…/log/stream`: what a run says, whole or live, and how containers say it.

use axum::{Json, extract::State, http::HeaderMap, response::Response};
use serde_json::Value;

use super::find;
use crate::{
    api::{
        Data, data,
        extract::{json, path::ExecutionPath, query::Pairs},
        stream::{self, Source},
    },
    app::App,
    auth::{Reporter, User},
    error::{Error, Result},
    execution::{journal::level_of, log, secrets::Mask},
    json::Object,
    store::{
        self,
        executions::Parts,
        logs::{ExecutionLog, Line},
    },
};

/// Characters of a log line.
const MAX_CHARS: usize = 10_000;

/// The log of an execution, in order; `start` or `last-id` to go on. Owner or administrator.
#[utoipa::path(get, path = "/api/v1/execution/{execution}/log", tag = "executions", security(("bearerAuth" = ["execution:read"])),
    params(("execution" = String, Path), ("start" = Option<String>, Query), ("last-id" = Option<i64>, Query)),
    responses((status = 200, body = Data<Vec<ExecutionLog>>), (status = 404, body = crate::api::ErrorBody)))]
pub async fn list(
    State(app): State<App>,
    user: User,
    path: ExecutionPath,
    query: Pairs,
) -> Result<Json<Data<Vec<ExecutionLog>>>> {
    let execution = find(&app, &user, path.0, Parts::FEW).await?;
    let after = crate::api::scripts::log::after(&query)?;
    Ok(data(store::logs::list(&app.db, execution.id, after, i64::MAX).await?))
}

/// The log of an execution, live, as server-sent events. Owner or administrator.
#[utoipa::path(get, path = "/api/v1/execution/{execution}/log/stream", tag = "executions", security(("bearerAuth" = ["execution:read"])),
    params(("execution" = String, Path), ("last-id" = Option<i64>, Query)),
    responses((status = 200, content_type = "text/event-stream"), (status = 204), (status = 404, body = crate::api::ErrorBody)))]
pub async fn stream(
    State(app): State<App>,
    user: User,
    path: ExecutionPath,
    query: Pairs,
    headers: HeaderMap,
) -> Result<Response> {
    let execution = find(&app, &user, path.0, Parts::FEW).await?;
    stream::open(app, user, Source::Execution(execution.id), &query, &headers).await
}

/// Adds a line, verbatim. Administrators, and a run for itself: within its limit, beyond which lines are answered and not kept.
#[utoipa::path(post, path = "/api/v1/execution/{execution}/log", tag = "executions", security(("bearerAuth" = ["execution:write"])), params(("execution" = String, Path)), request_body = Object,
    responses((status = 200, body = Data<ExecutionLog>), (status = 400, body = crate::api::ErrorBody), (status = 403, body = crate::api::ErrorBody), (status = 404, body = crate::api::ErrorBody)))]
pub async fn add(
    State(app): State<App>,
    who: Reporter,
    path: ExecutionPath,
    body: Result<json::Body>,
) -> Result<Json<Data<ExecutionLog>>> {
    let lenient = matches!(who, Reporter::Run(_));
    let body = match body {
        Ok(json::Body(body)) => body,
        // A container cannot mend its line: the log tells that there was one.
        Err(error) if who.is_container() => {
            let text = format!("A line could not be read: {}", error.too_much()?);
            Object::of([("text".to_owned(), text), ("level".to_owned(), "WARNING".to_owned())])?
        }
        Err(error) => return Err(error),
    };
    let text = body.get::<Value>("text").unwrap_or_default();
    let level = body.get::<Value>("level").unwrap_or_default();
    let as_text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let (text, level) = (as_text(&text), as_text(&level));
    let complete = body.is_set("text") && body.is_set("level");
    if !lenient && !complete {
        return Err(Error::invalid("Text and level are required"));
    }
    let is_long = |text: &str| text.chars().nth(MAX_CHARS).is_some();
    if !lenient && is_long(&text) {
        return Err(Error::invalid("Log text too long"));
    }
    let missing = || Error::not_found("Ticket Not Found");
    match &who {
        Reporter::User(user) if !user.is_admin() && !user.is_environment => {
            return Err(Error::Forbidden("Forbidden".into()));
        }
        Reporter::Run(run) if run.execution != path.0 => return Err(missing()),
        _ => {}
    }
    // Not before it is known who speaks: what is hidden must not be found out by what is refused. And before it is cut: half a
    // secret would not be recognised.
    let mut text = Mask::of_execution(&app, path.0).await?.hide(text);
    if is_long(&text) {
        text = text.chars().take(MAX_CHARS).collect();
    }
    let now = app.clock.now();
    let level = level_of(&level);
    let line = Line { level: level.clone(), text: text.clone(), at: now };
    let id = match &who {
        Reporter::User(_) => Some(store::logs::add(&app.db, path.0, &line).await?.ok_or_else(missing)?),
        Reporter::Run(run) => {
            let mut tx = app.db.begin().await?;
            let row = store::runs::lock(&mut tx, path.0).await?.ok_or_else(missing)?;
            let kept = match row.log_bytes.filter(|_| row.attempt == Some(run.attempt)) {
                Some(mut log_bytes) => {
                    let kept = log::keep(&mut log_bytes, app.config.log_max_bytes, line);
                    store::runs::set_log_bytes(&mut tx, path.0, log_bytes).await?;
                    kept
                }
                None => None,
            };
            let id = store::logs::insert(&mut tx, path.0, kept.as_slice()).await?;
            tx.commit().await?;
            id
        }
    };
    Ok(data(ExecutionLog {
        id: id.unwrap_or(0),
        execution_id: path.0,
        level,
        register_date: Some(now),
        text: Some(text),
    }))
}
