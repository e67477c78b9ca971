//! `/api-health` and `/ping`: whether the server is there (contract/auth-users.md 3).

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::app::App;

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(ping))
}

#[derive(Serialize, utoipa::ToSchema)]
struct Health {
    /// Always `ok`: the server answers.
    status: &'static str,
    /// `healthy` or `unhealthy`.
    database: &'static str,
    timestamp: String,
    version: &'static str,
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

/// Whether the server and its database answer. Public; always 200.
#[utoipa::path(get, path = "/api-health", tag = "health", security(()), responses((status = 200, body = Health)))]
async fn health(State(app): State<App>) -> Json<Health> {
    let database = if app.db.ping().await.is_ok() { "healthy" } else { "unhealthy" };
    Json(Health { status: "ok", database, timestamp: timestamp(&app), version: "1.0" })
}

/// Whether the server answers. Public.
#[utoipa::path(get, path = "/ping", tag = "health", security(()), responses((status = 200, body = Pong)))]
async fn ping(State(app): State<App>) -> Json<Pong> {
    Json(Pong { message: "pong", status: "ok", timestamp: timestamp(&app) })
}
