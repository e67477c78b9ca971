//! `/api/v1/stats/dashboard`: the numbers at a glance, in four sections.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use axum::{Json, extract::State};
use chrono::{NaiveDateTime, TimeDelta};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{kept, may, percent, period, task::Tasks};
use crate::{
    api::{
        Data, data,
        extract::{
            query::Pairs,
            times::{Bucket, Period},
        },
    },
    app::App,
    auth::User,
    error::{Error, Result},
    store,
};

const SECTIONS: [&str; 4] = ["summary", "trends", "geographic", "tasks"];
/// Rows of a table of tasks or versions.
const TOP: usize = 10;

/// The numbers at a glance; `include` names the sections. SUPERADMIN only.
#[utoipa::path(get, path = "/api/v1/stats/dashboard", tag = "stats", security(("bearerAuth" = ["stats:read"])),
    params(("period" = Option<String>, Query), ("include" = Option<String>, Query)),
    responses((status = 200, body = Data<Object>), (status = 400, body = crate::api::ErrorBody), (status = 403, body = crate::api::ErrorBody)))]
pub async fn dashboard(State(app): State<App>, user: User, query: Pairs) -> Result<Json<Data<Value>>> {
    may(&user, "SUPERADMIN role required for dashboard statistics")?;
    let period = period(&query, "all")?;
    let asked: Vec<&str> =
        query.get("include").map_or(SECTIONS.to_vec(), |text| text.split(',').map(str::trim).collect());
    let unknown: Vec<&str> = asked.iter().copied().filter(|name| !SECTIONS.contains(name)).collect();
    if !unknown.is_empty() {
        let (unknown, valid) = (unknown.join(", "), SECTIONS.join(", "));
        return Err(Error::invalid(format!("Invalid sections: {unknown}. Valid sections: {valid}")));
    }
    let sections: BTreeSet<&str> = asked.into_iter().collect();
    let names = sections.iter().copied().collect::<Vec<_>>().join(",");
    let key = format!("stats_service:get_dashboard_stats:include={names}_period={}", period.name);
    let whole = kept(&app, key, async {
        let mut whole = Map::new();
        for section in sections {
            whole.insert(section.to_owned(), self::section(&app, section, period).await?);
        }
        Ok(whole)
    });
    Ok(data(whole.await?))
}

async fn section(app: &App, name: &str, period: Period) -> Result<Value> {
    let key = |method: &str| format!("stats_service:{method}:period={}", period.name);
    match name {
        "summary" => kept(app, key("_get_summary_stats"), summary(app, period)).await,
        "trends" => kept(app, key("_get_trends_data"), trends(app, period)).await,
        "geographic" => geographic(app, period).await,
        _ => kept(app, key("_get_tasks_data"), tasks(app, period)).await,
    }
}

#[derive(Default, Serialize)]
struct Summary {
    total_executions: i64,
    total_jobs: i64,
    total_executions_finished: i64,
    total_executions_failed: i64,
    total_executions_cancelled: i64,
    /// Who came in the period.
    total_users: i64,
    /// All that there are.
    total_scripts: usize,
}

async fn summary(app: &App, period: Period) -> Result<Summary> {
    let since = period.since(app.clock.now());
    let mut summary = Summary {
        total_users: store::users::statistics::count(&app.db, since).await?,
        total_scripts: store::scripts::slugs(&app.db).await?.len(),
        ..Summary::default()
    };
    for group in store::execution_daily::groups(&app.db, since).await? {
        summary.total_executions += group.n;
        match group.status.as_str() {
            "FINISHED" => summary.total_executions_finished += group.n,
            "FAILED" => summary.total_executions_failed += group.n,
            "CANCELLED" => summary.total_executions_cancelled += group.n,
            _ => {}
        }
    }
    summary.total_jobs = summary.total_executions;
    Ok(summary)
}

