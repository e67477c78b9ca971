//! `/api/v1/status`: changes of executions' states with the counts after each, row by row or gathered; `/status/cluster`
//! (contract/scripts-executions.md 3, contract/content-admin.md 5).

mod cluster;

use axum::{Json, extract::State, http::HeaderMap, response::IntoResponse};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Data, Page,
    extract::{
        filter,
        query::Pairs,
        times::{Bucket, Period, time},
    },
};
use crate::{
    app::App,
    auth::Admin,
    error::{Error, Result},
    store::{
        self, Time,
        status_hourly::Hour,
        status_log::{COLUMNS, Span, StatusLog},
    },
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(cluster::cluster)).routes(routes!(cluster::swarm))
}

/// Rows of a page, where nothing is asked for and at most.
const PER_PAGE: (i64, i64) = (100, 10_000);

const BUCKETS: [Bucket; 4] = [Bucket::Day, Bucket::Hour, Bucket::Month, Bucket::Week];

/// The changes of a time together. The first three counts are means over its changes; ends are counted once each.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
struct Gathered {
    /// When the bucket begins, with `+00:00`.
    timestamp: String,
    executions_pending: i64,
    executions_ready: i64,
    executions_running: i64,
    /// Their sum.
    executions_active: i64,
    executions_finished: i64,
    executions_failed: i64,
    executions_cancelled: i64,
    /// Since the beginning of what was asked for.
    cumulative_finished: i64,
    cumulative_failed: i64,
    cumulative_cancelled: i64,
}

/// Changes, or numbers of changes.
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
enum Rows {
    Changes(Vec<StatusLog>),
    Gathered(Vec<Gathered>),
}

/// Changes of executions' states, newest first, each with the counts after it; with `aggregate`, numbers by `group_by`.
/// Administrators only.
#[utoipa::path(get, path = "/api/v1/status", tag = "status", security(("bearerAuth" = [])),
    params(("start_date" = Option<String>, Query), ("end_date" = Option<String>, Query), ("period" = Option<String>, Query), ("sort" = Option<String>, Query),
        ("page" = Option<i64>, Query), ("per_page" = Option<i64>, Query), ("aggregate" = Option<bool>, Query), ("group_by" = Option<String>, Query)),
    responses((status = 200, body = Data<Rows>), (status = 400, body = super::ErrorBody), (status = 403, body = super::ErrorBody)))]
async fn list(State(app): State<App>, _: Admin, query: Pairs) -> Result<impl IntoResponse> {
    let word = |key: &str| query.get(key).filter(|text| !text.is_empty());
    let period = word("period").map(Period::read).transpose()?;
    let mut span = Span { from: time(&query, "start_date")?, to: time(&query, "end_date")? };
    if span.from.is_none() && span.to.is_none() {
        span.from = period.and_then(|period| period.since(app.clock.now()));
    }
    if query.is_on("aggregate") {
        let missing = || Error::invalid("group_by parameter is required when aggregate=true");
        let bucket = Bucket::read(&word("group_by").ok_or_else(missing)?.to_lowercase(), &BUCKETS)?;
        let mut rows = gather(&store::status_hourly::list(&app.db, span).await.map_err(searched)?, bucket);
        if word("sort").is_some_and(|sort| sort.trim_start().starts_with('-')) {
            rows.reverse();
        }
        let n = i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let page = Page { page: 1, per_page: n, total: n };
        return Ok((HeaderMap::new(), Json(Data { data: Rows::Gathered(rows), page: Some(page) })));
    }
    // What is not known of a sort leaves the rows in the order of their ids, as the existing server does.
    let search = filter::sorted(word("sort").unwrap_or("-timestamp"), &COLUMNS)?;
    let (page, per_page) = asked(&query);
    let window = (per_page, (page - 1).saturating_mul(per_page));
    let rows = store::status_log::list(&app.db, span, &search, window).await.map_err(searched)?;
    let page = Page { page, per_page, total: store::status_hourly::count(&app.db, span).await.map_err(searched)? };
    Ok((filter::headers(&search), Json(Data { data: Rows::Changes(rows), page: Some(page) })))
}

fn searched(error: sqlx::Error) -> Error {
    Error::from(error).of_search()
}

/// Page and rows of a page; what is no number counts as nothing asked for.
fn asked(query: &Pairs) -> (i64, i64) {
    let number = |key: &str, default: i64| query.get(key).map_or(Some(default), |text| text.trim().parse().ok());
    match (number("page", 1), number("per_page", PER_PAGE.0)) {
        (Some(page), Some(per_page)) => (page.max(1), per_page.clamp(1, PER_PAGE.1)),
        _ => (1, PER_PAGE.0),
    }
}

/// Hours in order, gathered into buckets.
fn gather(hours: &[Hour], bucket: Bucket) -> Vec<Gathered> {
    let mut sums: Vec<Hour> = Vec::new();
    for hour in hours {
        let at = bucket.of(hour.hour);
        match sums.last_mut().filter(|last| last.hour == at) {
            Some(sum) => {
                sum.n += hour.n;
                sum.pending += hour.pending;
                sum.ready += hour.ready;
                sum.running += hour.running;
                sum.finished += hour.finished;
                sum.failed += hour.failed;
                sum.cancelled += hour.cancelled;
            }
            None => sums.push(Hour { hour: at, ..hour.clone() }),
        }
    }
    let (mut finished, mut failed, mut cancelled) = (0, 0, 0);
    let row = |sum: Hour| {
        let (pending, ready, running) = (mean(sum.pending, sum.n), mean(sum.ready, sum.n), mean(sum.running, sum.n));
        finished += sum.finished;
        failed += sum.failed;
        cancelled += sum.cancelled;
        Gathered {
            timestamp: with_offset(sum.hour),
            executions_pending: pending,
            executions_ready: ready,
            executions_running: running,
            executions_active: pending + ready + running,
            executions_finished: sum.finished,
            executions_failed: sum.failed,
            executions_cancelled: sum.cancelled,
            cumulative_finished: finished,
            cumulative_failed: failed,
            cumulative_cancelled: cancelled,
        }
    };
    sums.into_iter().map(row).collect()
}

/// Half to even, as the existing server rounds.
fn mean(sum: i64, n: i64) -> i64 {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a mean of counts of 32 bits")]
    let mean = (sum as f64 / n.max(1) as f64).round_ties_even() as i64;
    mean
}

fn with_offset(time: Time) -> String {
    format!("{}+00:00", time.format("%Y-%m-%dT%H:%M:%S"))
}
