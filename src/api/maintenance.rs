//! `/api/v1/admin/maintenance` and `/api/v1/admin/workers`: the whole system, or one machine, takes on nothing new; what runs
//! goes on to its end.

use axum::{Json, extract::State};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Data, ErrorBody, data,
    extract::{json::Body, path::IdPath},
};
use crate::{
    app::App,
    auth::{Admin, Superadmin},
    error::{Error, Result},
    store::{self, maintenance::Maintenance, workers::Worker},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get, set)).routes(routes!(workers)).routes(routes!(drain))
}

/// Characters of a message.
const MESSAGE_CHARS: usize = 500;
/// Seconds after which a caller may ask again.
const AGAIN_S: u64 = 300;

/// Refuses what would begin something new while the system is at rest.
pub(super) async fn refuse(app: &App) -> Result<()> {
    let Some(maintenance) = store::maintenance::get(&app.db).await? else { return Ok(()) };
    let detail = maintenance.message.unwrap_or_else(|| {
        "The system is being maintained and takes on no new work at present; try again in a few minutes.".into()
    });
    Err(Error::Unavailable { detail, code: "maintenance", retry_after: AGAIN_S })
}

/// Whether the system is at rest: since when, by whom and what callers are told; `null` if it is not. Administrators only.
#[utoipa::path(get, path = "/api/v1/admin/maintenance", tag = "admin", security(("bearerAuth" = ["user:read"])),
    responses((status = 200, body = Data<Option<Maintenance>>), (status = 403, body = ErrorBody)))]
async fn get(State(app): State<App>, _: Admin) -> Result<Json<Data<Option<Maintenance>>>> {
    Ok(data(store::maintenance::get(&app.db).await?))
}

/// Begins or ends maintenance: `{"on": true, "message": "…"}`. SUPERADMIN only.
#[utoipa::path(put, path = "/api/v1/admin/maintenance", tag = "admin", security(("bearerAuth" = ["account"])), request_body = Object,
    responses((status = 200, body = Data<Option<Maintenance>>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
async fn set(
    State(app): State<App>,
    Superadmin(user): Superadmin,
    Body(body): Body,
) -> Result<Json<Data<Option<Maintenance>>>> {
    let on = body.get::<bool>("on").ok_or_else(|| Error::invalid("on must be true or false"))?;
    let message = match body.get::<Value>("message").unwrap_or_default() {
        Value::Null => None,
        Value::String(text) if text.chars().count() <= MESSAGE_CHARS => Some(text).filter(|text| !text.is_empty()),
        _ => {
            return Err(Error::invalid(format!("message must be a text of at most {MESSAGE_CHARS} characters")));
        }
    };
    let now = app.clock.now();
    let new = Maintenance { message, begun_by: Some(user.id), begun_at: now };
    let mut tx = app.db.begin().await?;
    let (changed, action) = match on {
        true => (store::maintenance::begin(&mut tx, &new).await?, "maintenance.on"),
        false => (store::maintenance::end(&mut tx).await?, "maintenance.off"),
    };
    if changed {
        let act = user.caller.did(action, "system", &"maintenance").with(&json!({"message": new.message}));
        store::audit::insert(&mut tx, &act, now).await?;
        tx.notify();
    }
    tx.commit().await?;
    app.wake();
    Ok(data(store::maintenance::get(&app.db).await?))
}

/// The processes that run scripts, those seen last first. Administrators only.
#[utoipa::path(get, path = "/api/v1/admin/workers", tag = "admin", security(("bearerAuth" = ["user:read"])),
    responses((status = 200, body = Data<Vec<Worker>>), (status = 403, body = ErrorBody)))]
async fn workers(State(app): State<App>, _: Admin) -> Result<Json<Data<Vec<Worker>>>> {
    Ok(data(store::workers::list(&app.db).await?))
}

/// Has a worker take on nothing new, or again, until it is started anew: `{"draining": true}`. SUPERADMIN only.
#[utoipa::path(patch, path = "/api/v1/admin/workers/{id}", tag = "admin", security(("bearerAuth" = ["account"])), params(("id" = String, Path)), request_body = Object,
    responses((status = 200, body = Data<Worker>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn drain(
    State(app): State<App>,
    Superadmin(user): Superadmin,
    id: IdPath,
    Body(body): Body,
) -> Result<Json<Data<Worker>>> {
    let missing = || Error::not_found("There is no such worker");
    let draining = body.get::<bool>("draining").ok_or_else(|| Error::invalid("draining must be true or false"))?;
    let id = id.0.ok_or_else(missing)?;
    let mut tx = app.db.begin().await?;
    let worker = store::workers::drain(&mut tx, id, draining).await?.ok_or_else(missing)?;
    let action = if draining { "worker.draining_on" } else { "worker.draining_off" };
    let act = user.caller.did(action, "worker", &id).with(&json!({"node": worker.node_id}));
    store::audit::insert(&mut tx, &act, app.clock.now()).await?;
    tx.notify();
    tx.commit().await?;
    app.wake();
    Ok(data(worker))
}
