//! `/api/v1/execution…` and `/script/<s>/run`: runs as users start, watch and end them (contract/scripts-executions.md 2).

mod export;
mod log;
mod report;
mod run;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json, value::RawValue};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Data, Page, data,
    extract::{filter, page::Asked, path::ExecutionPath, query::Pairs},
    value, words,
};
use crate::{
    app::App,
    auth::{Reporter, User},
    clock,
    error::{Error, Result},
    execution::{cancel, queue, status::Status},
    store::{self, Id, executions::Execution, executions::Wanted, script_logs::After, search::Column, users::Profile},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(run::start, run::start_by_get))
        .routes(routes!(list))
        .routes(routes!(list_own))
        .routes(routes!(export::file))
        .routes(routes!(get, report::update))
        .routes(routes!(log::list, log::add))
        .routes(routes!(log::stream))
        .routes(routes!(request_cancel))
        .routes(routes!(download_results))
        .routes(routes!(history))
}

/// Rows of an unpaged list; the existing server cuts there too.
const UNPAGED: i64 = 1_000;

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
    pub more: serde_json::Map<String, Value>,
}

/// What of an execution an answer shows.
#[derive(Debug, Clone, Default)]
pub(in crate::api) struct Shown<'q> {
    include: Vec<&'q str>,
    without_params: bool,
    without_results: bool,
    /// One execution, not a list: failure, queue and version come unasked.
    whole: bool,
}

impl<'q> Shown<'q> {
    fn read(query: &'q Pairs, whole: bool) -> Self {
        let exclude = words(query.get("exclude"));
        Shown {
            include: words(query.get("include")),
            without_params: exclude.contains(&"params"),
            without_results: exclude.contains(&"results"),
            whole,
        }
    }

    /// One execution with everything.
    pub(super) fn whole() -> Self {
        Shown { whole: true, ..Shown::default() }
    }
}

