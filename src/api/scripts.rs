//! `/api/v1/script…`: scripts as authors publish them and users find them (contract/scripts-executions.md 1).

mod access;
mod config;
mod export;
pub(super) mod log;
mod secrets;
pub(crate) mod upload;
mod versions;
mod view;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Data, Page, data,
    extract::{filter, page::Asked, path::ScriptPath, query::Pairs},
    pages_of,
};
use crate::{
    app::App,
    auth::User,
    error::{Error, Result},
    objects,
    store::{self, scripts::Script},
};
pub(super) use view::{ScriptView, is_plugin};
use view::{many, one};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, upload::create))
        .routes(routes!(get, upload::update, remove))
        .routes(routes!(publish))
        .routes(routes!(unpublish))
        .routes(routes!(download))
        .routes(routes!(export::file))
        .routes(routes!(config::update))
        .routes(routes!(access::get, access::clear))
        .routes(routes!(access::set_roles))
        .routes(routes!(access::set_users))
        .routes(routes!(access::add_role, access::remove_role))
        .routes(routes!(access::add_user, access::remove_user))
        .routes(routes!(secrets::list))
        .routes(routes!(secrets::grant, secrets::remove))
        .routes(routes!(versions::list))
        .routes(routes!(versions::get))
        .routes(routes!(versions::download))
        .routes(routes!(versions::activate))
        .routes(routes!(versions::schema))
        .routes(routes!(log::list))
        .routes(routes!(log::stream))
}

/// The script of the path, if the caller may see it.
async fn find(app: &App, user: &User, path: &ScriptPath) -> Result<Script> {
    store::scripts::find(&app.db, &path.key, &user.viewer()).await?.ok_or_else(|| path.missing())
}

/// Scripts that the caller may see, newest first. Unpaged unless `page` or `per_page` is there.
#[utoipa::path(get, path = "/api/v1/script", tag = "scripts", security(("bearerAuth" = ["script:read"])),
    params(("include" = Option<String>, Query), ("exclude" = Option<String>, Query), ("page" = Option<i64>, Query), ("per_page" = Option<i64>, Query),
        ("filter" = Option<String>, Query), ("sort" = Option<String>, Query)),
    responses((status = 200, body = Data<Vec<ScriptView>>), (status = 401, body = super::ErrorBody)))]
async fn list(
    State(app): State<App>,
    user: User,
    query: Pairs,
    headers: HeaderMap,
) -> Result<(HeaderMap, Json<Data<Vec<Value>>>)> {
    let viewer = user.viewer();
    let search = filter::read(&query, &store::scripts::SEARCHABLE)?;
    filter::check_people(&search, &user)?;
    let asked = Asked::read(query.get("page"), query.get("per_page"));
    let scripts = store::scripts::list(&app.db, &viewer, &search, asked.map(Asked::window)).await?;
    let views = many(&app, &user, &scripts, is_plugin(&headers), &query).await?;
    let page = match asked {
        Some(asked) => Some(Page {
            page: asked.page,
            per_page: asked.per_page,
            total: store::scripts::count(&app.db, &viewer, &search).await?,
        }),
        None => None,
    };
    let mut headers = filter::headers(&search);
    headers.extend(pages_of(page, views.len()));
    Ok((headers, Json(Data { data: views, page })))
}

/// One script, by id or slug.
#[utoipa::path(get, path = "/api/v1/script/{script}", tag = "scripts", security(("bearerAuth" = ["script:read"])),
    params(("script" = String, Path), ("include" = Option<String>, Query), ("exclude" = Option<String>, Query)),
    responses((status = 200, body = Data<ScriptView>), (status = 404, body = super::ErrorBody)))]
async fn get(
    State(app): State<App>,
    user: User,
    path: ScriptPath,
    query: Pairs,
    headers: HeaderMap,
) -> Result<Json<Data<Value>>> {
    let script = find(&app, &user, &path).await?;
    Ok(data(one(&app, &user, &script, is_plugin(&headers), &query).await?))
}

/// Deletes a script with its versions, logs and executions; what runs of it is stopped. Administrators only.
#[utoipa::path(delete, path = "/api/v1/script/{script}", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path)),
    responses((status = 200, body = Data<ScriptView>), (status = 403, body = super::ErrorBody), (status = 404, body = super::ErrorBody)))]
