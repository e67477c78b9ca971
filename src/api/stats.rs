//! `/api/v1/stats/…`: numbers about executions, scripts and people, for superadministrators (contract/scripts-executions.md 3,
//! contract/content-admin.md 6). An answer is kept for five minutes.

pub mod cache;
mod dashboard;
mod executions;
mod task;
mod users;

use axum::{Json, extract::State};
use chrono::TimeDelta;
use serde::Serialize;
use serde_json::Value;
pub use task::Task;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Data, data,
    extract::{
        query::Pairs,
        times::{Bucket, Period},
    },
};
use crate::{
    app::App,
    auth::User,
    error::{Error, Result},
    store,
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(dashboard::dashboard))
        .routes(routes!(executions::executions))
        .routes(routes!(users::users))
        .routes(routes!(health))
        .routes(routes!(cache::list, cache::clear))
}

const BUCKETS: [Bucket; 5] = [Bucket::QuarterHour, Bucket::Hour, Bucket::Day, Bucket::Week, Bucket::Month];

/// Whether the caller may see this page; if not, the sentence says so.
fn may(user: &User, refusal: &str) -> Result<()> {
    if user.is_superadmin() { Ok(()) } else { Err(Error::Forbidden(refusal.into())) }
}

/// The period of the query; an empty word is none, other than no word.
fn period(query: &Pairs, default: &str) -> Result<Period> {
    Period::read(query.get("period").unwrap_or(default))
}

/// What was kept under this key, or what is computed now.
async fn kept<T: Serialize>(app: &App, key: String, compute: impl Future<Output = Result<T>>) -> Result<Value> {
    if let Some(value) = app.statistics.get(&key, app.clock.now()) {
        return Ok(value);
    }
    let value = super::value(compute.await.map_err(Error::of_search)?)?;
    app.statistics.put(key, value.clone(), app.clock.now());
    Ok(value)
}

/// A share of a hundred, with one digit.
fn percent(part: i64, whole: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "it is rounded to one digit")]
    let share = part as f64 / whole.max(1) as f64;
    (share * 1_000.0).round() / 10.0
}

#[derive(Serialize, utoipa::ToSchema)]
struct Health {
    /// Always `healthy`: the numbers could be read.
    status: &'static str,
    basic_counts: Counts,
}

#[derive(Serialize, utoipa::ToSchema)]
struct Counts {
    total_jobs: i64,
    total_users: i64,
    /// Begun in the last thirty days.
    jobs_last_month: i64,
}

/// Whether statistics can be read. SUPERADMIN only.
#[utoipa::path(get, path = "/api/v1/stats/health", tag = "stats", security(("bearerAuth" = ["stats:read"])),
    responses((status = 200, body = Data<Health>), (status = 403, body = super::ErrorBody)))]
async fn health(State(app): State<App>, user: User) -> Result<Json<Data<Health>>> {
    may(&user, "SUPERADMIN role required")?;
    let month = app.clock.now() - TimeDelta::days(30);
    let basic_counts = Counts {
        total_jobs: store::execution_count::total(&app.db).await?,
        total_users: store::users::statistics::count(&app.db, None).await?,
        jobs_last_month: store::execution_daily::count_begun(&app.db, month).await?,
    };
    Ok(data(Health { status: "healthy", basic_counts }))
}
