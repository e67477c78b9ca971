//! `/auth…`: signing in, going on, signing out (contract/auth-users.md 6).

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header, request::Parts},
};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::extract::{
    json::{self, MaybeJson},
    query::Pairs,
};
use crate::{
    app::App,
    auth::{User, passwords, tokens},
    clock::after,
    error::{Error, Result},
    store::{self, Id, refresh_tokens::NewRefreshToken},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(sign_in))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(logout_all))
}

/// What keeps a caller signed in.
#[derive(Serialize, utoipa::ToSchema)]
struct Session {
    access_token: String,
    /// Seconds.
    expires_in: i64,
    /// Absent for runs: they sign in again.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<Id>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct Message {
    msg: String,
}

/// E-mail and password.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document; it is read leniently")]
struct Credentials {
    email: String,
    password: String,
}

fn refused(status: StatusCode, msg: &str) -> Error {
    Error::SignIn { status, msg: msg.to_owned() }
}

fn unauthorized(msg: &str) -> Error {
    refused(StatusCode::UNAUTHORIZED, msg)
}

/// Signs in with e-mail and password. Public; a token that comes along counts as none.
#[utoipa::path(post, path = "/auth", tag = "auth", request_body = Credentials, security(()),
    responses((status = 200, body = Session), (status = 400, body = super::ErrorBody), (status = 401, body = super::ErrorBody)))]
async fn sign_in(State(app): State<App>, parts: Parts, json::Body(body): json::Body) -> Result<Json<Session>> {
    let (Some(email), Some(password)) = (body.get::<String>("email"), body.get::<String>("password")) else {
        return Err(refused(StatusCode::BAD_REQUEST, "Email and password are required"));
    };
    if email.is_empty() || password.is_empty() {
        return Err(refused(StatusCode::BAD_REQUEST, "Email and password are required"));
    }
    if let Some(execution) = email.strip_prefix("execution-").and_then(Id::parse) {
        return sign_in_run(&app, execution, &password).await;
    }
    let bad = || unauthorized("Bad username or password");
    if password.len() > passwords::MAX_BYTES {
        return Err(bad());
    }
    let email = email.replace('\0', "");
    let mut found = store::users::logins(&app.db, &email).await?;
    // Two accounts that differ in case only: neither is meant.
    let login = if found.len() == 1 { found.pop() } else { None };
    let fits = app.hasher.verify(password, login.as_ref().map(|l| l.password.clone())).await?;
    let login = login.filter(|_| fits).ok_or_else(bad)?;
    let now = app.clock.now();
    store::users::signed_in(&app.db, login.id, now).await?;
    let refresh_token = issue_refresh(&app, login.id, &parts).await?;
    Ok(Json(session(&app, login.id, refresh_token).await?))
}

/// A run signs in with its own credential: no password hash, no refresh token.
async fn sign_in_run(app: &App, execution: Id, password: &str) -> Result<Json<Session>> {
    let now = app.clock.now();
    let credential = store::credentials::living(&app.db, execution, now).await?;
    let digest = tokens::digest(password);
    let credential = credential
        .filter(|c| tokens::same(&c.secret_sha256, &digest))
        .ok_or_else(|| unauthorized("Bad username or password"))?;
    let access_token = app.tokens.issue_run(execution, credential.attempt, now)?;
    Ok(Json(Session { access_token, expires_in: tokens::ACCESS_S, refresh_token: None, user_id: None }))
}

async fn session(app: &App, user: Id, refresh_token: String) -> Result<Session> {
    let not_before = store::users::tokens_not_before(&app.db, user).await?;
    let access_token = app.tokens.issue_access(user, app.clock.now(), not_before)?;
    Ok(Session { access_token, expires_in: tokens::ACCESS_S, refresh_token: Some(refresh_token), user_id: Some(user) })
}

