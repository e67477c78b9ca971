//! An execution as clients see it, and what `include` and `exclude` make of it. A list is loaded in batches: one query for
//! each kind of thing that is included, however many rows there are.

use std::collections::{BTreeMap, HashMap};

use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::{
    Value, json,
    value::{RawValue, to_raw_value},
};

use crate::{
    api::{
        extract::query::Pairs,
        scripts::{ScriptView, is_plugin},
        value, words,
    },
    app::App,
    auth::User,
    error::{Error, Result},
    execution::{queue, results, status::Status},
    store::{
        self, Id,
        executions::{Execution, Parts},
        logs::ExecutionLog,
        users::Profile,
    },
};

/// Lines of logs that one list shows.
const MAX_LINES: i64 = 100_000;
/// Bytes of results beside their rows that one answer shows.
const MAX_BESIDE: usize = 128 << 20;

/// An execution as clients see it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ExecutionView {
    pub id: Id,
    pub script_id: Option<Id>,
    pub user_id: Option<Id>,
    /// When it was accepted.
    pub start_date: Option<chrono::NaiveDateTime>,
    pub end_date: Option<chrono::NaiveDateTime>,
    pub status: Status,
    /// 0 to 100.
    pub progress: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub params: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub results: Option<Box<RawValue>>,
    pub queued_at: Option<chrono::NaiveDateTime>,
    pub dispatched_at: Option<chrono::NaiveDateTime>,
    pub is_plugin_execution: bool,
    pub deleted: bool,
    /// What `include` asked for, `failure`, `queue` and `script_version`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub more: More,
}

/// Members by name, each as the text that it is in the answer.
type More = BTreeMap<&'static str, Box<RawValue>>;

/// What of an execution an answer shows.
#[derive(Debug, Clone)]
pub(in crate::api) struct Shown<'q> {
    include: Vec<&'q str>,
    params: bool,
    results: bool,
    /// One execution, not a list: failure, queue and version come unasked.
    whole: bool,
    /// The QGIS plugin asks, which knows three states of scripts.
    for_plugin: bool,
}

impl Default for Shown<'_> {
    fn default() -> Self {
        Shown { include: Vec::new(), params: true, results: true, whole: false, for_plugin: false }
    }
}

impl<'q> Shown<'q> {
    pub fn read(query: &'q Pairs, whole: bool) -> Self {
        let exclude = words(query.get("exclude"));
        Shown {
            include: words(query.get("include")),
            params: !exclude.contains(&"params"),
            results: !exclude.contains(&"results"),
            whole,
            for_plugin: false,
        }
    }

    /// As the client that sends these headers can read it.
    pub fn to(self, headers: &HeaderMap) -> Self {
        Shown { for_plugin: is_plugin(headers), ..self }
    }

    /// One execution with everything.
    pub fn whole() -> Self {
        Shown { whole: true, ..Shown::default() }
    }

    /// Neither parameters nor results.
    pub fn without_documents(self) -> Self {
        Shown { params: false, results: false, ..self }
    }

    /// Nothing of others: what a run may see beside itself.
    pub fn alone(self) -> Self {
        Shown { include: Vec::new(), ..self }
    }

    fn wants(&self, name: &str) -> bool {
        self.include.contains(&name)
    }

    /// What has to be read of a row.
    pub fn parts(&self) -> Parts {
        Parts {
            params: self.params,
            results: self.results,
            run: self.whole || self.wants("failure") || self.wants("script_version"),
        }
    }
}

/// A person inside another answer: whole for administrators and oneself, else id and name, and the empty address that the
/// old web app needs.
pub(in crate::api) fn person(user: &User, profile: Option<&Profile>) -> Result<Value> {
    let Some(profile) = profile else { return Ok(Value::Null) };
    if !user.is_admin() && profile.id != user.id {
        return Ok(json!({"id": profile.id, "name": profile.name, "email": ""}));
    }
    let mut view = value(profile)?;
    if let Some(object) = view.as_object_mut() {
        const PRIVATE: [&str; 9] = [
            "gee_license_acknowledged",
            "gender_identity",
            "gender_identity_description",
            "max_concurrent_executions",
            "purpose_of_use",
            "purpose_of_use_other",
            "role_title",
            "sector",
            "sector_other",
        ];
        object.retain(|key, _| !PRIVATE.contains(&key.as_str()));
    }
    Ok(view)
}

/// What belongs to the rows of one answer.
#[derive(Default)]
struct Loaded {
    logs: HashMap<Id, Vec<ExecutionLog>>,
    scripts: HashMap<Id, Included>,
    people: HashMap<Id, Profile>,
    queue: HashMap<Id, queue::Queue>,
}

/// A script of many rows, written once.
struct Included {
    name: Box<RawValue>,
    whole: Box<RawValue>,
}

