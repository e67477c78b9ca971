//! What is taken along: people as a CSV file, and everything about oneself as one JSON.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::{
    api::{ErrorBody, csv, extract::query::Pairs, value},
    app::App,
    auth::{Admin, User},
    error::{Error, Result},
    store::{
        self,
        users::{COLUMNS, Profile},
    },
};

/// Days by which a file can be narrowed.
const DATES: [&str; 5] = ["created_at", "updated_at", "email_verified_at", "last_login_at", "last_activity_at"];

const HEAD: [&str; 24] = [
    "id",
    "email",
    "name",
    "role",
    "country",
    "institution",
    "role_title",
    "sector",
    "sector_other",
    "gender_identity",
    "gender_identity_description",
    "purpose_of_use",
    "purpose_of_use_other",
    "email_verified",
    "email_verified_at",
    "created_at",
    "updated_at",
    "last_login_at",
    "last_activity_at",
    "gee_license_acknowledged",
    "email_notifications_enabled",
    "email_subscription_news",
    "email_subscription_engagement",
    "email_subscription_system_updates",
];

fn row(person: &Profile) -> [String; 24] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let time = csv::time;
    [
        person.id.to_string(),
        person.email.clone(),
        person.name.clone(),
        text(&person.role),
        text(&person.country),
        text(&person.institution),
        text(&person.role_title),
        text(&person.sector),
        text(&person.sector_other),
        text(&person.gender_identity),
        text(&person.gender_identity_description),
        text(&person.purpose_of_use),
        text(&person.purpose_of_use_other),
        csv::flag(person.email_verified),
        time(person.email_verified_at),
        time(person.created_at),
        time(person.updated_at),
        time(person.last_login_at),
        time(person.last_activity_at),
        csv::flag(person.gee_license_acknowledged),
        csv::flag(Some(person.email_notifications_enabled)),
        csv::flag(Some(person.email_subscription_news)),
        csv::flag(Some(person.email_subscription_engagement)),
        csv::flag(Some(person.email_subscription_system_updates)),
    ]
}

/// People as a CSV file, newest first. Administrators only.
#[utoipa::path(get, path = "/api/v1/user/export", tag = "users", security(("bearerAuth" = ["user:read"])),
    params(("date_field" = Option<String>, Query), ("date_from" = Option<String>, Query), ("date_to" = Option<String>, Query)),
    responses((status = 200, content_type = "text/csv"), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn people(State(app): State<App>, _: Admin, query: Pairs) -> Result<Response> {
    let search = csv::narrowed(&query, &COLUMNS, &DATES)?;
    csv::within(store::users::count(&app.db, &search).await?, csv::MOST)?;
    let now = app.clock.now();
    csv::file("users_export", now, &HEAD, move |limit, offset| {
        let (app, search) = (app.clone(), search.clone());
        async move {
            let people = store::users::search(&app.db, &search, (limit, offset)).await?;
            Ok(people.iter().map(|person| row(person).to_vec()).collect())
        }
    })
    .await
}

/// Everything that the server keeps about the caller, as one JSON. Log lines are with each execution.
#[utoipa::path(get, path = "/api/v1/user/me/export", tag = "users", security(("bearerAuth" = ["account"])),
    responses((status = 200, body = Object), (status = 401, body = ErrorBody)))]
pub async fn person(State(app): State<App>, user: User) -> Result<Response> {
    let now = app.clock.now();
    let profile = store::users::profile(&app.db, user.id).await?;
    let connections = store::users::connections(&app.db, &[user.id]).await?;
    let connections = connections.first().map(|row| {
        json!({"google_groups": {"trends_earth_users": row.google_groups_trends_earth_users, "trendsearth": row.google_groups_trendsearth},
            "gee_credentials_type": row.gee_credentials_type, "gee_cloud_project": row.gee_cloud_project,
            "has_openeo_credentials": row.has_openeo_credentials})
    });
    let scripts = store::scripts::newest_of(&app.db, &[user.id], i64::MAX).await?;
    let scripts: Vec<Value> = scripts
        .iter()
        .map(|script| value(crate::api::scripts::ScriptView::of(script, false)))
        .collect::<Result<_>>()?;
    let head = json!({
        "exported_at": now,
        "profile": value(profile)?,
        "connections": connections,
        "sessions": value(store::refresh_tokens::list(&app.db, user.id, now).await?)?,
        "clients": value(store::user_clients::list(&app.db, user.id).await?)?,
        "service_clients": value(store::service_clients::list(&app.db, user.id).await?)?,
        "audit": value(store::audit::of(&app.db, user.id).await?)?,
        "scripts": scripts,
    });
    let head = head.to_string();
    let first = format!("{},\"executions\":[", head.trim_end_matches('}'));
    // An execution may hold megabytes: they are read and sent one by one.
    let rest = futures::stream::try_unfold(Some(0), move |next| {
        let (app, user) = (app.clone(), user.clone());
        async move {
            let Some(offset) = next else { return Ok::<_, Error>(None) };
            let wanted = store::executions::Wanted {
                user: Some(user.id),
                include_deleted: true,
                parts: crate::api::executions::Shown::default().parts(),
                page: (1, offset),
                ..store::executions::Wanted::default()
            };
            let Some(row) = store::executions::list(&app.db, &wanted).await?.pop() else {
                return Ok(Some(("]}".to_owned(), None)));
            };
            let logs = store::logs::list(&app.db, row.id, store::script_logs::After::default(), i64::MAX).await?;
            let view =
                crate::api::executions::view(&app, Some(&user), row, &crate::api::executions::Shown::default()).await?;
            let comma = if offset > 0 { "," } else { "" };
            let view = serde_json::to_string(&view).map_err(anyhow::Error::from)?;
            let logs = serde_json::to_string(&logs).map_err(anyhow::Error::from)?;
            Ok(Some((
                format!("{comma}{},\"logs\":{logs}}}", view.strip_suffix('}').unwrap_or(&view)),
                Some(offset + 1),
            )))
        }
    });
    let rest = futures::TryStreamExt::map_err(rest, |error| std::io::Error::other(format!("{error:?}")));
    let body = futures::StreamExt::chain(futures::stream::once(async { Ok(first) }), rest);
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"trends-earth-account.json\"")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}
