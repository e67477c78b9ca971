//! `POST /api/v1/execution/<id>/google-token`: a run changes what it was lent for a short access token of Google, as libraries
//! of Google ask for one (RFC 6749 6, RFC 7523). No sign-in: what is brought opens it, while the run lives.

use axum::{
    Form, Json,
    extract::{State, rejection::FormRejection},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::{
    api::{extract::path::ExecutionPath, oauth::refused},
    app::App,
    error::{Error, Result},
    execution::loan::{self, Brought},
    google::account::GRANT,
    limits::layer::Turn,
    outside::Failure,
    store,
};

/// An access token for the run's loan: `grant_type=refresh_token&refresh_token=…`, or
/// `grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer&assertion=…`, as a form.
#[utoipa::path(post, path = "/api/v1/execution/{execution}/google-token", tag = "executions", security(()), params(("execution" = String, Path)),
    request_body(content = Object, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = Object), (status = 400, body = Object), (status = 503, body = crate::api::ErrorBody)))]
pub async fn google_token(
    State(app): State<App>,
    turn: Turn,
    path: ExecutionPath,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Result<Response> {
    let fields = form.map(|Form(fields)| fields).unwrap_or_default();
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let lives = store::loans::living(&app.db, path.0).await?.is_some();
    turn.run(lives.then_some(path.0)).await?;
    let brought = match field("grant_type") {
        "refresh_token" => Brought::Token(field("refresh_token")),
        GRANT => Brought::Request(field("assertion")),
        _ => return Ok(refused(StatusCode::BAD_REQUEST, "unsupported_grant_type", "refresh_token or jwt-bearer")),
    };
    let gone = "The run has ended, or was lent nothing of this kind.";
    match loan::change(&app, path.0, brought).await? {
        None => Ok(refused(StatusCode::BAD_REQUEST, "invalid_grant", gone)),
        Some(Ok(access)) => {
            let body = json!({"access_token": access.token.expose_secret(), "expires_in": access.expires_in,
                "token_type": "Bearer"});
            Ok(([("cache-control", "no-store")], Json(body)).into_response())
        }
        Some(Err(Failure::Refused(..))) => {
            let sentence = "Google does not accept the credentials that were lent; their owner has to connect again.";
            Ok(refused(StatusCode::BAD_REQUEST, "invalid_grant", sentence))
        }
        Some(Err(Failure::Silent)) => Err(Error::silent("Google")),
    }
}
