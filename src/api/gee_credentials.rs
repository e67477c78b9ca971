//! `/api/v1/user/me/gee-…`: what a person lets the server use of Earth Engine (contract/auth-users.md 10).

mod admin;
pub mod oauth;

use axum::{
    Json,
    extract::{FromRequest, Request, State},
};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::json;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Data, ErrorBody, Said, data, extract::json::MaybeJson, said};
use crate::{
    account::earth_engine::{self, Credential},
    app::App,
    auth::User,
    error::{Error, Result},
    google::account::ServiceAccount,
    json::Object,
    store::{
        self, Id,
        users::gee::{self, GeeCredentials, Stored},
    },
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(get, remove))
        .routes(routes!(test))
        .routes(routes!(set_project))
        .routes(routes!(set_service_account))
        .routes(routes!(oauth::initiate))
        .routes(routes!(oauth::finish_own))
        .routes(routes!(oauth::finish))
        .routes(routes!(admin::get, admin::remove))
        .routes(routes!(admin::test))
        .routes(routes!(admin::set_service_account))
}

#[derive(Serialize, utoipa::ToSchema)]
struct GeeCredentialsView {
    has_credentials: bool,
    #[serde(flatten)]
    credentials: GeeCredentials,
}

/// That a project is kept, and whether the person may export into the server's bucket.
#[derive(Serialize, utoipa::ToSchema)]
struct ProjectSaid {
    message: &'static str,
    gcs_write_access: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

/// Kind and time of the own credentials; the credentials themselves are never shown.
#[utoipa::path(get, path = "/api/v1/user/me/gee-credentials", tag = "users", security(("bearerAuth" = ["gee:read"])),
    responses((status = 200, body = Data<GeeCredentialsView>), (status = 401, body = ErrorBody)))]
async fn get(State(app): State<App>, user: User) -> Result<Json<Data<GeeCredentialsView>>> {
    let credentials = stored(&app, user.id).await?.told;
    Ok(data(GeeCredentialsView { has_credentials: credentials.credentials_type.is_some(), credentials }))
}

/// Deletes the own credentials.
#[utoipa::path(delete, path = "/api/v1/user/me/gee-credentials", tag = "users", security(("bearerAuth" = ["gee:write"])),
    responses((status = 200, body = Said), (status = 404, body = ErrorBody)))]
async fn remove(State(app): State<App>, user: User) -> Result<Json<Said>> {
    let stored = stored(&app, user.id).await?;
    if !delete(&app, &user, user.id, &stored).await? {
        return Err(Error::not_found("No GEE credentials found"));
    }
    Ok(said("GEE credentials deleted successfully"))
}

/// Tries the own credentials at Earth Engine.
#[utoipa::path(post, path = "/api/v1/user/me/gee-credentials/test", tag = "users", security(("bearerAuth" = ["gee:read"])),
    responses((status = 200, body = Said), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody)))]
async fn test(State(app): State<App>, user: User) -> Result<Json<Said>> {
    let stored = stored(&app, user.id).await?;
    if stored.told.credentials_type.is_none() {
        return Err(Error::invalid("No GEE credentials configured"));
    }
    if !earth_engine::works(&app, &stored).await? {
        return Err(Error::invalid("GEE credentials are invalid or expired"));
    }
    Ok(said("GEE credentials are valid and working"))
}

/// Chooses the Google Cloud project that the own consent is used with, `{"cloud_project": "my-project"}`.
#[utoipa::path(patch, path = "/api/v1/user/me/gee-credentials/project", tag = "users", security(("bearerAuth" = ["gee:write"])), request_body = Object,
    responses((status = 200, body = ProjectSaid), (status = 400, body = ErrorBody)))]
async fn set_project(State(app): State<App>, user: User, request: Request) -> Result<Json<ProjectSaid>> {
    let stored = stored(&app, user.id).await?;
    let other = || Error::invalid("Cloud project selection only applies to OAuth credentials.");
    if stored.told.credentials_type.as_deref() != Some("oauth") {
        return Err(other());
    }
    let body = sent(MaybeJson::from_request(request, &app).await?)?;
    let project = body.get::<String>("cloud_project").map(|text| text.trim().to_owned());
    let project = project.filter(|text| !text.is_empty()).ok_or_else(|| Error::invalid("cloud_project is required"))?;
    if !is_project(&project) {
        return Err(Error::invalid(
            "cloud_project must be a valid GCP project ID: 6-30 characters, lowercase letters, digits, and hyphens only, starting with a letter and not ending with a hyphen.",
        ));
    }
    let mut tx = app.db.begin().await?;
    if !gee::set_project(&mut tx, user.id, &project).await? {
        return Err(other());
    }
    tx.commit().await?;
    let (gcs_write_access, detail) = let_in(&app, user.id, &stored).await?;
    Ok(Json(ProjectSaid { message: "GEE cloud project saved successfully", gcs_write_access, detail }))
}

