//! `/api/v1/rate-limit/…`: who has reached a limit, and letting him in again (contract/auth-users.md 12).

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Said,
    extract::{filter, path::IdentifierPath, query::Pairs},
    said,
};
use crate::{
    app::App,
    auth::User,
    clock,
    error::{Error, Result},
    limits::layer::account,
    store::{
        self, Id, Time,
        rate_limit_events::{COLUMNS, Event},
        search::{self, Clause, Op, Search},
        users::Key,
    },
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(events))
        .routes(routes!(reset))
        .routes(routes!(reset_one))
}

/// Limits that hold are shown up to so many.
const MOST: i64 = 1_000;

/// A page of events.
#[derive(Serialize, utoipa::ToSchema)]
struct Events {
    data: Vec<Event>,
    page: i64,
    per_page: i64,
    total: i64,
    total_pages: i64,
}

fn superadmin(user: &User) -> Result<()> {
    if user.is_superadmin() { Ok(()) } else { Err(Error::Role("Superadmin access required")) }
}

/// Limits that have been reached and still hold. SUPERADMIN only.
#[utoipa::path(get, path = "/api/v1/rate-limit/status", tag = "admin", security(("bearerAuth" = ["account"])),
    responses((status = 200, body = Object), (status = 403, body = super::ErrorBody)))]
async fn status(State(app): State<App>, user: User) -> Result<Json<Value>> {
    superadmin(&user)?;
    let message = "Rate limiting status retrieved successfully";
    if !app.config.limits.enabled {
        let data = json!({"active_limits": [], "enabled": false, "message": "Rate limiting is currently disabled"});
        return Ok(Json(json!({"data": data, "message": message})));
    }
    let mut holding = Search::default();
    ask(&mut holding, "expires_at", Op::Gt, search::Value::Time(app.clock.now()));
    let events = store::rate_limit_events::search(&app.db, &holding, (MOST, 0)).await?;
    let total = store::rate_limit_events::count(&app.db, &holding).await?;
    let limits: Vec<Value> = events.iter().map(shown).collect();
    let data =
        json!({"active_limits": limits, "enabled": true, "storage_type": "database", "total_active_limits": total});
    Ok(Json(json!({"data": data, "message": message})))
}

fn shown(event: &Event) -> Value {
    let user = event
        .user_id
        .map(|id| json!({"id": id, "email": event.user_email, "name": event.user_name, "role": event.user_role}));
    json!({
        "current_count": null,
        "endpoint": event.endpoint,
        "expires_at": event.expires_at,
        "identifier": event.limit_key.as_deref().and_then(|key| key.split('/').nth(1)),
        "ip_address": event.ip_address,
        "key": event.limit_key,
        "limit": event.limit_count,
        "limit_count": event.limit_count,
        "limit_definition": event.limit_definition,
        "limit_key": event.limit_key,
        "method": event.method,
        "occurred_at": event.occurred_at,
        "retry_after_seconds": event.retry_after_seconds,
        "time_window_seconds": event.time_window_seconds,
        "type": event.rate_limit_type.to_lowercase(),
        "user_agent": event.user_agent,
        "user_info": user,
    })
}

/// Limits that have been reached, newest first. Administrators only.
#[utoipa::path(get, path = "/api/v1/rate-limit/events", tag = "admin", security(("bearerAuth" = ["account"])),
    params(("page" = Option<i64>, Query), ("per_page" = Option<i64>, Query), ("since" = Option<String>, Query),
        ("since_hours" = Option<f64>, Query), ("since_days" = Option<f64>, Query), ("type" = Option<String>, Query),
        ("user_id" = Option<String>, Query), ("ip" = Option<String>, Query), ("status" = Option<String>, Query),
        ("filter" = Option<String>, Query), ("sort" = Option<String>, Query)),
    responses((status = 200, body = Events), (status = 400, body = super::ErrorBody), (status = 403, body = super::ErrorBody)))]
async fn events(State(app): State<App>, user: User, query: Pairs) -> Result<Response> {
    if !user.is_admin() {
        return Err(Error::Role("Admin or superadmin access required"));
    }
    let mut search = filter::read(&query, &COLUMNS)?;
    narrow(&mut search, &query, app.clock.now())?;
    let number = |name: &str| query.get(name).and_then(|text| text.trim().parse::<i64>().ok());
    let (page, per_page) = (number("page").unwrap_or(1).max(1), number("per_page").unwrap_or(100).clamp(1, 500));
    let window = (per_page, (page - 1).saturating_mul(per_page));
    let data = store::rate_limit_events::search(&app.db, &search, window).await?;
    let total = store::rate_limit_events::count(&app.db, &search).await?;
    let total_pages = (total + per_page - 1) / per_page;
    Ok((filter::headers(&search), Json(Events { data, page, per_page, total, total_pages })).into_response())
}

