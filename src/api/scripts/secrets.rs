//! `/api/v1/script/<s>/secrets…`: what a script needs from outside and nobody may read. Administrators grant it; its value
//! goes into runs of that script, and never into an answer.

use axum::{
    Json,
    extract::{FromRequest, Request, State},
};
use serde::Serialize;
use serde_json::json;

use super::{access::administered, audit_with};
use crate::{
    api::{
        Data, ErrorBody, data,
        extract::{
            json::Body,
            path::{NamePath, ScriptPath},
        },
    },
    app::App,
    auth::User,
    error::{Error, Result},
    execution::secrets,
    store::{self, script_secrets::Granted, scripts::Script},
};

/// Secrets of one script.
const MOST: i64 = 50;
/// Bytes of a value.
const MAX_BYTES: usize = 32 << 10;

/// A secret: that it is there, and not what it is.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SecretView {
    name: String,
    /// Who granted it; `null` if the account is gone.
    granted_by: Option<store::Id>,
    created_at: chrono::NaiveDateTime,
}

impl From<Granted> for SecretView {
    fn from(secret: Granted) -> Self {
        SecretView { name: secret.name, granted_by: secret.granted_by, created_at: secret.created_at }
    }
}

/// Refuses new code of a script that holds secrets, unless it is an administrator's: it could send them anywhere.
pub(super) async fn guard(app: &App, user: &User, script: &Script) -> Result<()> {
    if !user.is_admin() && store::script_secrets::any(&app.db, script.id).await? {
        return Err(Error::Forbidden(
            "This script holds secrets; only administrators may change the version that runs".into(),
        ));
    }
    Ok(())
}

/// The names of a script's secrets. Administrators only.
#[utoipa::path(get, path = "/api/v1/script/{script}/secrets", tag = "scripts", security(("bearerAuth" = ["script:read"])), params(("script" = String, Path)),
    responses((status = 200, body = Data<Vec<SecretView>>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn list(State(app): State<App>, user: User, path: ScriptPath) -> Result<Json<Data<Vec<SecretView>>>> {
    let script = administered(&app, &user, &path).await?;
    let secrets = store::script_secrets::list(&app.db, script.id).await?;
    Ok(data(secrets.into_iter().map(SecretView::from).collect()))
}

/// Grants a secret to a script, `{"value": "…"}`, or replaces it: an environment variable of runs that start from now on.
/// Administrators only.
#[utoipa::path(put, path = "/api/v1/script/{script}/secrets/{name}", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path), ("name" = String, Path)),
    request_body = Object, responses((status = 200, body = Data<SecretView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn grant(
    State(app): State<App>,
    user: User,
    path: ScriptPath,
    name: NamePath,
    request: Request,
) -> Result<Json<Data<SecretView>>> {
    let script = administered(&app, &user, &path).await?;
    if let Some(sentence) = secrets::refused(&name.0) {
        return Err(Error::invalid(sentence));
    }
    let Body(body) = Body::from_request(request, &app).await?;
    let value = body.get::<String>("value").filter(|value| !value.is_empty());
    let value = value.ok_or_else(|| Error::invalid("value must be a text, and not empty"))?;
    // What no variable can hold has become this character when the body was read.
    if value.contains(['\0', char::REPLACEMENT_CHARACTER]) {
        return Err(Error::invalid("value must be whole characters, and none of them NUL"));
    }
    if value.len() > MAX_BYTES {
        return Err(Error::invalid(format!("value must have at most {MAX_BYTES} bytes")));
    }
    let sealed = secrets::seal(&app, script.id, &name.0, &value)?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::scripts::lock(&mut tx, script.id).await? {
        return Err(path.missing());
    }
    store::script_secrets::put(&mut tx, script.id, &sealed, user.id, now).await?;
    if store::script_secrets::count(&mut tx, script.id).await? > MOST {
        return Err(Error::invalid(format!("A script has at most {MOST} secrets")));
    }
    audit_with(&mut tx, &user, "script.secret_granted", &script, &json!({"name": name.0}), now).await?;
    tx.commit().await?;
    Ok(data(SecretView { name: name.0, granted_by: Some(user.id), created_at: now }))
}

/// Takes a secret away from a script. A run that has it keeps it to its end. Administrators only.
#[utoipa::path(delete, path = "/api/v1/script/{script}/secrets/{name}", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = Data<Vec<SecretView>>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn remove(
    State(app): State<App>,
    user: User,
    path: ScriptPath,
    name: NamePath,
) -> Result<Json<Data<Vec<SecretView>>>> {
    let script = administered(&app, &user, &path).await?;
    let mut tx = app.db.begin().await?;
    if !store::script_secrets::delete(&mut tx, script.id, &name.0).await? {
        return Err(Error::not_found(format!("Script {} has no secret of this name", path.text)));
    }
    let detail = json!({"name": name.0});
    audit_with(&mut tx, &user, "script.secret_deleted", &script, &detail, app.clock.now()).await?;
    tx.commit().await?;
    let secrets = store::script_secrets::list(&app.db, script.id).await?;
    Ok(data(secrets.into_iter().map(SecretView::from).collect()))
}
