//! A script as clients see it, and what `include` adds to it: one query each for a whole page.

use std::collections::HashMap;

use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::{
    api::{executions, extract::query::Pairs, value, words},
    app::App,
    auth::User,
    error::Result,
    store::{
        self, Id,
        scripts::{Access, Script},
        users::Profile,
    },
};

/// Executions inside one script, and inside each script of a list.
const RUNS_OF_ONE: i64 = 1_000;
const RUNS_OF_EACH: i64 = 100;

/// A script as clients see it; `include` adds to it, `exclude` takes away.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub struct ScriptView {
    pub id: store::Id,
    pub name: String,
    pub slug: String,
    pub description: String,
    pub created_at: Option<chrono::NaiveDateTime>,
    pub updated_at: Option<chrono::NaiveDateTime>,
    pub user_id: Option<store::Id>,
    /// PENDING, BUILDING, SUCCESS or FAIL.
    pub status: String,
    pub public: bool,
    /// Nano-CPUs.
    pub cpu_reservation: Option<i64>,
    pub cpu_limit: Option<i64>,
    /// Bytes.
    pub memory_reservation: Option<i64>,
    pub memory_limit: Option<i64>,
    pub uses_gee: bool,
}

impl ScriptView {
    /// The QGIS plugin knows three states, and one word that it does not know loses its whole list.
    pub fn of(script: &Script, for_plugin: bool) -> Self {
        let status = match script.status.as_str() {
            "PENDING" if for_plugin => "BUILDING",
            "FAILED" if for_plugin => "FAIL",
            other => other,
        };
        ScriptView {
            id: script.id,
            name: script.name.clone(),
            slug: script.slug.clone(),
            description: script.description.clone().unwrap_or_default(),
            created_at: script.created_at,
            updated_at: script.updated_at,
            user_id: script.user_id,
            status: status.to_owned(),
            public: script.public,
            cpu_reservation: script.cpu_reservation,
            cpu_limit: script.cpu_limit,
            memory_reservation: script.memory_reservation,
            memory_limit: script.memory_limit,
            uses_gee: script.uses_gee,
        }
    }
}

/// Whether a request comes from the QGIS plugin; its header may hold raw UTF-8.
pub fn is_plugin(headers: &HeaderMap) -> bool {
    headers
        .get("x-te-client")
        .is_some_and(|value| String::from_utf8_lossy(value.as_bytes()).contains("type=qgis_plugin"))
}

/// One script for an answer.
pub async fn one(app: &App, user: &User, script: &Script, for_plugin: bool, query: &Pairs) -> Result<Value> {
    let views = views(app, user, std::slice::from_ref(script), for_plugin, query, RUNS_OF_ONE).await?;
    Ok(views.into_iter().next().unwrap_or_default())
}

/// A list of scripts for an answer.
pub async fn many(app: &App, user: &User, scripts: &[Script], for_plugin: bool, query: &Pairs) -> Result<Vec<Value>> {
    views(app, user, scripts, for_plugin, query, RUNS_OF_EACH).await
}

async fn views(
    app: &App,
    user: &User,
    scripts: &[Script],
    for_plugin: bool,
    query: &Pairs,
    runs: i64,
) -> Result<Vec<Value>> {
    let exclude = words(query.get("exclude"));
    let mut include = words(query.get("include"));
    include.retain(|name| !exclude.contains(name));
    let beside = Beside::load(app, user, scripts, &include, runs).await?;
    let mut views = Vec::with_capacity(scripts.len());
    for script in scripts {
        let mut view = value(ScriptView::of(script, for_plugin))?;
        for name in &include {
            add(&mut view, name, user, script, &beside)?;
        }
        if let Some(object) = view.as_object_mut() {
            for name in &exclude {
                object.remove(*name);
            }
        }
        views.push(view);
    }
    Ok(views)
}

/// What other tables know of a page of scripts.
#[derive(Default)]
struct Beside {
    logs: HashMap<Id, Vec<Value>>,
    runs: HashMap<Id, Vec<Value>>,
    people: HashMap<Id, Profile>,
}

impl Beside {
    async fn load(app: &App, user: &User, scripts: &[Script], include: &[&str], runs: i64) -> Result<Self> {
        let wants = |name: &str| !scripts.is_empty() && include.contains(&name);
        let ids: Vec<Id> = scripts.iter().map(|script| script.id).collect();
        let mut beside = Beside::default();
        if wants("logs") {
            for line in store::script_logs::list_of(&app.db, &ids).await? {
                beside.logs.entry(line.script_id).or_default().push(value(line)?);
            }
        }
        if wants("executions") {
            for run in executions::of_scripts(app, user, &ids, runs).await? {
                if let Some(script) = run.script_id {
                    beside.runs.entry(script).or_default().push(value(run)?);
                }
            }
        }
        if wants("user") || (user.is_admin() && (wants("user_name") || wants("user_email"))) {
            let mut owners: Vec<Id> = scripts.iter().filter_map(|script| script.user_id).collect();
            owners.sort_unstable();
            owners.dedup();
            let people = store::users::profiles(&app.db, &owners).await?;
            beside.people = people.into_iter().map(|person| (person.id, person)).collect();
        }
        Ok(beside)
    }
}

/// Adds what one word of `include` asks for; what the caller may not have, or nobody knows, is left out.
fn add(view: &mut Value, name: &str, user: &User, script: &Script, beside: &Beside) -> Result<()> {
    let owner = || script.user_id.and_then(|id| beside.people.get(&id));
    let of = |rows: &HashMap<Id, Vec<Value>>| json!(rows.get(&script.id).map_or(&[][..], Vec::as_slice));
    match name {
        "logs" => view["logs"] = of(&beside.logs),
        "executions" => view["executions"] = of(&beside.runs),
        "environment" => {
            view["environment"] = json!(script.environment);
            view["environment_version"] = json!(script.environment_version);
            view["compute_type"] = json!(script.compute_type);
            if script.compute_type == "batch" {
                view["batch_job_definition"] = json!(script.batch_job_definition);
                view["batch_job_queue"] = json!(script.batch_job_queue);
                view["batch_image"] = json!(script.batch_image);
            }
            if script.compute_type == "openeo" {
                view["openeo_backend_url"] = json!(script.openeo_backend_url);
            }
        }
        "build_error" => view["build_error"] = json!(script.build_error),
        "access_control" if super::may_change(user, script) => {
            let access = Access::of(script);
            view["restricted"] = json!(access.restricted);
            view["allowed_roles"] = json!(access.roles);
            view["allowed_users"] = json!(access.users);
        }
        "user_name" if user.is_admin() => view["user_name"] = json!(owner().map(|o| &o.name)),
        "user_email" if user.is_admin() => view["user_email"] = json!(owner().map(|o| &o.email)),
        "user" => view["user"] = executions::person(user, owner())?,
        _ => {}
    }
    Ok(())
}
