//! New passwords: the own one, and another's by an administrator. All other sessions end.

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};

use crate::{
    api::{
        Data, ErrorBody, data,
        extract::{json, path::UserPath},
    },
    app::App,
    auth::{self, Admin, User, passwords},
    error::{Error, Result},
    mail::letters,
    store::{
        self, Id,
        users::{Profile, Role},
    },
};

/// Carries the token with which the caller of a password change goes on: those made before are dead.
const NEW_TOKEN: HeaderName = HeaderName::from_static("x-te-access-token");

/// Replaces a password and ends every session of the account.
async fn replace(app: &App, by: &User, id: Id, password: String) -> Result<Profile> {
    let hash = app.hasher.hash(password).await?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    store::users::logins::set_password(&mut tx, id, &hash, app.clock.next_second()).await?;
    store::refresh_tokens::revoke_all(&mut tx, id).await?;
    store::audit::insert(&mut tx, &by.caller.did("user.password_changed", "user", &id), now).await?;
    let profile = store::users::profile_within(&mut tx, id).await?;
    let profile = profile.ok_or_else(|| Error::not_found(format!("User with id {id} does not exist")))?;
    letters::password_changed(&mut tx, app, &profile, now).await?;
    tx.commit().await?;
    app.wake();
    Ok(profile)
}

/// Changes the own password. Every session ends; the answer's header `X-TE-Access-Token` holds a token to go on with.
#[utoipa::path(patch, path = "/api/v1/user/me/change-password", tag = "users", security(("bearerAuth" = ["account"])), request_body = Object,
    responses((status = 200, body = Data<Profile>), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub async fn change_own(State(app): State<App>, user: User, json::Body(body): json::Body) -> Result<Response> {
    let text = |name: &str| body.get::<String>(name).filter(|text| !text.is_empty());
    let (Some(old), Some(new)) = (text("old_password"), text("new_password")) else {
        return Err(Error::invalid("old_password and new_password are required"));
    };
    let stored = store::users::logins::password(&app.db, user.id).await?;
    if old.len() > passwords::MAX_BYTES || !app.hasher.verify(old.clone(), stored).await? {
        return Err(Error::WrongPassword);
    }
    if old == new {
        return Err(Error::Weak("New password must be different from current password"));
    }
    passwords::check(&new).map_err(Error::Weak)?;
    let profile = replace(&app, &user, user.id, new).await?;
    let not_before = store::users::logins::tokens_not_before(&app.db, user.id).await?;
    let token = app.tokens.issue_access(user.id, app.clock.now(), not_before)?;
    let token = HeaderValue::from_str(&token).map_err(anyhow::Error::from)?;
    Ok(([(NEW_TOKEN, token)], data(profile)).into_response())
}

/// Gives an account another password. Administrators; the password of a SUPERADMIN and of the environment account by a
/// SUPERADMIN only.
#[utoipa::path(patch, path = "/api/v1/user/{user}/change-password", tag = "users", security(("bearerAuth" = ["account"])),
    params(("user" = String, Path)), request_body = Object,
    responses((status = 200, body = Data<Profile>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub async fn change(
    State(app): State<App>,
    Admin(user): Admin,
    path: UserPath,
    json::Body(body): json::Body,
) -> Result<Json<Data<Profile>>> {
    let Some(new) = body.get::<String>("new_password").filter(|text| !text.is_empty()) else {
        return Err(Error::invalid("new_password is required"));
    };
    let person = super::find(&app, &path).await?;
    let above = Role::of(person.role.as_deref()) == Role::Superadmin || auth::is_environment(&app, &person.email);
    if above && !user.is_superadmin() {
        return Err(Error::Forbidden("Administrators cannot change superadmin passwords".into()));
    }
    passwords::check(&new).map_err(Error::Weak)?;
    Ok(data(replace(&app, &user, person.id, new).await?))
}
