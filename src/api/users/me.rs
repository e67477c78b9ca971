//! `/api/v1/user/me`: the own profile.

use axum::{Json, extract::State};
use secrecy::ExposeSecret;

use crate::{
    account::{self, fields},
    api::{Data, ErrorBody, data, extract::json},
    app::App,
    auth::{Own, User},
    error::{Error, Result},
    store::{
        self, Time,
        search::Value,
        users::{Changes, Profile},
    },
};

/// The caller's own profile.
#[utoipa::path(get, path = "/api/v1/user/me", tag = "users", security(("bearerAuth" = ["user:read"])),
    responses((status = 200, body = Data<Profile>), (status = 401, body = ErrorBody)))]
pub async fn get(own: Own) -> Json<Data<Profile>> {
    data(own.profile)
}

/// Changes the own profile; address, role and limits are not the person's to change.
#[utoipa::path(patch, path = "/api/v1/user/me", tag = "users", security(("bearerAuth" = ["user:write"])), request_body = Object,
    responses((status = 200, body = Data<Profile>), (status = 400, body = ErrorBody)))]
pub async fn update(State(app): State<App>, user: User, json::Body(body): json::Body) -> Result<Json<Data<Profile>>> {
    if !fields::changes_own(&body) {
        return Err(Error::invalid("Not updated"));
    }
    let (mut changes, _) = fields::changes(&body, fields::Way::Own)?;
    let now = app.clock.now();
    note_consent(&mut changes, now);
    let mut tx = app.db.begin().await?;
    store::users::update(&mut tx, user.id, &changes, now).await?;
    let changed = store::users::profile_within(&mut tx, user.id).await?;
    tx.commit().await?;
    Ok(data(changed.ok_or_else(|| Error::not_found(format!("User with id {} does not exist", user.id)))?))
}

/// A secret of the caller's own.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub struct WebhookSecret {
    /// Key of the HMAC in `X-TE-Signature`.
    secret: String,
}

/// The secret by which the caller knows our calls to his addresses (`X-TE-Callback-URL`).
#[utoipa::path(get, path = "/api/v1/user/me/webhook-secret", tag = "users", security(("bearerAuth" = ["account"])),
    responses((status = 200, body = Data<WebhookSecret>), (status = 401, body = ErrorBody)))]
pub async fn webhook_secret(State(app): State<App>, user: User) -> Json<Data<WebhookSecret>> {
    data(WebhookSecret { secret: app.tokens.webhook_secret(user.id).expose_secret().to_owned() })
}

/// Deletes the own account. Administrators ask another one.
#[utoipa::path(delete, path = "/api/v1/user/me", tag = "users", security(("bearerAuth" = ["user:write"])),
    responses((status = 200, body = Data<Profile>), (status = 403, body = ErrorBody)))]
pub async fn remove(State(app): State<App>, Own { user, profile }: Own) -> Result<Json<Data<Profile>>> {
    if user.is_admin() || user.is_environment {
        return Err(Error::Forbidden(
            "Admin accounts cannot be deleted via self-service. Please contact a system administrator.".into(),
        ));
    }
    account::erase::erase(&app, &user, &profile).await?;
    Ok(data(profile))
}

/// Who says what news he wants consents at this moment.
pub fn note_consent(changes: &mut Changes, now: Time) {
    if fields::consents(changes) {
        changes.0.push(("consent_given_at", Some(Value::Time(now))));
        changes.0.push(("consent_source", Some(Value::Text("profile_settings".into()))));
    }
}
