//! `PATCH /api/v1/script/<s>/config`: what of a script is changed without an upload. No version changes.

use axum::{
    Json,
    extract::{FromRequest, Request, State},
    http::HeaderMap,
};
use serde_json::{Value, json};

use super::{audit_with, find, may_change, one};
use crate::{
    api::{
        Data, ErrorBody, data,
        extract::{json::MaybeJson, path::ScriptPath, query::Pairs},
    },
    app::App,
    auth::User,
    build::configuration::MAX_NAME,
    error::{Error, Result},
    json::Object,
    store::{self, scripts::Config},
};

/// Characters of a description.
const MAX_DESCRIPTION: usize = 10_000;

/// What a body asks for; what says nothing is passed over as by the existing server.
fn read(body: &Object) -> Result<Config> {
    let name = match body.get::<Value>("name") {
        Some(Value::String(name)) => Some(name).filter(|name| !name.is_empty()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Null) | None => None,
        Some(_) => return Err(Error::invalid("name must be a text")),
    };
    if let Some(name) = &name
        && (name.chars().count() > MAX_NAME || name.chars().any(char::is_control))
    {
        return Err(Error::invalid(format!("name must be a text of 1 to {MAX_NAME} characters on one line")));
    }
    let description = match body.get::<Value>("description") {
        Some(Value::String(text)) if text.chars().count() > MAX_DESCRIPTION => {
            return Err(Error::invalid(format!("description has more than {MAX_DESCRIPTION} characters")));
        }
        Some(Value::String(text)) => Some(text),
        Some(Value::Null) => Some(String::new()),
        Some(_) => return Err(Error::invalid("description must be a text")),
        None => None,
    };
    Ok(Config { name, description, uses_gee: body.get("uses_gee") })
}

/// Changes name, description or `uses_gee` of a script. The slug stays, and nothing is built. Owner or administrator.
#[utoipa::path(patch, path = "/api/v1/script/{script}/config", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path)),
    request_body = Object,
    responses((status = 200, body = Data<super::ScriptView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn update(
    State(app): State<App>,
    user: User,
    path: ScriptPath,
    headers: HeaderMap,
    request: Request,
) -> Result<Json<Data<Value>>> {
    let script = find(&app, &user, &path).await?;
    if !may_change(&user, &script) {
        return Err(Error::Forbidden("Only admins or the script owner can update script config".into()));
    }
    let MaybeJson(body) = MaybeJson::from_request(request, &app).await?;
    let body = body.filter(|body| !body.is_empty()).ok_or_else(|| Error::invalid("JSON body required"))?;
    let config = read(&body)?;
    if config == Config::default() {
        return Err(Error::invalid("No valid fields to update"));
    }
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::scripts::configure(&mut tx, script.id, &config, now).await? {
        return Err(path.missing());
    }
    let fields = [
        ("name", config.name.is_some()),
        ("description", config.description.is_some()),
        ("uses_gee", config.uses_gee.is_some()),
    ];
    let fields: Vec<&str> = fields.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect();
    audit_with(&mut tx, &user, "script.config_changed", &script, &json!({"fields": fields}), now).await?;
    let script = store::scripts::get_within(&mut tx, script.id).await?.ok_or_else(|| path.missing())?;
    tx.commit().await?;
    Ok(data(one(&app, &user, &script, super::is_plugin(&headers), &Pairs::default()).await?))
}