/// What a query asks for by parameters of its own.
fn narrow(search: &mut Search, query: &Pairs, now: Time) -> Result<()> {
    let text = |name: &str| query.get(name).map(str::trim).filter(|text| !text.is_empty());
    if let Some(since) = since(query, now)? {
        ask(search, "occurred_at", Op::Ge, search::Value::Time(since));
    }
    if let Some(kind) = text("type") {
        ask(search, "rate_limit_type", Op::Eq, search::Value::Text(kind.to_owned()));
    }
    if let Some(user) = text("user_id") {
        let id = Id::parse(user).ok_or_else(|| Error::invalid(format!("user_id is {user:?}; it must be a UUID.")))?;
        ask(search, "user_id", Op::Eq, search::Value::Id(id));
    }
    if let Some(address) = text("ip") {
        ask(search, "ip_address", Op::Eq, search::Value::Text(address.to_owned()));
    }
    match text("status") {
        Some("active") => ask(search, "expires_at", Op::Gt, search::Value::Time(now)),
        Some("historical") => ask(search, "expires_at", Op::Le, search::Value::Time(now)),
        Some(other) => {
            return Err(Error::invalid(format!("status is {other:?}; it must be active or historical.")));
        }
        None => {}
    }
    Ok(())
}

/// `since`, else `since_hours`, else `since_days`.
fn since(query: &Pairs, now: Time) -> Result<Option<Time>> {
    if let Some(text) = query.get("since") {
        let wrong = || Error::invalid(format!("since is {text:?}; it must be a time such as 2026-01-31T12:00:00."));
        return clock::parse(text).ok_or_else(wrong).map(Some);
    }
    for (name, seconds) in [("since_hours", 3_600.0), ("since_days", 86_400.0)] {
        let Some(text) = query.get(name) else { continue };
        let ago = text.trim().parse::<f64>().ok().filter(|number| (0.0..=100_000.0).contains(number));
        let ago =
            ago.ok_or_else(|| Error::invalid(format!("{name} is {text:?}; it must be a number from 0 to 100000.")))?;
        return Ok(Some(now - chrono::TimeDelta::seconds((ago * seconds) as i64)));
    }
    Ok(None)
}

fn ask(search: &mut Search, name: &str, op: Op, value: search::Value) {
    search.filter.extend(
        COLUMNS.iter().find(|column| column.name == name).map(|column| vec![Clause { column: *column, op, value }]),
    );
}

/// Lets everybody in again. SUPERADMIN only.
#[utoipa::path(post, path = "/api/v1/rate-limit/reset", tag = "admin", security(("bearerAuth" = ["account"])),
    responses((status = 200, body = Said), (status = 403, body = super::ErrorBody)))]
async fn reset(State(app): State<App>, admin: User) -> Result<Json<Said>> {
    superadmin(&admin)?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    store::rate_limit_events::end(&mut tx, "", now).await?;
    store::audit::insert(&mut tx, &admin.caller.did("rate_limit.reset", "rate_limit", &"all"), now).await?;
    tx.commit().await?;
    app.counters.forget("").await;
    Ok(said("All rate limits have been reset."))
}

/// Lets one caller in again: `user:<id>` with the sign-ins of that account, or `ip:<address>`. SUPERADMIN only.
#[utoipa::path(post, path = "/api/v1/rate-limit/reset/{identifier}", tag = "admin", security(("bearerAuth" = ["account"])),
    params(("identifier" = String, Path)),
    responses((status = 200, body = Said), (status = 403, body = super::ErrorBody), (status = 404, body = Object)))]
async fn reset_one(
    State(app): State<App>,
    admin: User,
    IdentifierPath(identifier): IdentifierPath,
) -> Result<Response> {
    superadmin(&admin)?;
    let now = app.clock.now();
    let mut names = vec![identifier.clone()];
    if let Some(id) = identifier.strip_prefix("user:").and_then(Id::parse)
        && let Some(person) = store::users::find(&app.db, &Key::Id(id)).await?
    {
        names.push(account(&person.email));
    }
    let mut found = false;
    for name in &names {
        found |= app.counters.forget(&format!("LIMITER/{name}/")).await;
    }
    let mut tx = app.db.begin().await?;
    for name in &names {
        found |= store::rate_limit_events::end(&mut tx, &format!("LIMITER/{name}/"), now).await? > 0;
    }
    if !found || !app.config.limits.enabled {
        let body = json!({"error": format!("No rate limit found for identifier: {identifier}")});
        return Ok((StatusCode::NOT_FOUND, Json(body)).into_response());
    }
    store::audit::insert(&mut tx, &admin.caller.did("rate_limit.reset", "rate_limit", &identifier), now).await?;
    tx.commit().await?;
    Ok(said(format!("Rate limit reset for identifier: {identifier}")).into_response())
}
