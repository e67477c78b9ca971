//! `/api/v1/script…`: scripts as authors publish them and users find them (contract/scripts-executions.md 1).

pub(super) mod log;
pub(crate) mod upload;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Data, Page, data,
    extract::{filter, page::Asked, path::ScriptPath, query::Pairs},
    value, words,
};
use crate::{
    app::App,
    auth::User,
    error::{Error, Result},
    store::{self, script_logs::After, scripts::Script},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, upload::create))
        .routes(routes!(get, upload::update, remove))
        .routes(routes!(publish))
        .routes(routes!(unpublish))
        .routes(routes!(download))
        .routes(routes!(log::list))
        .routes(routes!(log::stream))
}

/// A script as clients see it; `include` adds to it, `exclude` takes away.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub struct ScriptView {
    pub id: store::Id,
    pub name: String,
    pub slug: String,
    pub description: String,
    pub created_at: Option<chrono::NaiveDateTime>,
    pub updated_at: Option<chrono::NaiveDateTime>,
    pub user_id: Option<store::Id>,
    /// PENDING, BUILDING, SUCCESS or FAIL.
    pub status: String,
    pub public: bool,
    /// Nano-CPUs.
    pub cpu_reservation: Option<i64>,
    pub cpu_limit: Option<i64>,
    /// Bytes.
    pub memory_reservation: Option<i64>,
    pub memory_limit: Option<i64>,
    pub uses_gee: bool,
}

impl ScriptView {
    /// The QGIS plugin knows three states, and one word that it does not know loses its whole list.
    pub fn of(script: &Script, for_plugin: bool) -> Self {
        let status = match script.status.as_str() {
            "PENDING" if for_plugin => "BUILDING",
            "FAILED" if for_plugin => "FAIL",
            other => other,
        };
        ScriptView {
            id: script.id,
            name: script.name.clone(),
            slug: script.slug.clone(),
            description: script.description.clone().unwrap_or_default(),
            created_at: script.created_at,
            updated_at: script.updated_at,
            user_id: script.user_id,
            status: status.to_owned(),
            public: script.public,
            cpu_reservation: script.cpu_reservation,
            cpu_limit: script.cpu_limit,
            memory_reservation: script.memory_reservation,
            memory_limit: script.memory_limit,
            uses_gee: script.uses_gee,
        }
    }
}

/// Whether a request comes from the QGIS plugin; its header may hold raw UTF-8.
pub(super) fn is_plugin(headers: &axum::http::HeaderMap) -> bool {
    headers
        .get("x-te-client")
        .is_some_and(|value| String::from_utf8_lossy(value.as_bytes()).contains("type=qgis_plugin"))
}

