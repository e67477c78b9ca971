//! `POST /api/v1/script/<s>/run`: a run is accepted. `GET` is the seed's spelling of the same.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Method},
};
use serde_json::value::RawValue;
use sqlx::types::Json as SqlJson;
use std::collections::BTreeMap;

use super::{ExecutionView, Shown, view};
use crate::{
    api::{
        Data, data,
        extract::{json::MaybeJson, path::ScriptPath, query::Pairs},
        scripts::is_plugin,
    },
    app::App,
    auth::User,
    error::{Error, Result},
    execution::submit::{self, Wishes},
    store::{self, Json as Document},
};

/// Starts a run. The parameters are the query's pairs overlaid by the body's keys.
#[utoipa::path(post, path = "/api/v1/script/{script}/run", tag = "executions", security(("bearerAuth" = ["execution:write"])), params(("script" = String, Path), ("X-TE-Script-Version" = Option<i32>, Header)),
    request_body = Option<Object>,
    responses((status = 200, body = Data<ExecutionView>), (status = 400, body = crate::api::ErrorBody), (status = 404, body = crate::api::ErrorBody)))]
pub async fn start(
    State(app): State<App>,
    user: User,
    path: ScriptPath,
    query: Pairs,
    headers: HeaderMap,
    MaybeJson(body): MaybeJson,
) -> Result<Json<Data<ExecutionView>>> {
    let mut params = of_query(&query)?;
    params.extend(body.unwrap_or_default().into_inner());
    submit(&app, &user, &path, params, &headers).await
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
) -> Result<Json<Data<ExecutionView>>> {
    if method == Method::HEAD {
        // A HEAD only asks; it must not start anything.
        return Err(Error::MethodNotAllowed);
    }
    submit(&app, &user, &path, of_query(&query)?, &headers).await
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

async fn submit(
    app: &App,
    user: &User,
    path: &ScriptPath,
    params: Params,
    headers: &HeaderMap,
) -> Result<Json<Data<ExecutionView>>> {
    let script = store::scripts::find(&app.db, &path.key, &user.viewer()).await?.ok_or_else(|| path.missing())?;
    let version = match headers.get("x-te-script-version") {
        None => None,
        Some(text) => Some(
            text.to_str()
                .ok()
                .and_then(|t| t.trim().parse::<i32>().ok())
                .ok_or_else(|| Error::invalid("X-TE-Script-Version must be the number of a version, such as 3"))?,
        ),
    };
    let is_plugin_execution = !headers.contains_key("x-te-client") || is_plugin(headers);
    let wishes = Wishes { script: path.text.clone(), version, is_plugin_execution };
    let params: Document = SqlJson(serde_json::value::to_raw_value(&params).map_err(anyhow::Error::from)?);
    let execution = submit::submit(app, user, &script, &params, &wishes).await?;
    Ok(data(view(app, Some(user), execution, &Shown::whole()).await?))
}