async fn remove(State(app): State<App>, user: User, path: ScriptPath, headers: HeaderMap) -> Result<Json<Data<Value>>> {
    if !user.is_admin() {
        return Err(Error::Forbidden("Forbidden".into()));
    }
    let script = find(&app, &user, &path).await?;
    let view = one(&app, &user, &script, is_plugin(&headers), &Pairs::default()).await?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let keys = store::script_versions::archive_keys(&mut tx, script.id).await?;
    let results = store::runs::with_results_of_script(&mut tx, script.id).await?;
    let gone = store::scripts::delete(&mut tx, script.id).await?;
    audit(&mut tx, &user, "script.deleted", &script, now).await?;
    tx.notify();
    tx.commit().await?;
    // Whoever follows a run or build of it hears now that the row is gone, and stops the unit.
    app.wake();
    if gone {
        let folders: Vec<String> = results.into_iter().map(crate::execution::results::folder).collect();
        app.objects.clear(&keys, &folders).await;
    }
    Ok(data(view))
}

async fn audit(tx: &mut store::Tx, user: &User, action: &str, script: &Script, now: store::Time) -> Result<()> {
    Ok(store::audit::insert(tx, &user.caller.did(action, "script", &script.id), now).await?)
}

/// An act with what it made of the script.
async fn audit_with(
    tx: &mut store::Tx,
    user: &User,
    action: &str,
    script: &Script,
    detail: &Value,
    now: store::Time,
) -> Result<()> {
    let detail = serde_json::value::to_raw_value(detail).map_err(anyhow::Error::from)?;
    let mut act = user.caller.did(action, "script", &script.id);
    act.detail = Some(sqlx::types::Json(detail));
    Ok(store::audit::insert(tx, &act, now).await?)
}

/// Owners and administrators change a script.
fn may_change(user: &User, script: &Script) -> bool {
    user.is_admin() || script.user_id == Some(user.id)
}

/// Shows a script to everybody. Its owner or an administrator.
#[utoipa::path(post, path = "/api/v1/script/{script}/publish", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path)),
    responses((status = 200, body = Data<ScriptView>), (status = 404, body = super::ErrorBody)))]
async fn publish(
    State(app): State<App>,
    user: User,
    path: ScriptPath,
    headers: HeaderMap,
) -> Result<Json<Data<Value>>> {
    set_public(&app, &user, &path, &headers, true).await
}

/// Hides a script from everybody but its owner and administrators.
#[utoipa::path(post, path = "/api/v1/script/{script}/unpublish", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path)),
    responses((status = 200, body = Data<ScriptView>), (status = 404, body = super::ErrorBody)))]
async fn unpublish(
    State(app): State<App>,
    user: User,
    path: ScriptPath,
    headers: HeaderMap,
) -> Result<Json<Data<Value>>> {
    set_public(&app, &user, &path, &headers, false).await
}

async fn set_public(
    app: &App,
    user: &User,
    path: &ScriptPath,
    headers: &HeaderMap,
    public: bool,
) -> Result<Json<Data<Value>>> {
    let mut script = find(app, user, path).await?;
    if !may_change(user, &script) {
        return Err(path.missing());
    }
    let action = if public { "script.published" } else { "script.unpublished" };
    let mut tx = app.db.begin().await?;
    store::scripts::set_public(&mut tx, script.id, public).await?;
    audit(&mut tx, user, action, &script, app.clock.now()).await?;
    tx.commit().await?;
    script.public = public;
    Ok(data(one(app, user, &script, is_plugin(headers), &Pairs::default()).await?))
}

/// The archive of the newest upload, byte for byte.
#[utoipa::path(get, path = "/api/v1/script/{script}/download", tag = "scripts", security(("bearerAuth" = ["script:read"])), params(("script" = String, Path)),
    responses((status = 200, content_type = "application/gzip"), (status = 404, body = super::ErrorBody), (status = 410, body = super::ErrorBody)))]
async fn download(State(app): State<App>, user: User, path: ScriptPath) -> Result<Response> {
    let script = find(&app, &user, &path).await?;
    let key = match store::script_versions::newest(&app.db, script.id).await? {
        Some(version) => version.archive_key,
        None if app.objects.are_remote() => objects::archive_of_slug(&script.slug),
        None => return Err(gone(&script)),
    };
    archive(&app, &script, &key, &script.slug).await
}

fn gone(script: &Script) -> Error {
    Error::Gone(format!("The archive of script {} is not there any more; publish it again.", script.slug))
}

/// An archive as a file of this name, `.tar.gz` left out.
async fn archive(app: &App, script: &Script, key: &str, name: &str) -> Result<Response> {
    let found = app.objects.read(key).await?.ok_or_else(|| gone(script))?;
    let disposition =
        HeaderValue::try_from(format!("attachment; filename={name}.tar.gz")).map_err(anyhow::Error::from)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/gzip")),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CONTENT_LENGTH, HeaderValue::from(found.bytes)),
    ];
    Ok((headers, Body::from_stream(found.pieces)).into_response())
}
