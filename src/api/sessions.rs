//! `/api/v1/user/me/sessions`: where the caller is signed in (contract/auth-users.md 8).

use axum::{Json, extract::State};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Data, Said, data, extract::path::IdPath, said};
use crate::{
    app::App,
    auth::User,
    error::{Error, Result},
    store::{self, refresh_tokens::Session},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, revoke_all)).routes(routes!(revoke))
}

/// The caller's living sessions, newest first.
#[utoipa::path(get, path = "/api/v1/user/me/sessions", tag = "sessions", security(("bearerAuth" = ["account"])),
    responses((status = 200, body = Data<Vec<Session>>), (status = 401, body = super::ErrorBody)))]
async fn list(State(app): State<App>, user: User) -> Result<Json<Data<Vec<Session>>>> {
    Ok(data(store::refresh_tokens::list(&app.db, user.id, app.clock.now()).await?))
}

/// Ends one session: its refresh token opens nothing any more.
#[utoipa::path(delete, path = "/api/v1/user/me/sessions/{id}", tag = "sessions", security(("bearerAuth" = ["account"])),
    params(("id" = String, Path)), responses((status = 200, body = Said), (status = 404, body = super::ErrorBody)))]
async fn revoke(State(app): State<App>, user: User, path: IdPath) -> Result<Json<Said>> {
    let missing = || Error::not_found("Session not found");
    let id = path.0.ok_or_else(missing)?;
    let mut tx = app.db.begin().await?;
    if !store::refresh_tokens::revoke_session(&mut tx, user.id, id).await? {
        return Err(missing());
    }
    tx.commit().await?;
    Ok(said("Session revoked successfully"))
}

/// Ends all sessions. Access tokens live on until they end by themselves; `POST /auth/logout-all` ends those too.
#[utoipa::path(delete, path = "/api/v1/user/me/sessions", tag = "sessions", security(("bearerAuth" = ["account"])),
    responses((status = 200, body = Said), (status = 401, body = super::ErrorBody)))]
async fn revoke_all(State(app): State<App>, user: User) -> Result<Json<Said>> {
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let n = store::refresh_tokens::revoke_all(&mut tx, user.id).await?;
    store::audit::insert(&mut tx, &user.caller.did("session.revoked_all", "user", &user.id), now).await?;
    tx.commit().await?;
    Ok(said(format!("Successfully revoked {n} sessions")))
}
