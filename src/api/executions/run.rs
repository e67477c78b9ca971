//! `POST /api/v1/script/<s>/run`: a run is accepted. `GET` is the seed's spelling of the same.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, Method},
};
use serde_json::value::RawValue;
use sqlx::types::Json as SqlJson;
use std::collections::BTreeMap;

use super::{ExecutionView, Shown, view};
use crate::{
    api::{
        Data, data,
        extract::{json::MaybeJson, path::ScriptPath, query::Pairs},
        maintenance,
        scripts::is_plugin,
    },
    app::App,
    auth::User,
    error::{Error, Result},
    execution::{
        idempotency::Key,
        submit::{self, Wishes},
        webhook,
    },
    store::{self, Json as Document, scripts::Script},
};

/// Starts a run. The parameters are the query's pairs overlaid by the body's keys.
#[utoipa::path(post, path = "/api/v1/script/{script}/run", tag = "executions", security(("bearerAuth" = ["execution:write"])), params(("script" = String, Path), ("X-TE-Script-Version" = Option<i32>, Header), ("Idempotency-Key" = Option<String>, Header), ("X-TE-Callback-URL" = Option<String>, Header)),
    request_body = Option<Object>,
    responses((status = 200, body = Data<ExecutionView>), (status = 400, body = crate::api::ErrorBody), (status = 404, body = crate::api::ErrorBody)))]
pub async fn start(
    State(app): State<App>,
    user: User,
    path: ScriptPath,
    query: Pairs,
    headers: HeaderMap,
    MaybeJson(body): MaybeJson,
) -> Result<Answer> {
    let mut params = of_query(&query)?;
    params.extend(body.unwrap_or_default().into_inner());
    start_with(&app, &user, &path, params, &headers).await
}

/// Starts a run with the query's pairs as parameters.
#[utoipa::path(get, path = "/api/v1/script/{script}/run", tag = "executions", security(("bearerAuth" = ["execution:write"])), params(("script" = String, Path)),
    responses((status = 200, body = Data<ExecutionView>), (status = 400, body = crate::api::ErrorBody), (status = 404, body = crate::api::ErrorBody)))]
pub async fn start_by_get(
    State(app): State<App>,
    method: Method,
    user: User,
    path: ScriptPath,
    query: Pairs,
    headers: HeaderMap,
) -> Result<Answer> {
    if method == Method::HEAD {
        // A HEAD only asks; it must not start anything.
        return Err(Error::MethodNotAllowed);
    }
    start_with(&app, &user, &path, of_query(&query)?, &headers).await
}

type Params = BTreeMap<String, Box<RawValue>>;

/// The first value of each key, as text.
fn of_query(query: &Pairs) -> Result<Params> {
    if query.get("token").is_some_and(|token| !token.is_empty()) {
        return Err(Error::invalid(
            "Token authentication via query parameters is not supported. Use the Authorization header with a Bearer token instead.",
        ));
    }
    let mut params = Params::new();
    for (key, value) in query.pairs() {
        if !params.contains_key(key) {
            let clean = value.replace('\0', "\u{fffd}");
            params.insert(
                key.replace('\0', "\u{fffd}"),
                serde_json::value::to_raw_value(&clean).map_err(anyhow::Error::from)?,
            );
        }
    }
    Ok(params)
}

/// What the headers ask for. Parameters are query and body and nothing else, so whatever is meant for the server stands there.
pub(super) fn wishes(app: &App, headers: &HeaderMap, script: &str) -> Result<Wishes> {
    let version = match headers.get("x-te-script-version") {
        None => None,
        Some(text) => Some(
            text.to_str()
                .ok()
                .and_then(|t| t.trim().parse::<i32>().ok())
                .ok_or_else(|| Error::invalid("X-TE-Script-Version must be the number of a version, such as 3"))?,
        ),
    };
    let key = match headers.get("idempotency-key") {
        None => is_plugin(headers).then_some(Key::Own),
        Some(text) => match text.to_str() {
            Ok(text) if (1..=255).contains(&text.len()) => Some(Key::Client(text.to_owned())),
            _ => return Err(Error::invalid("Idempotency-Key must be 1 to 255 printable ASCII characters")),
        },
    };
    let callback_url = match headers.get("x-te-callback-url") {
        None => None,
        Some(text) => Some(webhook::read(app, text.to_str().unwrap_or(""))?),
    };
    Ok(Wishes {
        script: script.to_owned(),
        version,
        is_plugin_execution: !headers.contains_key("x-te-client") || is_plugin(headers),
        key,
        callback_url,
        rerun_of: None,
    })
}

/// An accepted run; a header says if an earlier request has made it.
pub(super) type Answer = (HeaderMap, Json<Data<ExecutionView>>);

pub(super) async fn submit(
    app: &App,
    user: &User,
    script: &Script,
    params: &Document,
    wishes: &Wishes,
) -> Result<Answer> {
    maintenance::refuse(app).await?;
    let submitted = submit::submit(app, user, script, params, wishes).await?;
    let mut headers = HeaderMap::new();
    if submitted.replayed {
        headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
    }
    Ok((headers, data(view(app, Some(user), submitted.execution, &Shown::whole()).await?)))
}

async fn start_with(app: &App, user: &User, path: &ScriptPath, params: Params, headers: &HeaderMap) -> Result<Answer> {
    let script = store::scripts::find(&app.db, &path.key, &user.viewer()).await?.ok_or_else(|| path.missing())?;
    let params: Document = SqlJson(serde_json::value::to_raw_value(&params).map_err(anyhow::Error::from)?);
    submit(app, user, &script, &params, &wishes(app, headers, &path.text)?).await
}