/// Runs that began, by hours, days and months; what is empty is left out.
#[derive(Serialize)]
struct Trends {
    /// The last three days; only for `all` and `last_day`.
    #[serde(skip_serializing_if = "Option::is_none")]
    hourly_jobs: Option<Vec<OfHour>>,
    /// Of the period; not for `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    daily_jobs: Option<Vec<OfDay>>,
    /// The last 365 days, whatever the period.
    monthly_jobs: Vec<OfMonth>,
}

#[derive(Serialize)]
struct OfHour {
    hour: NaiveDateTime,
    count: i64,
}

#[derive(Serialize)]
struct OfDay {
    date: String,
    count: i64,
}

#[derive(Serialize)]
struct OfMonth {
    month: String,
    count: i64,
}

async fn trends(app: &App, period: Period) -> Result<Trends> {
    let (now, db) = (app.clock.now(), &app.db);
    let hourly_jobs = if matches!(period.name, "all" | "last_day") {
        let begun = store::execution_daily::begun_by_hour(db, now - TimeDelta::hours(72)).await?;
        Some(begun.into_iter().map(|begun| OfHour { hour: begun.at, count: begun.n }).collect())
    } else {
        None
    };
    let daily_jobs = match period.since(now) {
        None => None,
        Some(since) => {
            let begun = store::execution_daily::begun_by_day(db, since).await?;
            Some(begun.into_iter().map(|begun| OfDay { date: begun.at.date().to_string(), count: begun.n }).collect())
        }
    };
    let mut months: BTreeMap<NaiveDateTime, i64> = BTreeMap::new();
    for begun in store::execution_daily::begun_by_day(db, now - TimeDelta::days(365)).await? {
        *months.entry(Bucket::Month.of(begun.at)).or_default() += begun.n;
    }
    let month = |(at, count): (NaiveDateTime, i64)| OfMonth { month: at.format("%Y-%m").to_string(), count };
    Ok(Trends { hourly_jobs, daily_jobs, monthly_jobs: months.into_iter().map(month).collect() })
}

#[derive(Serialize)]
struct Geographic {
    countries: BTreeMap<String, i64>,
    /// Who came in the period, with and without a country.
    total_users: i64,
}

/// Where people come from who came in the period.
pub async fn geographic(app: &App, period: Period) -> Result<Value> {
    let since = period.since(app.clock.now());
    let key = format!("stats_service:_get_geographic_data:period={}", period.name);
    let geographic = async {
        Ok(Geographic {
            countries: store::users::statistics::countries(&app.db, since).await?.into_iter().collect(),
            total_users: store::users::statistics::count(&app.db, since).await?,
        })
    };
    kept(app, key, geographic).await
}

#[derive(Serialize)]
struct TasksView {
    by_type: Vec<OfTask>,
    by_version: Vec<OfVersion>,
}

#[derive(Serialize)]
struct OfTask {
    task: String,
    count: i64,
    success_rate: f64,
}

#[derive(Serialize)]
struct OfVersion {
    version: String,
    count: i64,
    percentage: f64,
}

async fn tasks(app: &App, period: Period) -> Result<TasksView> {
    let tasks = Tasks::read(&app.db).await?;
    let (mut types, mut versions): (HashMap<String, (i64, i64)>, HashMap<String, i64>) = Default::default();
    let mut total = 0;
    for group in store::execution_daily::groups(&app.db, period.since(app.clock.now())).await? {
        let task = tasks.of(group.script_id);
        let sums = types.entry(task.name.clone()).or_default();
        sums.0 += group.n;
        sums.1 += if group.status == "FINISHED" { group.n } else { 0 };
        *versions.entry(task.major().to_owned()).or_default() += group.n;
        total += group.n;
    }
    let mut by_type: Vec<OfTask> = types
        .into_iter()
        .map(|(task, (count, finished))| OfTask { task, count, success_rate: percent(finished, count) })
        .collect();
    by_type.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.task.cmp(&b.task)));
    by_type.truncate(TOP);
    let mut by_version: Vec<OfVersion> = versions
        .into_iter()
        .map(|(version, count)| OfVersion { version, count, percentage: percent(count, total) })
        .collect();
    by_version.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.version.cmp(&b.version)));
    by_version.truncate(TOP);
    Ok(TasksView { by_type, by_version })
}
