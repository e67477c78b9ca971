//! `/api/v1/execution…` and `/script/<s>/run`: runs as users start, watch and end them (contract/scripts-executions.md 2).

mod docker_logs;
mod export;
mod google_token;
mod log;
mod report;
mod rerun;
mod run;
mod unit;
mod view;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Data, Page, data,
    extract::{filter, page::Asked, path::ExecutionPath, query::Pairs},
};
use crate::{
    app::App,
    auth::{Reporter, User},
    clock,
    error::{Error, Result},
    execution::cancel,
    store::{
        self, Id,
        executions::{Execution, Parts, Wanted},
        search::Column,
    },
};

pub(super) use view::{ExecutionView, Shown, person, view, views};

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
        .routes(routes!(rerun::start))
        .routes(routes!(google_token::google_token))
        .routes(routes!(download_results))
        .routes(routes!(history))
        .routes(routes!(docker_logs::docker_logs))
        .routes(routes!(docker_logs::batch_logs))
        .merge(unit::routes())
}

/// Rows of an unpaged list; the existing server cuts there too.
const UNPAGED: i64 = 1_000;

/// The execution, if the caller may see it; to others it does not exist.
pub(super) async fn find(app: &App, user: &User, id: Id, parts: Parts) -> Result<Execution> {
    let found = store::executions::find(&app.db, id, parts).await?;
    found.filter(|e| user.sees(e)).ok_or_else(missing)
}

/// 404: to whoever may not see an execution it does not exist.
fn missing() -> Error {
    Error::not_found("Ticket Not Found")
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
        parts: shown.parts(),
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
            let wanted = Wanted {
                user: owner,
                script: Some(*script),
                parts: shown.parts(),
                page: (each, 0),
                ..Wanted::default()
            };
            store::executions::list(&app.db, &wanted).await?
        }
        several => store::executions::of_scripts::newest(&app.db, several, owner, each).await?,
    };
    views(app, Some(user), rows, &shown).await
}

/// What a call to the address of a caller tells of a run that has ended: all but parameters and results.
pub async fn for_webhook(app: &App, id: Id) -> anyhow::Result<Option<Value>> {
    let shown = Shown::whole().without_documents();
    let Some(row) = store::executions::find(&app.db, id, shown.parts()).await? else { return Ok(None) };
    let view = view(app, None, row, &shown).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    Ok(Some(serde_json::to_value(view)?))
}

/// A list, and a header that names what was ignored of its filter.
type Found = (HeaderMap, Json<Data<Vec<ExecutionView>>>);

async fn answer(app: &App, user: &User, wanted: Wanted, shown: &Shown<'_>, asked: Option<Asked>) -> Result<Found> {
    let rows = store::executions::list(&app.db, &wanted).await?;
    let data = views(app, Some(user), rows, shown).await?;
    let page = match asked {
        Some(asked) => Some(Page {
            page: asked.page,
            per_page: asked.per_page,
            total: store::executions::count(&app.db, &wanted).await?,
        }),
        None => None,
    };
    Ok((filter::headers(&wanted.search), Json(Data { data, page })))
}

/// Executions: all for administrators, else the caller's own. Open ones first, then the newest end.
#[utoipa::path(get, path = "/api/v1/execution", tag = "executions", security(("bearerAuth" = ["execution:read"])),
    params(("page" = Option<i64>, Query), ("per_page" = Option<i64>, Query), ("include" = Option<String>, Query), ("exclude" = Option<String>, Query),
        ("filter" = Option<String>, Query), ("sort" = Option<String>, Query), ("script_id" = Option<String>, Query), ("user_id" = Option<String>, Query), ("status" = Option<String>, Query), ("updated_at" = Option<String>, Query)),
    responses((status = 200, body = Data<Vec<ExecutionView>>), (status = 401, body = super::ErrorBody)))]
async fn list(State(app): State<App>, user: User, query: Pairs, headers: HeaderMap) -> Result<Found> {
    let shown = Shown::read(&query, false).to(&headers);
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
async fn list_own(State(app): State<App>, user: User, query: Pairs, headers: HeaderMap) -> Result<Found> {
    let shown = Shown::read(&query, false).to(&headers);
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
    headers: HeaderMap,
) -> Result<Json<Data<ExecutionView>>> {
    let mut shown = Shown::read(&query, true).to(&headers);
    let user = match &who {
        Reporter::User(user) => Some(&**user),
        Reporter::Run(run) if run.execution == path.0 => None,
        Reporter::Run(_) => return Err(missing()),
    };
    let execution = match user {
        Some(user) => find(&app, user, path.0, shown.parts()).await?,
        None => {
            shown = shown.alone();
            store::executions::find(&app.db, path.0, shown.parts()).await?.ok_or_else(missing)?
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
    let execution = find(&app, &user, path.0, Parts::FEW).await?;
    if !user.is_admin() && execution.user_id != Some(user.id) {
        return Err(missing());
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
    let execution = find(&app, &user, path.0, Parts { results: true, ..Parts::FEW }).await?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment;filename=results.json")),
    ];
    if let Some(key) = &execution.results_key {
        let found = app.objects.read(key).await?.ok_or_else(|| {
            Error::Gone(format!("The results of execution {} are not there any more; run it again.", execution.id))
        })?;
        return Ok((headers, Body::from_stream(found.pieces)).into_response());
    }
    let text = execution.results.map_or_else(|| "{}".to_owned(), |results| results.0.get().to_owned());
    let text = if matches!(text.as_str(), "null" | "[]" | "0" | "false" | "\"\"") { "{}".to_owned() } else { text };
    Ok((headers, text).into_response())
}

/// Every change of an execution's state: who, when, why.
#[utoipa::path(get, path = "/api/v1/execution/{execution}/history", tag = "executions", security(("bearerAuth" = ["execution:read"])), params(("execution" = String, Path)),
    responses((status = 200), (status = 404, body = super::ErrorBody)))]
async fn history(State(app): State<App>, user: User, path: ExecutionPath) -> Result<Json<Data<Vec<Value>>>> {
    find(&app, &user, path.0, Parts::FEW).await?;
    let events = match store::runs::find(&app.db, path.0).await? {
        Some(_) => store::events::list(&app.db, path.0).await?,
        None => store::events::list_foreign(&app.db, path.0).await?,
    };
    let rows = events.into_iter().map(|e| {
        json!({"at": e.at, "status_from": e.status_from, "status_to": e.status_to, "actor": e.actor, "cause": e.cause, "message": e.message})
    });
    Ok(data(rows.collect()))
}
