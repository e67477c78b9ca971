//! `/api/v1/user…`: people and their profiles.

use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Data, data};
use crate::{
    app::App,
    auth::User,
    error::{Error, Result},
    store::{self, users::Profile},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(me))
}

/// The caller's own profile.
#[utoipa::path(get, path = "/api/v1/user/me", tag = "users", security(("bearerAuth" = ["user:read"])),
    responses((status = 200, body = Data<Profile>), (status = 401, body = super::ErrorBody)))]
async fn me(State(app): State<App>, user: User) -> Result<Json<Data<Profile>>> {
    let profile = store::users::profile(&app.db, user.id).await?;
    Ok(data(profile.ok_or_else(|| Error::not_found(format!("User with id {} does not exist", user.id)))?))
}