/// A person inside another answer: whole for administrators and oneself, else id and name, and the empty address that the
/// old web app needs.
pub(super) fn person(user: &User, profile: Option<Profile>) -> Result<Value> {
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

fn null() -> Option<Box<RawValue>> {
    Some(RawValue::NULL.to_owned())
}

/// One execution for an answer. `user` is absent where a run asks for itself.
pub(in crate::api) async fn view(
    app: &App,
    user: Option<&User>,
    e: Execution,
    shown: &Shown<'_>,
) -> Result<ExecutionView> {
    let mut more = serde_json::Map::new();
    let admin = user.is_some_and(User::is_admin);
    let wants = |name: &str| shown.include.contains(&name);
    if shown.whole || wants("failure") {
        let run = store::runs::find(&app.db, e.id).await?;
        if let Some(failure) = run.and_then(|run| run.failure) {
            more.insert("failure".into(), serde_json::from_str(failure.0.get()).map_err(anyhow::Error::from)?);
        }
    }
    if e.status == Status::Pending && (shown.whole || wants("queue")) {
        more.insert("queue".into(), value(queue::explain(app, &e).await?)?);
    }
    if shown.whole || wants("script_version") {
        more.insert("script_version".into(), json!(store::script_versions::number_of(&app.db, e.id).await?));
    }
    if wants("logs") {
        more.insert("logs".into(), value(store::logs::list(&app.db, e.id, After::default(), i64::MAX).await?)?);
    }
    if wants("duration") {
        let end = e.end_date.unwrap_or_else(|| app.clock.now());
        let seconds = e.start_date.map(|start| (end - start).as_seconds_f64());
        more.insert("duration".into(), json!(seconds));
    }
    if wants("script") || wants("script_name") {
        let script = match e.script_id {
            Some(id) => store::scripts::get(&app.db, id).await?,
            None => None,
        };
        if wants("script_name") {
            more.insert("script_name".into(), json!(script.as_ref().map(|s| &s.name)));
        }
        if wants("script") {
            more.insert("script".into(), value(script.as_ref().map(|s| super::scripts::ScriptView::of(s, false)))?);
        }
    }
    if wants("user") || wants("user_name") || wants("user_email") {
        let owner = match e.user_id {
            Some(id) => store::users::profile(&app.db, id).await?,
            None => None,
        };
        if admin && wants("user_name") {
            more.insert("user_name".into(), json!(owner.as_ref().map(|o| &o.name)));
        }
        if admin && wants("user_email") {
            more.insert("user_email".into(), json!(owner.as_ref().map(|o| &o.email)));
        }
        if let (true, Some(user)) = (wants("user"), user) {
            more.insert("user".into(), person(user, owner)?);
        }
    }
    Ok(ExecutionView {
        id: e.id,
        script_id: e.script_id,
        user_id: e.user_id,
        start_date: e.start_date,
        end_date: e.end_date,
        status: e.status,
        progress: e.progress,
        params: if shown.without_params { None } else { e.params.map(|p| p.0).or_else(null) },
        results: if shown.without_results { None } else { e.results.map(|r| r.0).or_else(null) },
        queued_at: e.queued_at,
        dispatched_at: e.dispatched_at,
        is_plugin_execution: e.is_plugin_execution.unwrap_or(true),
        deleted: e.deleted.unwrap_or(false),
        more,
    })
}

/// The execution, if the caller may see it; to others it does not exist.
pub(super) async fn find(app: &App, user: &User, id: Id, params: bool, results: bool) -> Result<Execution> {
    let found = store::executions::find(&app.db, id, params, results).await?;
    found.filter(|e| user.sees(e)).ok_or_else(|| Error::not_found("Ticket Not Found"))
}

fn uuid(query: &Pairs, key: &str) -> Result<Option<Id>> {
    match query.get(key).filter(|text| !text.is_empty()) {
        None => Ok(None),
        Some(text) => {
            Id::parse(text).map(Some).ok_or_else(|| Error::invalid(format!("{key} is {text:?}; it must be a UUID")))
        }
    }
}

fn wanted(app: &App, user: &User, query: &Pairs, shown: &Shown<'_>, asked: Option<Asked>) -> Result<Wanted> {
    let columns: Vec<Column> = store::executions::SEARCHABLE.into_iter().chain([store::executions::DURATION]).collect();
    let mut search = filter::read(query, &columns)?;
    filter::check_people(&search, user)?;
    // A duration is shown and sorted by, and no filter knows it.
    search.filter.retain_mut(|group| {
        let n = group.len();
        group.retain(|clause| clause.column != store::executions::DURATION);
        if group.len() < n {
            search.ignored.push(store::executions::DURATION.name.to_owned());
        }
        !group.is_empty()
    });
    let changed_since = match query.get("updated_at").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(clock::parse(text).ok_or_else(|| {
            Error::invalid(format!("updated_at is {text:?}; it must be a date or time such as 2026-11-24T02:56:01"))
        })?),
    };
    Ok(Wanted {
        user: None,
        script: uuid(query, "script_id")?,
        status: None,
        changed_since,
        include_deleted: query.is_on("include_deleted"),
        without_params: shown.without_params,
        without_results: shown.without_results,
        page: asked.map_or((UNPAGED, 0), Asked::window),
        search,
        now: app.clock.now(),
    })
}

/// The executions of these scripts that the caller may see, at most so many of each.
pub(super) async fn of_scripts(app: &App, user: &User, scripts: &[Id], each: i64) -> Result<Vec<ExecutionView>> {
    let shown = Shown::default();
    let owner = (!user.is_admin()).then_some(user.id);
    let rows = match scripts {
        // The order of one script's runs is that of an index: no other rows are read.
        [script] => {
            let wanted = Wanted { user: owner, script: Some(*script), page: (each, 0), ..Wanted::default() };
            store::executions::list(&app.db, &wanted).await?
        }
        several => store::executions::of_scripts::newest(&app.db, several, owner, each).await?,
    };
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        views.push(view(app, Some(user), row, &shown).await?);
    }
    Ok(views)
}