/// Stores the key of a service account as the own credentials, `{"service_account_key": {…}}`; as text it is taken too.
#[utoipa::path(post, path = "/api/v1/user/me/gee-service-account", tag = "users", security(("bearerAuth" = ["gee:write"])), request_body = Object,
    responses((status = 200, body = Said), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody)))]
async fn set_service_account(State(app): State<App>, user: User, body: MaybeJson) -> Result<Json<Said>> {
    put_service_account(&app, &user, user.id, body).await?;
    Ok(said("GEE service account credentials saved successfully"))
}

/// What is stored of somebody who is there.
async fn stored(app: &App, id: Id) -> Result<Stored> {
    gee::stored(&app.db, id).await?.ok_or_else(|| Error::not_found("User not found"))
}

/// The body, which must have something in it.
pub(super) fn sent(body: MaybeJson) -> Result<Object> {
    body.0.filter(|body| !body.is_empty()).ok_or_else(|| Error::invalid("JSON data required"))
}

/// 6 to 30 of a to z, 0 to 9 and `-`; a letter first, no `-` last.
fn is_project(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (6..=30).contains(&text.len())
        && text.chars().all(fits)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
}

/// Lets the person's account at Google into the bucket, if there is one; with it a word if that could not be done.
async fn let_in(app: &App, user: Id, stored: &Stored) -> Result<(bool, Option<&'static str>)> {
    if app.google.settings.bucket.is_none() {
        return Ok((false, None));
    }
    let Some(credential) = Credential::of(app, stored) else { return Ok((false, None)) };
    let address = async { app.google.address(&credential.access(app).await?.token).await };
    let Ok(address) = address.await else {
        return Ok((
            false,
            Some(
                "Project saved, but could not retrieve your email address to configure bucket write access. Earth Engine exports may fail. Try reconnecting your Google account.",
            ),
        ));
    };
    let mut tx = app.db.begin().await?;
    gee::set_google_email(&mut tx, user, &address).await?;
    tx.commit().await?;
    if earth_engine::let_into_bucket(app, &address, true).await {
        return Ok((true, None));
    }
    Ok((
        false,
        Some(
            "Project saved, but bucket write access could not be configured automatically. Please contact support if Earth Engine exports fail.",
        ),
    ))
}

/// Stores the key of a service account for somebody.
async fn put_service_account(app: &App, by: &User, of: Id, body: MaybeJson) -> Result<()> {
    let body = sent(body)?;
    let key = body.raw("service_account_key").filter(|_| body.is_set("service_account_key"));
    let key = key.ok_or_else(|| Error::invalid("Service account key is required"))?.get();
    // As a document, or as its text.
    let key = if key.starts_with('"') {
        let text: String = serde_json::from_str(key).unwrap_or_default();
        if serde_json::from_str::<&serde_json::value::RawValue>(&text).is_err() {
            return Err(Error::invalid("Invalid JSON format for service account key"));
        }
        text
    } else {
        key.to_owned()
    };
    if ServiceAccount::read(&key).is_none() {
        return Err(Error::invalid("Invalid service account key format"));
    }
    let encrypted = earth_engine::encrypt(app, &SecretString::from(key))?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !gee::put_service_account(&mut tx, of, &encrypted, now).await? {
        return Err(Error::not_found("User not found"));
    }
    let act = by.caller.did("credential.set", "user", &of).with(&json!({"kind": "service_account"}));
    store::audit::insert(&mut tx, &act, now).await?;
    tx.commit().await?;
    Ok(())
}

/// Deletes somebody's credentials; false if there are none. The bucket is closed to the account at Google, if that can be done.
async fn delete(app: &App, by: &User, of: Id, stored: &Stored) -> Result<bool> {
    let mut tx = app.db.begin().await?;
    if !gee::clear(&mut tx, of).await? {
        return Ok(false);
    }
    let act = by.caller.did("credential.deleted", "user", &of).with(&json!({"kind": stored.told.credentials_type}));
    store::audit::insert(&mut tx, &act, app.clock.now()).await?;
    tx.commit().await?;
    if let Some(address) = &stored.gee_google_email {
        earth_engine::let_into_bucket(app, address, false).await;
    }
    Ok(true)
}
