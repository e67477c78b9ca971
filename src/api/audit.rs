//! `/api/v1/admin/audit`: acts that matter, as they were written down. Nobody changes them.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Data, Page, csv,
    extract::{filter, page::Asked, query::Pairs},
};
use crate::{
    app::App,
    auth::Superadmin,
    error::Result,
    store::{self, audit::Audit},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(export))
}

/// Rows of a file.
const MOST: i64 = 100_000;

const HEAD: [&str; 10] =
    ["id", "at", "actor_id", "actor_email", "action", "target_type", "target_id", "ip_address", "request_id", "detail"];

/// Acts, newest first. SUPERADMIN only.
#[utoipa::path(get, path = "/api/v1/admin/audit", tag = "admin", security(("bearerAuth" = ["user:read"])),
    params(("page" = Option<i64>, Query), ("per_page" = Option<i64>, Query), ("filter" = Option<String>, Query), ("sort" = Option<String>, Query)),
    responses((status = 200, body = Data<Vec<Audit>>), (status = 403, body = super::ErrorBody)))]
async fn list(State(app): State<App>, _: Superadmin, query: Pairs) -> Result<Response> {
    let search = filter::read(&query, &store::audit::COLUMNS)?;
    let asked = Asked::read(query.get("page"), query.get("per_page")).unwrap_or(Asked { page: 1, per_page: 100 });
    let data = store::audit::search(&app.db, &search, asked.window()).await?;
    let total = store::audit::count(&app.db, &search).await?;
    let page = Page { page: asked.page, per_page: asked.per_page, total };
    Ok((filter::headers(&search), Json(Data { data, page: Some(page) })).into_response())
}

/// The same as a CSV file.
#[utoipa::path(get, path = "/api/v1/admin/audit/export", tag = "admin", security(("bearerAuth" = ["user:read"])),
    params(("filter" = Option<String>, Query), ("sort" = Option<String>, Query)),
    responses((status = 200, content_type = "text/csv"), (status = 400, body = super::ErrorBody), (status = 403, body = super::ErrorBody)))]
async fn export(State(app): State<App>, _: Superadmin, query: Pairs) -> Result<Response> {
    let search = filter::read(&query, &store::audit::COLUMNS)?;
    csv::within(store::audit::count(&app.db, &search).await?, MOST)?;
    let now = app.clock.now();
    csv::file("audit_export", now, &HEAD, move |limit, offset| {
        let (app, search) = (app.clone(), search.clone());
        async move {
            let rows = store::audit::search(&app.db, &search, (limit, offset)).await?;
            Ok(rows.into_iter().map(|row| cells(row).to_vec()).collect())
        }
    })
    .await
}

fn cells(row: Audit) -> [String; 10] {
    [
        row.id.to_string(),
        csv::time(Some(row.at)),
        row.actor_id.map(|id| id.to_string()).unwrap_or_default(),
        row.actor_email.unwrap_or_default(),
        row.action,
        row.target_type.unwrap_or_default(),
        row.target_id.unwrap_or_default(),
        row.ip_address.unwrap_or_default(),
        row.request_id.unwrap_or_default(),
        row.detail.map(|detail| detail.0.get().to_owned()).unwrap_or_default(),
    ]
}
