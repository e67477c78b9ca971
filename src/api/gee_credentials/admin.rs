//! `/api/v1/user/<id>/gee-…`: the same for somebody else, by administrators (contract/auth-users.md 10).

use axum::{Json, extract::State};
use serde::Serialize;

use super::{delete, put_service_account, stored};
use crate::{
    account::earth_engine,
    api::{
        Data, ErrorBody, Said, data,
        extract::{json::MaybeJson, path::IdPath},
        said,
    },
    app::App,
    auth::User,
    error::{Error, Result},
    store::{Id, users::gee::Stored},
};

#[derive(Serialize, utoipa::ToSchema)]
pub struct CredentialsOf {
    user_id: Id,
    user_email: String,
    has_credentials: bool,
    credentials_type: Option<String>,
    created_at: Option<chrono::NaiveDateTime>,
}

/// Kind and time of a person's credentials. Administrators only.
#[utoipa::path(get, path = "/api/v1/user/{user}/gee-credentials", tag = "users", security(("bearerAuth" = ["gee:read"])), params(("user" = String, Path)),
    responses((status = 200, body = Data<CredentialsOf>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn get(State(app): State<App>, admin: User, path: IdPath) -> Result<Json<Data<CredentialsOf>>> {
    let (user_id, Stored { email, told, .. }) = of(&app, &admin, path).await?;
    Ok(data(CredentialsOf {
        user_id,
        user_email: email,
        has_credentials: told.credentials_type.is_some(),
        credentials_type: told.credentials_type,
        created_at: told.created_at,
    }))
}

/// Deletes a person's credentials. Administrators only.
#[utoipa::path(delete, path = "/api/v1/user/{user}/gee-credentials", tag = "users", security(("bearerAuth" = ["gee:write"])), params(("user" = String, Path)),
    responses((status = 200, body = Said), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn remove(State(app): State<App>, admin: User, path: IdPath) -> Result<Json<Said>> {
    let (id, person) = of(&app, &admin, path).await?;
    if !delete(&app, &admin, id, &person).await? {
        return Err(Error::not_found("No GEE credentials found for user"));
    }
    Ok(said(format!("GEE credentials deleted for user {}", person.email)))
}

/// Tries a person's credentials at Earth Engine. Administrators only.
#[utoipa::path(post, path = "/api/v1/user/{user}/gee-credentials/test", tag = "users", security(("bearerAuth" = ["gee:read"])), params(("user" = String, Path)),
    responses((status = 200, body = Said), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn test(State(app): State<App>, admin: User, path: IdPath) -> Result<Json<Said>> {
    let (_, person) = of(&app, &admin, path).await?;
    if person.told.credentials_type.is_none() {
        return Err(Error::invalid("No GEE credentials configured for user"));
    }
    let email = &person.email;
    if !earth_engine::works(&app, &person).await? {
        return Err(Error::invalid(format!("GEE credentials for user {email} are invalid or expired")));
    }
    Ok(said(format!("GEE credentials for user {email} are valid and working")))
}

/// Stores the key of a service account as a person's credentials. Administrators only.
#[utoipa::path(post, path = "/api/v1/user/{user}/gee-service-account", tag = "users", security(("bearerAuth" = ["gee:write"])), params(("user" = String, Path)), request_body = Object,
    responses((status = 200, body = Said), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn set_service_account(
    State(app): State<App>,
    admin: User,
    path: IdPath,
    body: MaybeJson,
) -> Result<Json<Said>> {
    let (id, person) = of(&app, &admin, path).await?;
    put_service_account(&app, &admin, id, body).await?;
    Ok(said(format!("GEE service account credentials saved for user {}", person.email)))
}

/// The person that an administrator names, by id only.
async fn of(app: &App, admin: &User, path: IdPath) -> Result<(Id, Stored)> {
    if !admin.is_admin() {
        return Err(Error::Forbidden("Admin access required".into()));
    }
    let id = path.0.ok_or_else(|| Error::not_found("User not found"))?;
    Ok((id, stored(app, id).await?))
}