async fn load(app: &App, rows: &[Execution], shown: &Shown<'_>) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    let ids = |of: fn(&Execution) -> Option<Id>| -> Vec<Id> {
        let mut ids: Vec<Id> = rows.iter().filter_map(of).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    if shown.wants("logs") {
        let most = if shown.whole { i64::MAX } else { MAX_LINES };
        let lines = store::logs::of_all(&app.db, &ids(|e| Some(e.id)), most.saturating_add(1)).await?;
        if i64::try_from(lines.len()).unwrap_or(i64::MAX) > most {
            return Err(Error::invalid(format!(
                "These executions have more than {MAX_LINES} log lines; ask for fewer with per_page, or for each log by itself"
            )));
        }
        for line in lines {
            loaded.logs.entry(line.execution_id).or_default().push(line);
        }
    }
    if shown.wants("script") || shown.wants("script_name") {
        let scripts = store::scripts::with_ids(&app.db, &ids(|e| e.script_id)).await?;
        for script in scripts {
            let included =
                Included { name: raw(&script.name)?, whole: raw(&ScriptView::of(&script, shown.for_plugin))? };
            loaded.scripts.insert(script.id, included);
        }
    }
    if ["user", "user_name", "user_email"].iter().any(|name| shown.wants(name)) {
        let people = store::users::profiles(&app.db, &ids(|e| e.user_id)).await?;
        loaded.people = people.into_iter().map(|person| (person.id, person)).collect();
    }
    if shown.whole || shown.wants("queue") {
        let waiting = rows.iter().filter(|e| e.status == Status::Pending);
        let waiting = waiting.map(|e| (e.id, e.queued_at.or(e.start_date))).collect();
        loaded.queue = queue::explain(app, &waiting).await?;
    }
    Ok(loaded)
}

/// Executions for an answer. `user` is absent where a run asks for itself.
pub(in crate::api) async fn views(
    app: &App,
    user: Option<&User>,
    rows: Vec<Execution>,
    shown: &Shown<'_>,
) -> Result<Vec<ExecutionView>> {
    let mut loaded = load(app, &rows, shown).await?;
    let mut beside = 0;
    let mut views = Vec::with_capacity(rows.len());
    for mut row in rows {
        if let Some(key) = row.results_key.take().filter(|_| shown.results) {
            row.results = results::load(app, &key).await?;
            beside += row.results.as_ref().map_or(0, |results| results.0.get().len());
            if beside > MAX_BESIDE {
                return Err(Error::invalid(
                    "The results of these executions are too large for one answer; ask for fewer with per_page, or leave them out with exclude=results",
                ));
            }
        }
        views.push(of(app, user, row, shown, &mut loaded)?);
    }
    Ok(views)
}

/// One execution for an answer.
pub(in crate::api) async fn view(
    app: &App,
    user: Option<&User>,
    row: Execution,
    shown: &Shown<'_>,
) -> Result<ExecutionView> {
    let mut views = views(app, user, vec![row], shown).await?;
    views.pop().ok_or_else(|| anyhow::anyhow!("one execution has one view").into())
}

fn of(app: &App, user: Option<&User>, e: Execution, shown: &Shown<'_>, loaded: &mut Loaded) -> Result<ExecutionView> {
    let mut more = More::new();
    let admin = user.is_some_and(User::is_admin);
    if let Some(failure) = e.failure.filter(|_| shown.whole || shown.wants("failure")) {
        more.insert("failure", failure.0);
    }
    if e.status == Status::Pending && (shown.whole || shown.wants("queue")) {
        more.insert("queue", raw(&loaded.queue.remove(&e.id))?);
    }
    if shown.whole || shown.wants("script_version") {
        more.insert("script_version", raw(&e.script_version)?);
    }
    if shown.wants("logs") {
        more.insert("logs", raw(&loaded.logs.remove(&e.id).unwrap_or_default())?);
    }
    if shown.wants("duration") {
        let end = e.end_date.unwrap_or_else(|| app.clock.now());
        let seconds = e.start_date.map(|start| (end - start).as_seconds_f64());
        more.insert("duration", raw(&seconds)?);
    }
    let null = || RawValue::NULL.to_owned();
    let script = e.script_id.and_then(|id| loaded.scripts.get(&id));
    if shown.wants("script_name") {
        more.insert("script_name", script.map_or_else(null, |script| script.name.clone()));
    }
    if shown.wants("script") {
        more.insert("script", script.map_or_else(null, |script| script.whole.clone()));
    }
    let owner = e.user_id.and_then(|id| loaded.people.get(&id));
    if admin && shown.wants("user_name") {
        more.insert("user_name", raw(&owner.map(|o| &o.name))?);
    }
    if admin && shown.wants("user_email") {
        more.insert("user_email", raw(&owner.map(|o| &o.email))?);
    }
    if let Some(user) = user.filter(|_| shown.wants("user")) {
        more.insert("user", raw(&person(user, owner)?)?);
    }
    Ok(ExecutionView {
        id: e.id,
        script_id: e.script_id,
        user_id: e.user_id,
        start_date: e.start_date,
        end_date: e.end_date,
        status: e.status,
        progress: e.progress,
        params: if shown.params { Some(e.params.map_or_else(null, |p| p.0)) } else { None },
        results: if shown.results { Some(e.results.map_or_else(null, |r| r.0)) } else { None },
        queued_at: e.queued_at,
        dispatched_at: e.dispatched_at,
        is_plugin_execution: e.is_plugin_execution.unwrap_or(true),
        deleted: e.deleted.unwrap_or(false),
        more,
    })
}

/// A member of an answer, or the server's own fault.
fn raw<T: Serialize>(of: &T) -> Result<Box<RawValue>> {
    to_raw_value(of).map_err(|error| Error::Internal(error.into()))
}
