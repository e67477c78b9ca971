//! `/api-health` and `/ping`: whether the server is there (contract/auth-users.md 3).

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue},
};
use secrecy::ExposeSecret;
use serde::Serialize;
use subtle::ConstantTimeEq;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    app::App,
    config::{Deployment, Environment},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(ping))
}

#[derive(Serialize, utoipa::ToSchema)]
struct Health {
    /// Always `ok`: the server answers.
    status: &'static str,
    /// `healthy` or `unhealthy`, as of a second ago at most.
    database: &'static str,
    timestamp: String,
    version: &'static str,
    /// Here and true on a copy of a live database, where nothing is started, sent, called or deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    rehearsal: Option<bool>,
    /// What was installed; in prod only for who sends the health token.
    #[serde(skip_serializing_if = "Option::is_none")]
    deployment: Option<Deployment>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct Pong {
    message: &'static str,
    status: &'static str,
    timestamp: String,
}

pub(super) fn timestamp(app: &App) -> String {
    format!("{}+00:00", app.clock.now().format("%Y-%m-%dT%H:%M:%S%.6f"))
}

/// In prod what is installed is told to nobody but who watches over it.
fn may_know(app: &App, headers: &HeaderMap) -> bool {
    if app.config.environment != Environment::Prod {
        return true;
    }
    let sent = headers.get("x-health-token").map(HeaderValue::as_bytes);
    let token = app.config.health_token.as_ref().map(|token| token.expose_secret().as_bytes());
    sent.zip(token).is_some_and(|(sent, token)| sent.ct_eq(token).into())
}

/// Whether the server and its database answer. Public; always 200.
#[utoipa::path(get, path = "/api-health", tag = "health", security(()), responses((status = 200, body = Health)))]
async fn health(State(app): State<App>, headers: HeaderMap) -> Json<Health> {
    let database = if app.pulse.answers() { "healthy" } else { "unhealthy" };
    let deployment = may_know(&app, &headers).then(|| app.config.deployment.clone());
    let rehearsal = app.config.rehearse.then_some(true);
    Json(Health { status: "ok", database, timestamp: timestamp(&app), version: "1.0", rehearsal, deployment })
}

/// Whether the server answers. Public.
#[utoipa::path(get, path = "/ping", tag = "health", security(()), responses((status = 200, body = Pong)))]
async fn ping(State(app): State<App>) -> Json<Pong> {
    Json(Pong { message: "pong", status: "ok", timestamp: timestamp(&app) })
}
