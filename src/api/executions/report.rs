//! `PATCH /api/v1/execution/<id>`: the channel on which containers report; an owner may hide what has ended.

use axum::{Json, extract::State};
use serde_json::Value;
use sqlx::types::Json as SqlJson;

use super::{ExecutionView, Shown, find, view};
use crate::{
    api::{
        Data, data,
        extract::{
            json::{self, Object},
            path::ExecutionPath,
        },
    },
    app::App,
    auth::{Reporter, Run, User},
    error::{Error, Result},
    execution::{
        report::{self, By, Outcome, Report},
        status::Status,
    },
    store::{self, runs::ExecutionRun},
};

/// Reports state, progress or results. Administrators, and a run for itself. What comes late is answered 200 and changes nothing.
#[utoipa::path(patch, path = "/api/v1/execution/{execution}", tag = "executions", security(("bearerAuth" = ["execution:write"])), params(("execution" = String, Path)), request_body = Object,
    responses((status = 200, body = Data<ExecutionView>), (status = 400, body = crate::api::ErrorBody), (status = 403, body = crate::api::ErrorBody), (status = 404, body = crate::api::ErrorBody)))]
pub async fn update(
    State(app): State<App>,
    who: Reporter,
    path: ExecutionPath,
    json::Body(body): json::Body,
) -> Result<Json<Data<ExecutionView>>> {
    let user = match &who {
        Reporter::User(user) => Some(&**user),
        Reporter::Run(_) => None,
    };
    if let (Some(user), Some(deleted)) = (user, body.get::<bool>("deleted")) {
        return hide(&app, user, path, deleted).await;
    }
    // Containers of ours never hear a 4xx for content that they cannot mend.
    let report = read(&body, user.is_some())?;
    if user.is_some_and(|user| !user.is_admin() && !user.is_environment) {
        return Err(Error::Forbidden("Forbidden".into()));
    }
    let by = match &who {
        Reporter::User(user) => By::new(user.actor(), "reported"),
        Reporter::Run(run) => By::new(format!("run:{}", run.execution), "reported"),
    };
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let missing = || Error::not_found("Ticket Not Found");
    if let Reporter::Run(run) = &who {
        if run.execution != path.0 {
            return Err(missing());
        }
        if current(&mut tx, run).await?.is_none() {
            // A word of an earlier attempt is heard and changes nothing.
            let execution = store::executions::find_within(&mut tx, path.0).await?.ok_or_else(missing)?;
            drop(tx);
            return Ok(data(view(&app, None, execution, &Shown::whole()).await?));
        }
    }
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

/// The row of a run, if its credential is of the attempt that counts.
pub(super) async fn current(tx: &mut store::Tx, run: &Run) -> Result<Option<ExecutionRun>> {
    Ok(store::runs::find_within(tx, run.execution).await?.filter(|row| row.attempt == run.attempt))
}

/// Hides an execution that has ended from lists, or shows it again. Owner or administrator.
async fn hide(app: &App, user: &User, path: ExecutionPath, deleted: bool) -> Result<Json<Data<ExecutionView>>> {
    let execution = find(app, user, path.0, true, true).await?;
    if !execution.status.is_terminal() {
        return Err(Error::invalid(format!(
            "An execution in state {} cannot be deleted; cancel it first",
            execution.status
        )));
    }
    store::executions::set_deleted(&app.db, path.0, deleted).await?;
    let execution = find(app, user, path.0, true, true).await?;
    Ok(data(view(app, Some(user), execution, &Shown::whole()).await?))
}

/// Reads a report; strict for people, lenient for runs.
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
    if let Some(results) = body.raw("results") {
        report.results = Some(SqlJson(results.to_owned()));
    }
    if strict && report.status.is_none() && report.progress.is_none() && report.results.is_none() {
        return Err(Error::invalid("Status, progress or results are required"));
    }
    Ok(report)
}
