//! `/api/v1/user/me/openeo-credentials`: what a person has stored for openEO services (contract/auth-users.md 10). No engine of
//! this server runs openEO scripts; the credentials are kept.

use axum::{Json, extract::State};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::json;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Data, ErrorBody, data, extract::json::MaybeJson};
use crate::{
    account::earth_engine::encrypt,
    app::App,
    auth::User,
    error::{Error, Result},
    openeo::Credentials,
    store::{self, users::openeo},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get, set, remove)).routes(routes!(check))
}

#[derive(Serialize, utoipa::ToSchema)]
struct OpeneoCredentialsView {
    has_credentials: bool,
    /// `basic` or `oidc_refresh_token`.
    credential_type: Option<&'static str>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct Done {
    status: &'static str,
}

#[derive(Serialize, utoipa::ToSchema)]
struct Checked {
    valid: bool,
    message: &'static str,
}

/// Kind of the own credentials; the credentials themselves are never shown.
#[utoipa::path(get, path = "/api/v1/user/me/openeo-credentials", tag = "users", security(("bearerAuth" = ["gee:read"])),
    responses((status = 200, body = Data<OpeneoCredentialsView>), (status = 401, body = ErrorBody)))]
async fn get(State(app): State<App>, user: User) -> Result<Json<Data<OpeneoCredentialsView>>> {
    let stored = openeo::stored(&app.db, user.id).await?;
    let credential_type = stored.as_deref().and_then(|text| opened(&app, text)).map(|stored| stored.kind());
    Ok(data(OpeneoCredentialsView { has_credentials: stored.is_some(), credential_type }))
}

/// Stores the own credentials: `{"type": "basic", "username", "password"}`, or `{"type": "oidc_refresh_token", "client_id",
/// "refresh_token", "client_secret", "provider_id"}`, of which the last two may be missing.
#[utoipa::path(post, path = "/api/v1/user/me/openeo-credentials", tag = "users", security(("bearerAuth" = ["gee:write"])), request_body = Object,
    responses((status = 200, body = Data<Done>), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody)))]
async fn set(State(app): State<App>, user: User, body: MaybeJson) -> Result<Json<Data<Done>>> {
    let body = body.0.filter(|body| !body.is_empty()).ok_or_else(|| Error::invalid("JSON body required"))?;
    let text = |key: &str| body.get::<String>(key).filter(|text| !text.is_empty());
    let kind = text("type");
    let needed = match kind.as_deref() {
        Some("oidc_refresh_token") => ["client_id", "refresh_token"],
        Some("basic") => ["username", "password"],
        _ => {
            let sentence = "Invalid credential type.  Must be 'oidc_refresh_token' or 'basic'.";
            return Err(Error::invalid(sentence));
        }
    };
    let missing: Vec<&str> = needed.into_iter().filter(|key| text(key).is_none()).collect();
    let [first, second] = needed.map(|key| text(key).unwrap_or_default());
    if !missing.is_empty() {
        return Err(Error::invalid(format!("Missing required fields: {}", missing.join(", "))));
    }
    let credentials = match kind.as_deref() {
        Some("basic") => Credentials::Basic { username: first, password: second },
        _ => Credentials::OidcRefreshToken {
            client_id: first,
            refresh_token: second,
            client_secret: text("client_secret"),
            provider_id: text("provider_id"),
        },
    };
    put(&app, &user, Some(&credentials)).await?;
    Ok(data(Done { status: "credentials stored" }))
}

/// Deletes the own credentials, if there are any.
#[utoipa::path(delete, path = "/api/v1/user/me/openeo-credentials", tag = "users", security(("bearerAuth" = ["gee:write"])),
    responses((status = 200, body = Data<Done>), (status = 401, body = ErrorBody)))]
async fn remove(State(app): State<App>, user: User) -> Result<Json<Data<Done>>> {
    put(&app, &user, None).await?;
    Ok(data(Done { status: "credentials removed" }))
}

/// Tries the own credentials at the openEO service of the settings.
#[utoipa::path(get, path = "/api/v1/user/me/openeo-credentials/check", tag = "users", security(("bearerAuth" = ["gee:read"])),
    responses((status = 200, body = Data<Checked>), (status = 401, body = ErrorBody)))]
async fn check(State(app): State<App>, user: User) -> Result<Json<Data<Checked>>> {
    let Some(stored) = openeo::stored(&app.db, user.id).await? else {
        return Ok(data(Checked { valid: false, message: "No credentials stored" }));
    };
    let bad = Checked { valid: false, message: "Credentials are invalid or backend unreachable" };
    let (Some(mut credentials), Some(service)) = (opened(&app, &stored), &app.config.openeo_url) else {
        return Ok(data(bad));
    };
    let before = text(&credentials)?;
    let good = credentials.open(&app, service).await.is_ok();
    let after = text(&credentials)?;
    if after.expose_secret() != before.expose_secret() {
        let mut tx = app.db.begin().await?;
        openeo::put(&mut tx, user.id, Some(&encrypt(&app, &after)?)).await?;
        tx.commit().await?;
    }
    Ok(data(if good { Checked { valid: true, message: "Credentials are valid" } } else { bad }))
}

/// `None` if it cannot be read with this server's key.
fn opened(app: &App, stored: &str) -> Option<Credentials> {
    serde_json::from_str(app.fernet.as_ref()?.decrypt(stored)?.expose_secret()).ok()
}

fn text(credentials: &Credentials) -> Result<SecretString> {
    Ok(SecretString::from(serde_json::to_string(credentials).map_err(anyhow::Error::from)?))
}

async fn put(app: &App, user: &User, credentials: Option<&Credentials>) -> Result<()> {
    let encrypted = match credentials {
        Some(credentials) => Some(encrypt(app, &text(credentials)?)?),
        None => None,
    };
    let action = if encrypted.is_some() { "credential.set" } else { "credential.deleted" };
    let mut tx = app.db.begin().await?;
    openeo::put(&mut tx, user.id, encrypted.as_deref()).await?;
    let act = user.caller.did(action, "user", &user.id).with(&json!({"kind": "openeo"}));
    store::audit::insert(&mut tx, &act, app.clock.now()).await?;
    tx.commit().await?;
    Ok(())
}
