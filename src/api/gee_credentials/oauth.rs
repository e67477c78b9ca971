//! `…/gee-oauth/…`: a person lets the server use Earth Engine by a consent at Google, and comes back with a code
//! (contract/auth-users.md 10). The state is drawn by lot, works once, and for ten minutes.

use axum::{Json, extract::State, http::HeaderMap};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use serde_json::json;

use super::sent;
use crate::{
    account::earth_engine::{self, verifier_place},
    api::{Data, ErrorBody, Said, data, extract::json::MaybeJson, said, scripts::is_plugin},
    app::App,
    auth::{Caller, User, tokens},
    clock::after,
    error::{Error, Result},
    outside::Failure,
    store::{
        self, Id,
        oauth_states::{NewState, Returned},
        users::gee,
    },
};

/// Seconds that a person has for it.
const LIFE_S: u64 = 600;

/// Where a person has to go.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Way {
    auth_url: String,
    state: String,
}

/// Whom the consent was stored for, as far as a page may know.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Connected {
    status: &'static str,
    client_type: Option<String>,
    gee_google_email: String,
}

/// Begins: the address at Google that asks the person's consent.
#[utoipa::path(post, path = "/api/v1/user/me/gee-oauth/initiate", tag = "users", security(("bearerAuth" = ["gee:write"])),
    responses((status = 200, body = Data<Way>), (status = 503, body = ErrorBody)))]
pub async fn initiate(State(app): State<App>, user: User, headers: HeaderMap) -> Result<Json<Data<Way>>> {
    let (state, verifier) = (tokens::random(32), tokens::random(32));
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    let challenge = URL_SAFE_NO_PAD.encode(digest);
    let auth_url = app.google.consent(&state, &challenge).ok_or_else(not_configured)?;
    earth_engine::key(&app)?;
    let new = NewState {
        user: user.id,
        state_sha256: &tokens::digest(&state),
        verifier: &app.vault.seal(&verifier_place(user.id), &verifier)?,
        client_type: is_plugin(&headers).then_some("qgis_plugin"),
        expires_at: after(app.clock.now(), LIFE_S),
    };
    let mut tx = app.db.begin().await?;
    store::oauth_states::put(&mut tx, &new).await?;
    tx.commit().await?;
    Ok(data(Way { auth_url, state }))
}

/// Ends it for the caller, `{"code": "…", "state": "…"}`.
#[utoipa::path(post, path = "/api/v1/user/me/gee-oauth/callback", tag = "users", security(("bearerAuth" = ["gee:write"])), request_body = Object,
    responses((status = 200, body = Said), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn finish_own(State(app): State<App>, user: User, body: MaybeJson) -> Result<Json<Said>> {
    let (code, state) = read(body)?;
    connect(&app, &user.caller, Some(user.id), &code, &state).await?;
    Ok(said("GEE OAuth credentials saved successfully"))
}

/// Ends it for whoever began it, by the state alone: for the page that Google sends people back to.
#[utoipa::path(post, path = "/api/v1/gee-oauth/callback", tag = "users", security(()), request_body = Object,
    responses((status = 200, body = Data<Connected>), (status = 400, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub async fn finish(State(app): State<App>, caller: Caller, body: MaybeJson) -> Result<Json<Data<Connected>>> {
    let (code, state) = read(body)?;
    Ok(data(connect(&app, &caller, None, &code, &state).await?))
}

fn not_configured() -> Error {
    Error::NotConfigured("OAuth not configured".into())
}

fn read(body: MaybeJson) -> Result<(String, String)> {
    let body = sent(body)?;
    let text = |key: &str, missing: &str| {
        body.get::<String>(key).filter(|text| !text.is_empty()).ok_or_else(|| Error::invalid(missing))
    };
    Ok((text("code", "Authorization code is required")?, text("state", "State parameter is required")?))
}

/// Changes the code into tokens and stores them for whoever began with this state; `user` if only he may have.
pub async fn connect(app: &App, caller: &Caller, user: Option<Id>, code: &str, state: &str) -> Result<Connected> {
    let now = app.clock.now();
    let returned = store::oauth_states::take(&app.db, &tokens::digest(state), user, now).await?;
    let Returned { user_id, verifier, client_type } =
        returned.ok_or_else(|| Error::invalid("Invalid or expired state parameter"))?;
    let verifier = app.vault.open(&verifier_place(user_id), &verifier);
    let verifier = verifier.ok_or_else(|| Error::invalid("Invalid or expired state parameter"))?;
    let got = app.google.exchange(code, &verifier).await.map_err(|failure| match failure {
        Failure::Refused(..) => Error::invalid("Google did not accept the code; start again."),
        Failure::Silent => Error::silent("Google"),
    })?;
    let access = earth_engine::encrypt(app, &got.access)?;
    let refresh = earth_engine::encrypt(app, &got.refresh)?;
    // Whose account it is, is good to know and not needed.
    let address = app.google.address(&got.access).await.ok();
    let mut tx = app.db.begin().await?;
    if !gee::put_oauth(&mut tx, user_id, (&access, &refresh), address.as_deref(), now).await? {
        return Err(Error::not_found("User not found"));
    }
    let act = caller.did("credential.set", "user", &user_id).with(&json!({"kind": "oauth"}));
    store::audit::insert(&mut tx, &act, now).await?;
    tx.commit().await?;
    Ok(Connected { status: "connected", client_type, gee_google_email: address.unwrap_or_default() })
}