/// A list, and a header that names what was ignored of its filter.
type Found = (HeaderMap, Json<Data<Vec<ExecutionView>>>);

async fn answer(app: &App, user: &User, wanted: Wanted, shown: &Shown<'_>, asked: Option<Asked>) -> Result<Found> {
    let rows = store::executions::list(&app.db, &wanted).await?;
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        views.push(view(app, Some(user), row, shown).await?);
    }
    let page = match asked {
        Some(asked) => Some(Page {
            page: asked.page,
            per_page: asked.per_page,
            total: store::executions::count(&app.db, &wanted).await?,
        }),
        None => None,
    };
    Ok((filter::headers(&wanted.search), Json(Data { data: views, page })))
}

/// Executions: all for administrators, else the caller's own. Open ones first, then the newest end.
#[utoipa::path(get, path = "/api/v1/execution", tag = "executions", security(("bearerAuth" = ["execution:read"])),
    params(("page" = Option<i64>, Query), ("per_page" = Option<i64>, Query), ("include" = Option<String>, Query), ("exclude" = Option<String>, Query),
        ("filter" = Option<String>, Query), ("sort" = Option<String>, Query), ("script_id" = Option<String>, Query), ("user_id" = Option<String>, Query), ("status" = Option<String>, Query), ("updated_at" = Option<String>, Query)),
    responses((status = 200, body = Data<Vec<ExecutionView>>), (status = 401, body = super::ErrorBody)))]
async fn list(State(app): State<App>, user: User, query: Pairs) -> Result<Found> {
    let shown = Shown::read(&query, false);
    let asked = Asked::read(query.get("page"), query.get("per_page"));
    let mut wanted = wanted(&app, &user, &query, &shown, asked)?;
    wanted.user = if user.is_admin() { uuid(&query, "user_id")? } else { Some(user.id) };
    if let Some(text) = query.get("status").filter(|text| !text.is_empty()) {
        match text.to_uppercase().parse() {
            Ok(status) => wanted.status = Some(status),
            // No execution is in a state that does not exist.
            Err(()) => {
                let page = asked.map(|asked| Page { page: asked.page, per_page: asked.per_page, total: 0 });
                return Ok((filter::headers(&wanted.search), Json(Data { data: Vec::new(), page })));
            }
        }
    }
    answer(&app, &user, wanted, &shown, asked).await
}

/// The caller's own executions, for administrators too.
#[utoipa::path(get, path = "/api/v1/execution/user", tag = "executions", security(("bearerAuth" = ["execution:read"])),
    params(("page" = Option<i64>, Query), ("per_page" = Option<i64>, Query), ("include" = Option<String>, Query), ("exclude" = Option<String>, Query),
        ("filter" = Option<String>, Query), ("sort" = Option<String>, Query), ("script_id" = Option<String>, Query), ("updated_at" = Option<String>, Query)),
    responses((status = 200, body = Data<Vec<ExecutionView>>), (status = 401, body = super::ErrorBody)))]
async fn list_own(State(app): State<App>, user: User, query: Pairs) -> Result<Found> {
    let shown = Shown::read(&query, false);
    let asked = Asked::read(query.get("page"), query.get("per_page"));
    let mut wanted = wanted(&app, &user, &query, &shown, asked)?;
    wanted.user = Some(user.id);
    answer(&app, &user, wanted, &shown, asked).await
}

/// One execution. A run may ask for itself, with its own credential.
#[utoipa::path(get, path = "/api/v1/execution/{execution}", tag = "executions", security(("bearerAuth" = ["execution:read"])),
    params(("execution" = String, Path), ("include" = Option<String>, Query), ("exclude" = Option<String>, Query)),
    responses((status = 200, body = Data<ExecutionView>), (status = 404, body = super::ErrorBody)))]
