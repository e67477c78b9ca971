//! `/api/v1/stats/executions`: executions over time, by person and by task.

use std::collections::{BTreeMap, HashMap};

use axum::{Json, extract::State};
use chrono::NaiveDateTime;
use serde::Serialize;
use serde_json::Value;

use super::{
    BUCKETS, kept, may, percent, period,
    task::{Task, Tasks},
};
use crate::{
    api::{
        Data, data,
        extract::{query::Pairs, times::Bucket},
    },
    app::App,
    auth::User,
    error::{Error, Result},
    store::{
        self, Id, Time,
        execution_daily::{Group, Happened},
    },
};

const STATES: [&str; 5] = ["PENDING", "RUNNING", "FINISHED", "FAILED", "CANCELLED"];
/// People of the list.
const TOP: usize = 10;
/// Tasks that a person likes best.
const FAVOURITES: usize = 3;

/// What the page is asked for.
struct Asked {
    since: Option<Time>,
    bucket: Bucket,
    /// Counts in the series alone.
    status: Option<String>,
    /// A part of slugs; counts in the series and for people.
    task_type: Option<String>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct View {
    time_series: Vec<Point>,
    top_users: Vec<Person>,
    task_performance: Vec<Performance>,
}

/// What happened in a bucket: ended runs count when they ended, others when they began.
#[derive(Serialize, utoipa::ToSchema)]
struct Point {
    timestamp: NaiveDateTime,
    total: i64,
    by_status: BTreeMap<String, i64>,
    by_task: BTreeMap<String, i64>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct Person {
    user_id: Id,
    email: String,
    execution_count: i64,
    /// FINISHED of all, in percent.
    success_rate: f64,
    favorite_tasks: Vec<String>,
}

/// The ended runs of a task.
#[derive(Serialize, utoipa::ToSchema)]
struct Performance {
    task: String,
    #[serde(flatten)]
    sums: Sums,
    versions: Vec<Version>,
    /// Always empty, as clients expect it.
    failure_reasons: [&'static str; 0],
}

#[derive(Serialize, utoipa::ToSchema)]
struct Version {
    version: String,
    #[serde(flatten)]
    sums: Sums,
}

#[derive(Clone, Copy, Default, Serialize, utoipa::ToSchema)]
struct Sums {
    total_executions: i64,
    /// Percent.
    #[serde(rename = "success_rate", serialize_with = "rate")]
    #[schema(value_type = f64)]
    finished: (i64, i64),
    /// A text, as the existing server has it: `"45.2"`.
    #[serde(rename = "avg_duration_minutes", serialize_with = "minutes")]
    #[schema(value_type = String)]
    timed: (i64, f64),
}

fn rate<S: serde::Serializer>((finished, all): &(i64, i64), to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(percent(*finished, *all))
}

fn minutes<S: serde::Serializer>((n, seconds): &(i64, f64), to: S) -> Result<S::Ok, S::Error> {
    #[expect(clippy::cast_precision_loss, reason = "it is rounded to one digit")]
    let mean = seconds / 60.0 / (*n).max(1) as f64;
    to.serialize_str(&format!("{mean:.1}"))
}

impl Sums {
    fn add(&mut self, group: &Group) {
        self.total_executions += group.n;
        self.finished.0 += if group.status == "FINISHED" { group.n } else { 0 };
        self.finished.1 += group.n;
        self.timed.0 += group.timed;
        self.timed.1 += group.seconds;
    }
}

/// Executions over time, the people with most of them, and how tasks end. SUPERADMIN only.
#[utoipa::path(get, path = "/api/v1/stats/executions", tag = "stats", security(("bearerAuth" = ["stats:read"])),
    params(("period" = Option<String>, Query), ("group_by" = Option<String>, Query), ("task_type" = Option<String>, Query), ("status" = Option<String>, Query)),
    responses((status = 200, body = Data<View>), (status = 400, body = crate::api::ErrorBody), (status = 403, body = crate::api::ErrorBody)))]
pub async fn executions(State(app): State<App>, user: User, query: Pairs) -> Result<Json<Data<Value>>> {
    may(&user, "SUPERADMIN role required for execution statistics")?;
    let word = |key: &str| query.get(key).filter(|text| !text.is_empty()).map(str::to_owned);
    let period = period(&query, "last_month")?;
    let bucket = Bucket::read(word("group_by").as_deref().unwrap_or("day"), &BUCKETS)?;
    let (status, task_type) = (word("status"), word("task_type"));
    if status.as_deref().is_some_and(|status| !STATES.contains(&status)) {
        return Err(Error::invalid(format!("Invalid status. Must be one of: {}", STATES.join(", "))));
    }
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".into());
    let key = format!(
        "stats_service:get_execution_stats:group_by={}_period={}_status={}_task_type={}",
        bucket.name(),
        period.name,
        or_none(&status),
        or_none(&task_type)
    );
    let asked = Asked { since: period.since(app.clock.now()), bucket, status, task_type };
    Ok(data(kept(&app, key, view(&app, &asked)).await?))
}

async fn view(app: &App, asked: &Asked) -> Result<View> {
    let tasks = Tasks::read(&app.db).await?;
    let happened = store::execution_daily::happened(&app.db, asked.since, asked.bucket.unit()).await?;
    let groups = store::execution_daily::groups(&app.db, asked.since).await?;
    Ok(View {
        time_series: series(happened, asked, &tasks),
        top_users: people(app, &groups, asked, &tasks).await?,
        task_performance: performance(&groups, &tasks),
    })
}

fn series(happened: Vec<Happened>, asked: &Asked, tasks: &Tasks) -> Vec<Point> {
    let mut points: BTreeMap<Time, Point> = BTreeMap::new();
    for one in happened {
        let other = asked.status.as_ref().is_some_and(|status| *status != one.status);
        if other || asked.task_type.as_ref().is_some_and(|text| !tasks.has(one.script_id, text)) {
            continue;
        }
        let at = asked.bucket.of(one.at);
        let point = points.entry(at).or_insert_with(|| Point {
            timestamp: at,
            total: 0,
            by_status: BTreeMap::new(),
            by_task: BTreeMap::new(),
        });
        point.total += one.n;
        *point.by_task.entry(tasks.of(one.script_id).name.clone()).or_default() += one.n;
        *point.by_status.entry(one.status).or_default() += one.n;
    }
    points.into_values().collect()
}

async fn people(app: &App, groups: &[Group], asked: &Asked, tasks: &Tasks) -> Result<Vec<Person>> {
    #[derive(Default)]
    struct Work {
        n: i64,
        finished: i64,
        tasks: HashMap<String, i64>,
    }
    let mut works: HashMap<Id, Work> = HashMap::new();
    for group in groups {
        let Some(user) = group.user_id else { continue };
        let work = works.entry(user).or_default();
        *work.tasks.entry(tasks.of(group.script_id).name.clone()).or_default() += group.n;
        if asked.task_type.as_ref().is_none_or(|text| tasks.has(group.script_id, text)) {
            work.n += group.n;
            work.finished += if group.status == "FINISHED" { group.n } else { 0 };
        }
    }
    let mut works: Vec<(Id, Work)> = works.into_iter().filter(|(_, work)| work.n > 0).collect();
    works.sort_by_key(|(user, work)| (-work.n, *user));
    works.truncate(TOP);
    let ids: Vec<Id> = works.iter().map(|(user, _)| *user).collect();
    let mut emails = store::users::statistics::emails(&app.db, &ids).await?;
    let person = |(user, work): (Id, Work)| {
        let mut liked: Vec<(String, i64)> = work.tasks.into_iter().collect();
        liked.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Some(Person {
            user_id: user,
            email: emails.remove(&user)?,
            execution_count: work.n,
            success_rate: percent(work.finished, work.n),
            favorite_tasks: liked.into_iter().take(FAVOURITES).map(|(task, _)| task).collect(),
        })
    };
    Ok(works.into_iter().filter_map(person).collect())
}

fn performance(groups: &[Group], tasks: &Tasks) -> Vec<Performance> {
    let mut sums: BTreeMap<&str, (Sums, BTreeMap<&str, Sums>)> = BTreeMap::new();
    for group in groups.iter().filter(|group| matches!(group.status.as_str(), "FINISHED" | "FAILED" | "CANCELLED")) {
        let Task { name, version } = tasks.of(group.script_id);
        let (all, versions) = sums.entry(name).or_default();
        all.add(group);
        versions.entry(version).or_default().add(group);
    }
    let version = |(version, sums): (&str, Sums)| Version { version: version.to_owned(), sums };
    let mut rows: Vec<Performance> = sums
        .into_iter()
        .map(|(task, (sums, versions))| {
            let mut versions: Vec<Version> = versions.into_iter().map(version).collect();
            versions.sort_by_key(|version| -version.sums.total_executions);
            Performance { task: task.to_owned(), sums, versions, failure_reasons: [] }
        })
        .collect();
    rows.sort_by_key(|row| -row.sums.total_executions);
    rows
}
