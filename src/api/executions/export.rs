//! `GET /api/v1/execution/export`: executions as a CSV file.

use std::sync::Arc;

use axum::{extract::State, response::Response};

use crate::{
    api::{ErrorBody, csv, extract::query::Pairs},
    app::App,
    auth::Admin,
    error::Result,
    store::{
        self,
        executions::{SEARCHABLE, export::Exported},
    },
};

/// Days by which the file can be narrowed.
const DATES: [&str; 2] = ["start_date", "end_date"];

const HEAD: [&str; 12] = [
    "id",
    "script_id",
    "script_name",
    "user_id",
    "user_name",
    "user_email",
    "status",
    "progress",
    "start_date",
    "end_date",
    "queued_at",
    "dispatched_at",
];

fn row(run: &Exported) -> Vec<String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let id = |value: Option<store::Id>| value.map(|id| id.to_string()).unwrap_or_default();
    vec![
        run.id.to_string(),
        id(run.script_id),
        text(&run.script_name),
        id(run.user_id),
        text(&run.user_name),
        text(&run.user_email),
        run.status.clone(),
        run.progress.map(|progress| progress.to_string()).unwrap_or_default(),
        csv::time(run.start_date),
        csv::time(run.end_date),
        csv::time(run.queued_at),
        csv::time(run.dispatched_at),
    ]
}

/// Executions as a CSV file, newest first. Administrators only.
#[utoipa::path(get, path = "/api/v1/execution/export", tag = "executions", security(("bearerAuth" = ["execution:read"])),
    params(("date_field" = Option<String>, Query), ("date_from" = Option<String>, Query), ("date_to" = Option<String>, Query)),
    responses((status = 200, content_type = "text/csv"), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn file(State(app): State<App>, _: Admin, query: Pairs) -> Result<Response> {
    let search = csv::narrowed(&query, &SEARCHABLE, &DATES)?;
    csv::within(store::executions::export::count(&app.db, &search).await?, csv::MOST)?;
    let ids = Arc::new(store::executions::export::ids(&app.db, &search, csv::MOST).await?);
    let now = app.clock.now();
    csv::file("executions_export", now, &HEAD, move |limit, offset| {
        let (app, ids) = (app.clone(), ids.clone());
        async move {
            let at = |n: i64| usize::try_from(n).unwrap_or(usize::MAX).min(ids.len());
            let rows = store::executions::export::rows(&app.db, &ids[at(offset)..at(offset + limit)]).await?;
            Ok(rows.iter().map(row).collect())
        }
    })
    .await
}
