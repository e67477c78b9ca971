//! `/auth…`: signing in, going on, signing out (contract/auth-users.md 6).

use std::time::Duration;

use axum::{
    Json,
    extract::{FromRequest, Request, State},
    http::StatusCode,
};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    clients::ClientHeader,
    extract::{
        json::{self, MaybeJson},
        query::Pairs,
    },
};
use crate::{
    app::App,
    auth::{User, caller::Caller, lockout, passwords, tokens},
    clock::after,
    error::{Error, Result},
    json::Object,
    limits::layer::Turn,
    store::{self, Id, Tx, refresh_tokens::NewRefreshToken, user_clients::Client},
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
pub(super) struct Session {
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

/// A JSON object, refused in the shape of this place.
struct Sent(Object);

impl FromRequest<App> for Sent {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let json::Body(object) = json::Body::from_request(request, app).await.map_err(Error::at_sign_in)?;
        Ok(Sent(object))
    }
}

fn refused(status: StatusCode, msg: &str) -> Error {
    Error::SignIn { status, msg: msg.to_owned(), code: None }
}

fn unauthorized(msg: &str) -> Error {
    refused(StatusCode::UNAUTHORIZED, msg)
}

/// A failed sign-in is answered no sooner than this, whatever was wrong: its time tells nothing.
const REFUSED_AFTER: Duration = Duration::from_millis(400);

/// Signs in with e-mail and password. Public; a token that comes along counts as none.
#[utoipa::path(post, path = "/auth", tag = "auth", request_body = Credentials, security(()),
    responses((status = 200, body = Session), (status = 400, body = super::ErrorBody), (status = 401, body = super::ErrorBody)))]
async fn sign_in(
    State(app): State<App>,
    caller: Caller,
    turn: Turn,
    ClientHeader(client): ClientHeader,
    Sent(body): Sent,
) -> Result<Json<Session>> {
    let (Some(email), Some(password)) = (body.get::<String>("email"), body.get::<String>("password")) else {
        return Err(refused(StatusCode::BAD_REQUEST, "Email and password are required"));
    };
    if email.is_empty() || password.is_empty() {
        return Err(refused(StatusCode::BAD_REQUEST, "Email and password are required"));
    }
    if let Some(execution) = email.strip_prefix("execution-").and_then(Id::parse) {
        return sign_in_run(&app, &turn, execution, &password).await;
    }
    turn.account(&email).await?;
    let begun = tokio::time::Instant::now();
    let signed_in = sign_in_account(&app, &caller, client.as_ref(), &email.replace('\0', ""), password).await;
    if matches!(signed_in, Err(Error::SignIn { .. } | Error::Locked { .. })) {
        tokio::time::sleep_until(begun + REFUSED_AFTER).await;
    }
    signed_in.map(Json)
}

async fn sign_in_account(
    app: &App,
    caller: &Caller,
    client: Option<&Client>,
    email: &str,
    password: String,
) -> Result<Session> {
    let bad = || unauthorized("Bad username or password");
    let mut found = store::users::logins::find(&app.db, email).await?;
    // Two accounts that differ in case only: neither is meant.
    let login = if found.len() == 1 { found.pop() } else { None };
    let locked_until = match &login {
        Some(login) => login.locked_until,
        None => lockout::unknown(app, email).await?,
    };
    lockout::check(locked_until, app.clock.now())?;
    let fits = password.len() <= passwords::MAX_BYTES
        && app.hasher.verify(password.clone(), login.as_ref().map(|l| l.password.clone())).await?;
    let (Some(login), true) = (&login, fits) else {
        return Err(lockout::failed(app, login.as_ref(), email, caller, bad()).await);
    };
    let upgraded = match app.hasher.is_outdated(&login.password) {
        true => Some(app.hasher.hash(password).await?),
        false => None,
    };
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::users::logins::signed_in(&mut tx, login.id, &login.password, now).await? {
        return Err(bad());
    }
    if let Some(hash) = upgraded {
        store::users::logins::upgrade_hash(&mut tx, login.id, &login.password, &hash).await?;
    }
    if let Some(client) = client {
        store::user_clients::upsert(&mut tx, login.id, client, now).await?;
    }
    let refresh_token = issue_refresh(app, &mut tx, login.id, &device(caller)).await?;
    tx.commit().await?;
    session(app, login.id, refresh_token).await
}

/// A run signs in with its own credential: no password hash, no refresh token.
async fn sign_in_run(app: &App, turn: &Turn, execution: Id, password: &str) -> Result<Json<Session>> {
    let now = app.clock.now();
    let credential = store::credentials::living(&app.db, execution, now).await?;
    turn.run(credential.is_some().then_some(execution)).await?;
    let digest = tokens::digest(password);
    let credential = credential
        .filter(|c| tokens::same(&c.secret_sha256, &digest))
        .ok_or_else(|| unauthorized("Bad username or password"))?;
    let access_token = app.tokens.issue_run(execution, credential.attempt, now)?;
    Ok(Json(Session { access_token, expires_in: tokens::ACCESS_S, refresh_token: None, user_id: None }))
}