/// A new refresh token of an account; its digest is what is stored.
async fn issue_refresh(app: &App, user: Id, parts: &Parts) -> Result<String> {
    let agent = parts
        .headers
        .get(header::USER_AGENT)
        .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
        .unwrap_or_default();
    let device: String =
        format!("IP: {} | UA: {agent}", super::peer(parts)).replace('\0', "").chars().take(500).collect();
    let now = app.clock.now();
    let token = tokens::random(32);
    let expires_at = now + chrono::TimeDelta::days(tokens::REFRESH_DAYS);
    let mut tx = app.db.begin().await?;
    let new = NewRefreshToken { user, token: &tokens::digest(&token), device_info: &device, expires_at };
    store::refresh_tokens::insert(&mut tx, &new, now).await?;
    tx.commit().await?;
    Ok(token)
}

/// The forms in which a refresh token may be stored: its digest, or itself where the existing server made it. What looks
/// like a digest is never taken for a token: a reader of the database must not be able to sign in with what he reads.
fn stored(token: &str) -> [String; 2] {
    let digest = tokens::digest(token);
    let looks_like_digest = token.len() == digest.len() && token.bytes().all(|b| b.is_ascii_hexdigit());
    let clear = if looks_like_digest { digest.clone() } else { token.to_owned() };
    [digest, clear]
}

/// Trades a refresh token for a new access token; `?rotate=true` for a new refresh token too.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", security(()),
    responses((status = 200, body = Session), (status = 400, body = super::ErrorBody), (status = 401, body = super::ErrorBody)))]
async fn refresh(
    State(app): State<App>,
    query: Pairs,
    parts: Parts,
    json::Body(body): json::Body,
) -> Result<Json<Session>> {
    let Some(token) = body.get::<String>("refresh_token").filter(|token| !token.is_empty()) else {
        return Err(refused(StatusCode::BAD_REQUEST, "Refresh token is required"));
    };
    let token = token.replace('\0', "");
    let stored = stored(&token);
    let stored = [stored[0].as_str(), stored[1].as_str()];
    let now = app.clock.now();
    let dead = || unauthorized("Invalid or expired refresh token");
    let user = store::refresh_tokens::touch(&app.db, stored, now).await?.ok_or_else(dead)?;
    let next = if query.is_on("rotate") {
        let mut tx = app.db.begin().await?;
        // Of two that rotate one token at one time, the second finds it ended.
        if !store::refresh_tokens::revoke(&mut tx, user, stored).await? {
            return Err(dead());
        }
        tx.commit().await?;
        issue_refresh(&app, user, &parts).await?
    } else {
        token
    };
    Ok(Json(session(&app, user, next).await?))
}

/// Ends the access token, and the caller's own refresh token if the body names one. No body is needed.
#[utoipa::path(post, path = "/auth/logout", tag = "auth", responses((status = 200, body = Message), (status = 401, body = super::ErrorBody)))]
async fn logout(State(app): State<App>, user: User, body: Result<MaybeJson>) -> Result<Json<Message>> {
    // Whatever the body is, the caller wants to be signed out.
    let refresh = body.ok().and_then(|MaybeJson(object)| object?.get::<String>("refresh_token"));
    let expires_at = chrono::DateTime::from_timestamp(user.token.exp, 0).unwrap_or_default().naive_utc();
    let mut tx = app.db.begin().await?;
    store::revocations::insert(&mut tx, &user.token.jti, after(expires_at, 60)).await?;
    if let Some(token) = refresh {
        let stored = stored(&token.replace('\0', ""));
        store::refresh_tokens::revoke(&mut tx, user.id, [&stored[0], &stored[1]]).await?;
    }
    tx.commit().await?;
    Ok(Json(Message { msg: "Successfully logged out".into() }))
}

/// Ends every session of the caller, this one included.
#[utoipa::path(post, path = "/auth/logout-all", tag = "auth", responses((status = 200, body = Message), (status = 401, body = super::ErrorBody)))]
async fn logout_all(State(app): State<App>, user: User) -> Result<Json<Message>> {
    let mut tx = app.db.begin().await?;
    let n = store::refresh_tokens::revoke_all(&mut tx, user.id).await?;
    store::users::end_tokens(&mut tx, user.id, app.clock.next_second()).await?;
    tx.commit().await?;
    Ok(Json(Message { msg: format!("Successfully logged out from {n} devices") }))
}