async fn get(
    State(app): State<App>,
    who: Reporter,
    path: ExecutionPath,
    query: Pairs,
) -> Result<Json<Data<ExecutionView>>> {
    let mut shown = Shown::read(&query, true);
    let user = match &who {
        Reporter::User(user) => Some(&**user),
        Reporter::Run(run) if run.execution == path.0 => None,
        Reporter::Run(_) => return Err(Error::not_found("Ticket Not Found")),
    };
    let (params, results) = (!shown.without_params, !shown.without_results);
    let execution = match user {
        Some(user) => find(&app, user, path.0, params, results).await?,
        None => {
            shown.include.clear();
            let found = store::executions::find(&app.db, path.0, params, results).await?;
            found.ok_or_else(|| Error::not_found("Ticket Not Found"))?
        }
    };
    Ok(data(view(&app, user, execution, &shown).await?))
}

#[derive(Serialize, utoipa::ToSchema)]
struct Cancellation {
    execution: ExecutionView,
    #[schema(value_type = Object)]
    cancellation_details: Value,
}

/// Asks for the end of an execution: 202, and it is CANCELLED within seconds. Owner or administrator.
#[utoipa::path(post, path = "/api/v1/execution/{execution}/cancel", tag = "executions", security(("bearerAuth" = ["execution:write"])), params(("execution" = String, Path)),
    responses((status = 202, body = Data<Cancellation>), (status = 400, body = super::ErrorBody), (status = 404, body = super::ErrorBody), (status = 409, body = super::ErrorBody)))]
async fn request_cancel(
    State(app): State<App>,
    user: User,
    path: ExecutionPath,
) -> Result<(StatusCode, Json<Data<Cancellation>>)> {
    let execution = find(&app, &user, path.0, false, false).await?;
    if !user.is_admin() && execution.user_id != Some(user.id) {
        return Err(Error::not_found("Ticket Not Found"));
    }
    let (execution, previous) = cancel::request(&app, &user, path.0).await?;
    let details = json!({
        "execution_id": execution.id, "previous_status": previous, "new_status": execution.status,
        "queued": true, "task_id": Id::random(), "errors": [],
    });
    let execution = view(&app, Some(&user), execution, &Shown::whole()).await?;
    Ok((StatusCode::ACCEPTED, data(Cancellation { execution, cancellation_details: details })))
}

/// The results as a file.
#[utoipa::path(get, path = "/api/v1/execution/{execution}/download-results", tag = "executions", security(("bearerAuth" = ["execution:read"])), params(("execution" = String, Path)),
    responses((status = 200, content_type = "text/plain"), (status = 404, body = super::ErrorBody)))]
async fn download_results(State(app): State<App>, user: User, path: ExecutionPath) -> Result<Response> {
    let execution = find(&app, &user, path.0, false, true).await?;
    let text = execution.results.map_or_else(|| "{}".to_owned(), |results| results.0.get().to_owned());
    let text = if matches!(text.as_str(), "null" | "[]" | "0" | "false" | "\"\"") { "{}".to_owned() } else { text };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment;filename=results.json")),
    ];
    Ok((headers, text).into_response())
}

/// Every change of an execution's state: who, when, why.
#[utoipa::path(get, path = "/api/v1/execution/{execution}/history", tag = "executions", security(("bearerAuth" = ["execution:read"])), params(("execution" = String, Path)),
    responses((status = 200), (status = 404, body = super::ErrorBody)))]
async fn history(State(app): State<App>, user: User, path: ExecutionPath) -> Result<Json<Data<Vec<Value>>>> {
    find(&app, &user, path.0, false, false).await?;
    let events = store::events::list(&app.db, path.0).await?;
    let rows = events.into_iter().map(|e| {
        json!({"at": e.at, "status_from": e.status_from, "status_to": e.status_to, "actor": e.actor, "cause": e.cause, "message": e.message})
    });
    Ok(data(rows.collect()))
}
