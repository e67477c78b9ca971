//! `GET /api/v1/script/export`: scripts as a CSV file.

use axum::{extract::State, response::Response};

use crate::{
    api::{ErrorBody, csv, extract::query::Pairs},
    app::App,
    auth::Admin,
    error::Result,
    store::{
        self,
        scripts::{Exported, SEARCHABLE, Viewer},
    },
};

/// Days by which the file can be narrowed.
const DATES: [&str; 2] = ["created_at", "updated_at"];

const HEAD: [&str; 15] = [
    "id",
    "name",
    "slug",
    "status",
    "public",
    "restricted",
    "created_at",
    "updated_at",
    "environment",
    "environment_version",
    "compute_type",
    "uses_gee",
    "user_id",
    "user_name",
    "user_email",
];

fn row(exported: &Exported) -> Vec<String> {
    let script = &exported.script;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    vec![
        script.id.to_string(),
        script.name.clone(),
        script.slug.clone(),
        script.status.clone(),
        csv::flag(Some(script.public)),
        csv::flag(Some(script.restricted)),
        csv::time(script.created_at),
        csv::time(script.updated_at),
        text(&script.environment),
        text(&script.environment_version),
        script.compute_type.clone(),
        csv::flag(Some(script.uses_gee)),
        script.user_id.map(|id| id.to_string()).unwrap_or_default(),
        text(&exported.user_name),
        text(&exported.user_email),
    ]
}

/// Scripts as a CSV file, newest first. Administrators only.
#[utoipa::path(get, path = "/api/v1/script/export", tag = "scripts", security(("bearerAuth" = ["script:read"])),
    params(("date_field" = Option<String>, Query), ("date_from" = Option<String>, Query), ("date_to" = Option<String>, Query)),
    responses((status = 200, content_type = "text/csv"), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn file(State(app): State<App>, _: Admin, query: Pairs) -> Result<Response> {
    let search = csv::narrowed(&query, &SEARCHABLE, &DATES)?;
    csv::within(store::scripts::count(&app.db, &Viewer::Everything, &search).await?, csv::MOST)?;
    let now = app.clock.now();
    csv::file("scripts_export", now, &HEAD, move |limit, offset| {
        let (app, search) = (app.clone(), search.clone());
        async move {
            let rows = store::scripts::export(&app.db, &search, (limit, offset)).await?;
            Ok(rows.iter().map(row).collect())
        }
    })
    .await
}
