//! `PATCH /api/v1/execution/<id>`: the channel on which containers report; an owner may hide what has ended.

use axum::{Json, extract::State};
use serde_json::Value;
use sqlx::types::Json as SqlJson;

use super::{ExecutionView, Shown, find, view};
use crate::{
    api::{
        Data, data,
        extract::{json, path::ExecutionPath},
    },
    app::App,
    auth::{Reporter, User},
    engine::grouped,
    error::{Error, Result},
    execution::{
        failure::{Class, Failure},
        report::{self, By, Outcome, Report},
        results,
        status::Status,
    },
    json::Object,
    store::{self, executions::Parts},
};

/// Reports state, progress or results. Administrators, and a run for itself. What comes late is answered 200 and changes nothing.
#[utoipa::path(patch, path = "/api/v1/execution/{execution}", tag = "executions", security(("bearerAuth" = ["execution:write"])), params(("execution" = String, Path)), request_body = Object,
    responses((status = 200, body = Data<ExecutionView>), (status = 400, body = crate::api::ErrorBody), (status = 403, body = crate::api::ErrorBody), (status = 404, body = crate::api::ErrorBody)))]
pub async fn update(
    State(app): State<App>,
    who: Reporter,
    path: ExecutionPath,
    body: Result<json::Body>,
) -> Result<Json<Data<ExecutionView>>> {
    let user = match &who {
        Reporter::User(user) => Some(&**user),
        Reporter::Run(_) => None,
    };
    let body = match body {
        Ok(json::Body(body)) => Ok(body),
        Err(error) if who.is_container() => Err(error.too_much()?),
        Err(error) => return Err(error),
    };
    if let (Some(user), Ok(body)) = (user, &body)
        && let Some(deleted) = body.get::<bool>("deleted")
    {
        return hide(&app, user, path, deleted).await;
    }
    let mut report = match &body {
        // Containers of ours never hear a 4xx for content that they cannot mend.
        Ok(body) => read(body, user.is_some())?,
        Err(_) => Report::default(),
    };
    if user.is_some_and(|user| !user.is_admin() && !user.is_environment) {
        return Err(Error::Forbidden("Forbidden".into()));
    }
    let missing = || Error::not_found("Ticket Not Found");
    if matches!(&who, Reporter::Run(run) if run.execution != path.0) {
        return Err(missing());
    }
    match body.map(|body| body.raw("results").map(|results| SqlJson(results.to_owned()))) {
        Ok(None) => {}
        Ok(Some(results)) if results.0.get().len() <= results::MAX_BYTES => {
            report.results = Some(results::place(&app, path.0, results).await?);
        }
        Ok(Some(_)) => {
            let most = grouped(results::MAX_BYTES as u64);
            report = without_results(format!("The results have more than {most} bytes."));
        }
        Err(sentence) => report = without_results(sentence),
    }
    let by = match &who {
        Reporter::User(user) => By::new(user.actor(), "reported"),
        Reporter::Run(run) => By::new(format!("run:{}", run.execution), "reported"),
    };
    report.attempt = match &who {
        Reporter::User(_) => None,
        Reporter::Run(run) => Some(run.attempt),
    };
    if let Some(progress) = report.only_progress() {
        store::executions::report_progress(&app.db, path.0, progress, report.attempt).await?;
        let execution = store::executions::find(&app.db, path.0, Parts::ALL).await?.ok_or_else(missing)?;
        return Ok(data(view(&app, user, execution, &Shown::whole()).await?));
    }
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if report::apply(&mut tx, &app, path.0, &report, &by, now).await? == Outcome::Unknown {
        return Err(missing());
    }
    let execution = store::executions::find_within(&mut tx, path.0).await?.ok_or_else(missing)?;
    tx.commit().await?;
    if report.status.is_some() {
        app.wake();
    }
    Ok(data(view(&app, user, execution, &Shown::whole()).await?))
}

/// A run whose results cannot be kept has failed, and its log says why: nobody would wait for what never comes.
fn without_results(sentence: String) -> Report {
    let failure = Failure::new(Class::ScriptError, sentence);
    Report { status: Some(Status::Failed), failure: Some(failure), ..Report::default() }
}

/// Hides an execution that has ended from lists, or shows it again. Owner or administrator.
async fn hide(app: &App, user: &User, path: ExecutionPath, deleted: bool) -> Result<Json<Data<ExecutionView>>> {
    let execution = find(app, user, path.0, Parts::ALL).await?;
    if !execution.status.is_terminal() {
        return Err(Error::invalid(format!(
            "An execution in state {} cannot be deleted; cancel it first",
            execution.status
        )));
    }
    store::executions::set_deleted(&app.db, path.0, deleted).await?;
    let execution = find(app, user, path.0, Parts::ALL).await?;
    Ok(data(view(app, Some(user), execution, &Shown::whole()).await?))
}

/// Reads a report, but for its results; strict for people, lenient for runs.
fn read(body: &Object, strict: bool) -> Result<Report> {
    let mut report = Report::default();
    if body.has("status") {
        let status =
            body.get::<String>("status").and_then(|text| text.parse::<Status>().ok()).filter(|s| *s != Status::Pending);
        if status.is_none() && strict {
            return Err(Error::invalid("Invalid status"));
        }
        report.status = status;
    }
    if body.has("progress") {
        report.progress = match body.get::<Value>("progress") {
            Some(Value::Number(number)) => number.as_f64().filter(|n| (0.0..=100.0).contains(n)).map(|n| {
                #[expect(clippy::cast_possible_truncation, reason = "within 0..100")]
                let rounded = n.round() as i32;
                rounded
            }),
            _ => None,
        };
        if report.progress.is_none() && strict {
            return Err(Error::invalid("Progress must be between 0 and 100"));
        }
    }
    if strict && report.status.is_none() && report.progress.is_none() && !body.has("results") {
        return Err(Error::invalid("Status, progress or results are required"));
    }
    Ok(report)
}
