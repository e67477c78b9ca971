//! `/api/v1/user/me/gee-credentials`: whether a person has lent credentials of Earth Engine (contract/auth-users.md 10).

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Data, ErrorBody, data};
use crate::{
    app::App,
    auth::User,
    error::Result,
    store::users::gee::{self, GeeCredentials},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get))
}

#[derive(Serialize, utoipa::ToSchema)]
struct GeeCredentialsView {
    has_credentials: bool,
    #[serde(flatten)]
    credentials: GeeCredentials,
}

/// Kind and time of the own credentials; the credentials themselves are never shown.
#[utoipa::path(get, path = "/api/v1/user/me/gee-credentials", tag = "users", security(("bearerAuth" = ["gee:read"])),
    responses((status = 200, body = Data<GeeCredentialsView>), (status = 401, body = ErrorBody)))]
async fn get(State(app): State<App>, user: User) -> Result<Json<Data<GeeCredentialsView>>> {
    let credentials = gee::credentials(&app.db, user.id).await?.unwrap_or_default();
    Ok(data(GeeCredentialsView { has_credentials: credentials.credentials_type.is_some(), credentials }))
}