pub(super) async fn session(app: &App, user: Id, refresh_token: String) -> Result<Session> {
    let not_before = store::users::logins::tokens_not_before(&app.db, user).await?;
    let access_token = app.tokens.issue_access(user, app.clock.now(), not_before)?;
    Ok(Session { access_token, expires_in: tokens::ACCESS_S, refresh_token: Some(refresh_token), user_id: Some(user) })
}

/// How a session is shown to its owner (contract/auth-users.md 4.3).
fn device(caller: &Caller) -> String {
    let address = caller.address.as_deref().unwrap_or("unknown");
    format!("IP: {address} | UA: {}", caller.user_agent).chars().take(500).collect()
}

/// A new refresh token of an account. What is stored is its digest; beside the existing server, which has to find it, the
/// token itself.
async fn issue_refresh(app: &App, tx: &mut Tx, user: Id, device: &str) -> Result<String> {
    let now = app.clock.now();
    let token = tokens::random(32);
    let stored = if app.coexists { token.clone() } else { tokens::digest(&token) };
    let expires_at = now + chrono::TimeDelta::days(tokens::REFRESH_DAYS);
    let new = NewRefreshToken { user, token: &stored, device_info: device, expires_at };
    store::refresh_tokens::insert(tx, &new, now).await?;
    Ok(token)
}

/// Trades a refresh token for a new access token; `?rotate=true` for a new refresh token too.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", security(()),
    responses((status = 200, body = Session), (status = 400, body = super::ErrorBody), (status = 401, body = super::ErrorBody)))]
async fn refresh(
    State(app): State<App>,
    query: Pairs,
    turn: Turn,
    ClientHeader(client): ClientHeader,
    Sent(body): Sent,
) -> Result<Json<Session>> {
    let Some(token) = body.get::<String>("refresh_token").filter(|token| !token.is_empty()) else {
        return Err(refused(StatusCode::BAD_REQUEST, "Refresh token is required"));
    };
    turn.account(&token).await?;
    let token = token.replace('\0', "");
    let stored = tokens::stored(&token);
    let stored = [stored[0].as_str(), stored[1].as_str()];
    let now = app.clock.now();
    let dead = || unauthorized("Invalid or expired refresh token");
    let mut tx = app.db.begin().await?;
    let living = store::refresh_tokens::touch(&mut tx, stored, now).await?.ok_or_else(dead)?;
    store::users::logins::active(&mut tx, living.user_id, now).await?;
    if let Some(client) = &client {
        store::user_clients::upsert(&mut tx, living.user_id, client, now).await?;
    }
    let next = if query.is_on("rotate") {
        // Of two that rotate one token at one time, the second finds it ended.
        if !store::refresh_tokens::revoke(&mut tx, living.user_id, stored).await? {
            return Err(dead());
        }
        issue_refresh(&app, &mut tx, living.user_id, living.device_info.as_deref().unwrap_or_default()).await?
    } else {
        token
    };
    tx.commit().await?;
    Ok(Json(session(&app, living.user_id, next).await?))
}

/// Ends the access token, and the caller's own refresh token if the body names one. No body is needed.
#[utoipa::path(post, path = "/auth/logout", tag = "auth", security(("bearerAuth" = [])), responses((status = 200, body = Message), (status = 401, body = super::ErrorBody)))]
async fn logout(State(app): State<App>, user: User, body: Result<MaybeJson>) -> Result<Json<Message>> {
    // Whatever the body is, the caller wants to be signed out.
    let refresh = body.ok().and_then(|MaybeJson(object)| object?.get::<String>("refresh_token"));
    let expires_at = chrono::DateTime::from_timestamp(user.token.exp, 0).unwrap_or_default().naive_utc();
    let mut tx = app.db.begin().await?;
    store::revocations::insert(&mut tx, &user.token.jti, after(expires_at, 60)).await?;
    if let Some(token) = refresh {
        let stored = tokens::stored(&token.replace('\0', ""));
        store::refresh_tokens::revoke(&mut tx, user.id, [&stored[0], &stored[1]]).await?;
    }
    tx.commit().await?;
    app.blocklist.insert(&user.token, app.clock.now()).await;
    Ok(Json(Message { msg: "Successfully logged out".into() }))
}

/// Ends every session of the caller, this one included.
#[utoipa::path(post, path = "/auth/logout-all", tag = "auth", security(("bearerAuth" = ["account"])), responses((status = 200, body = Message), (status = 401, body = super::ErrorBody)))]
async fn logout_all(State(app): State<App>, user: User) -> Result<Json<Message>> {
    let mut tx = app.db.begin().await?;
    let n = store::refresh_tokens::revoke_all(&mut tx, user.id).await?;
    store::users::logins::end_tokens(&mut tx, user.id, app.clock.next_second()).await?;
    tx.commit().await?;
    Ok(Json(Message { msg: format!("Successfully logged out from {n} devices") }))
}