/// One script for an answer.
async fn view(app: &App, user: &User, script: &Script, for_plugin: bool, query: &Pairs) -> Result<Value> {
    let mut view = value(ScriptView::of(script, for_plugin))?;
    let own = user.is_admin() || script.user_id == Some(user.id);
    let include = words(query.get("include"));
    for name in include {
        match name {
            "logs" => {
                view["logs"] = value(store::script_logs::list(&app.db, script.id, After::default(), i64::MAX).await?)?
            }
            "environment" => {
                view["environment"] = json!(script.environment);
                view["environment_version"] = json!(script.environment_version);
                view["compute_type"] = json!(script.compute_type);
                if script.compute_type == "batch" {
                    view["batch_job_definition"] = json!(script.batch_job_definition);
                    view["batch_job_queue"] = json!(script.batch_job_queue);
                    view["batch_image"] = json!(script.batch_image);
                }
                if script.compute_type == "openeo" {
                    view["openeo_backend_url"] = json!(script.openeo_backend_url);
                }
            }
            "executions" => view["executions"] = value(super::executions::of_script(app, user, script.id).await?)?,
            "build_error" => view["build_error"] = json!(script.build_error),
            "access_control" if own => {
                let list = |text: &Option<String>| {
                    text.as_deref().and_then(|t| serde_json::from_str::<Value>(t).ok()).unwrap_or(json!([]))
                };
                view["restricted"] = json!(script.restricted);
                view["allowed_roles"] = list(&script.allowed_roles);
                view["allowed_users"] = list(&script.allowed_users);
            }
            "user" | "user_name" | "user_email" => {
                let owner = match script.user_id {
                    Some(id) => store::users::profile(&app.db, id).await?,
                    None => None,
                };
                match name {
                    "user_name" if user.is_admin() => view["user_name"] = json!(owner.map(|o| o.name)),
                    "user_email" if user.is_admin() => view["user_email"] = json!(owner.map(|o| o.email)),
                    "user" => view["user"] = super::executions::person(user, owner)?,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if let Some(object) = view.as_object_mut() {
        for name in words(query.get("exclude")) {
            object.remove(name);
        }
    }
    Ok(view)
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
    headers: axum::http::HeaderMap,
) -> Result<(HeaderMap, Json<Data<Vec<Value>>>)> {
    let viewer = user.viewer();
    let search = filter::read(&query, &store::scripts::SEARCHABLE)?;
    filter::check_people(&search, &user)?;
    let asked = Asked::read(query.get("page"), query.get("per_page"));
    let scripts = store::scripts::list(&app.db, &viewer, &search, asked.map(Asked::window)).await?;
    let plugin = is_plugin(&headers);
    let mut views = Vec::with_capacity(scripts.len());
    for script in &scripts {
        views.push(view(&app, &user, script, plugin, &query).await?);
    }
    let page = match asked {
        Some(asked) => Some(Page {
            page: asked.page,
            per_page: asked.per_page,
            total: store::scripts::count(&app.db, &viewer, &search).await?,
        }),
        None => None,
    };
    Ok((filter::headers(&search), Json(Data { data: views, page })))
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
    headers: axum::http::HeaderMap,
) -> Result<Json<Data<Value>>> {
    let script = find(&app, &user, &path).await?;
    Ok(data(view(&app, &user, &script, is_plugin(&headers), &query).await?))
}

/// Deletes a script with its versions, logs and executions; what runs of it is stopped. Administrators only.
#[utoipa::path(delete, path = "/api/v1/script/{script}", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path)),
    responses((status = 200, body = Data<ScriptView>), (status = 403, body = super::ErrorBody), (status = 404, body = super::ErrorBody)))]
async fn remove(State(app): State<App>, user: User, path: ScriptPath) -> Result<Json<Data<Value>>> {
    if !user.is_admin() {
        return Err(Error::Forbidden("Forbidden".into()));
    }
    let script = find(&app, &user, &path).await?;
    let view = view(&app, &user, &script, false, &Pairs::default()).await?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let keys = store::script_versions::archive_keys(&mut tx, script.id).await?;
    let gone = store::scripts::delete(&mut tx, script.id).await?;
    audit(&mut tx, &user, "script.deleted", &script, now).await?;
    tx.notify().await?;
    tx.commit().await?;
    // Whoever follows a run or build of it hears now that the row is gone, and stops the unit.
    app.wake();
    if gone {
        for key in keys {
            app.objects.delete(&key).await?;
        }
    }
    Ok(data(view))
}

async fn audit(tx: &mut store::Tx, user: &User, action: &str, script: &Script, now: store::Time) -> Result<()> {
    Ok(store::audit::insert(tx, &user.caller.did(action, "script", &script.id), now).await?)
}

/// Shows a script to everybody. Its owner or an administrator.
#[utoipa::path(post, path = "/api/v1/script/{script}/publish", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path)),
    responses((status = 200, body = Data<ScriptView>), (status = 404, body = super::ErrorBody)))]
async fn publish(State(app): State<App>, user: User, path: ScriptPath) -> Result<Json<Data<Value>>> {
    set_public(&app, &user, &path, true).await
}

/// Hides a script from everybody but its owner and administrators.
#[utoipa::path(post, path = "/api/v1/script/{script}/unpublish", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path)),
    responses((status = 200, body = Data<ScriptView>), (status = 404, body = super::ErrorBody)))]
async fn unpublish(State(app): State<App>, user: User, path: ScriptPath) -> Result<Json<Data<Value>>> {
    set_public(&app, &user, &path, false).await
}

async fn set_public(app: &App, user: &User, path: &ScriptPath, public: bool) -> Result<Json<Data<Value>>> {
    let mut script = find(app, user, path).await?;
    if !user.is_admin() && script.user_id != Some(user.id) {
        return Err(path.missing());
    }
    let action = if public { "script.published" } else { "script.unpublished" };
    let mut tx = app.db.begin().await?;
    store::scripts::set_public(&mut tx, script.id, public).await?;
    audit(&mut tx, user, action, &script, app.clock.now()).await?;
    tx.commit().await?;
    script.public = public;
    Ok(data(view(app, user, &script, false, &Pairs::default()).await?))
}

/// The archive of the newest upload, byte for byte.
#[utoipa::path(get, path = "/api/v1/script/{script}/download", tag = "scripts", security(("bearerAuth" = ["script:read"])), params(("script" = String, Path)),
    responses((status = 200, content_type = "application/gzip"), (status = 404, body = super::ErrorBody), (status = 410, body = super::ErrorBody)))]
async fn download(State(app): State<App>, user: User, path: ScriptPath) -> Result<Response> {
    let script = find(&app, &user, &path).await?;
    let gone =
        || Error::Gone(format!("The archive of script {} is not there any more; publish it again.", script.slug));
    let version = store::script_versions::newest(&app.db, script.id).await?.ok_or_else(gone)?;
    let bytes = app.objects.get(&version.archive_key).await?.ok_or_else(gone)?;
    let disposition =
        HeaderValue::try_from(format!("attachment; filename={}.tar.gz", script.slug)).map_err(anyhow::Error::from)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/gzip")),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, bytes).into_response())
}
