//! `/api/v1/script/<s>/versions…` and `…/schema`: what a script was uploaded as, which of it runs, and what its parameters are.

use axum::{Json, extract::State, http::HeaderMap, response::Response};
use serde_json::json;

use super::{archive, audit_with, find, may_change, secrets::guard};
use crate::{
    api::{
        Data, ErrorBody, Page, data,
        extract::{
            page::Asked,
            path::{ScriptPath, VersionPath},
            query::Pairs,
        },
        pages_of,
    },
    app::App,
    auth::User,
    build,
    engine::Network,
    error::{Error, Result},
    store::{self, Id, Json as Document, script_versions::Listed, scripts::Script},
};

/// What a run of a version may use.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub struct VersionLimits {
    /// Nano-CPUs.
    cpu_limit: u64,
    /// Bytes.
    memory_limit: u64,
    timeout_s: u64,
    #[schema(value_type = String)]
    network: Network,
}

/// A version as clients see it.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub struct VersionView {
    number: i32,
    /// `sha256:<hex>` of the archive.
    digest: String,
    /// PENDING, BUILDING, SUCCESS or FAIL.
    status: String,
    /// Whether a run that names no version gets this one.
    current: bool,
    created_at: chrono::NaiveDateTime,
    built_at: Option<chrono::NaiveDateTime>,
    created_by: Option<Id>,
    limits: Option<VersionLimits>,
    build_error: Option<String>,
}

impl VersionView {
    fn of(app: &App, version: Listed) -> Self {
        let limits = build::stored(&version.config).ok().map(|stored| {
            let limits = stored.limits(&build::caps(&app.config));
            VersionLimits {
                cpu_limit: limits.cpu_nanos,
                memory_limit: limits.memory_bytes,
                timeout_s: limits.timeout_s,
                network: limits.network,
            }
        });
        VersionView {
            number: version.number,
            digest: version.digest,
            status: version.status,
            current: version.current,
            created_at: version.created_at,
            built_at: version.built_at,
            created_by: version.created_by,
            limits,
            build_error: version.build_error,
        }
    }
}

/// The version of the path.
async fn numbered(app: &App, script: &Script, path: &ScriptPath, number: &VersionPath) -> Result<Listed> {
    let missing = || Error::not_found(format!("Script {} has no such version", path.text));
    let number = number.0.ok_or_else(missing)?;
    store::script_versions::show(&app.db, script.id, number).await?.ok_or_else(missing)
}

/// The versions of a script, newest first. Unpaged unless `page` or `per_page` is there.
#[utoipa::path(get, path = "/api/v1/script/{script}/versions", tag = "scripts", security(("bearerAuth" = ["script:read"])),
    params(("script" = String, Path), ("page" = Option<i64>, Query), ("per_page" = Option<i64>, Query)),
    responses((status = 200, body = Data<Vec<VersionView>>), (status = 404, body = ErrorBody)))]
pub async fn list(
    State(app): State<App>,
    user: User,
    path: ScriptPath,
    query: Pairs,
) -> Result<(HeaderMap, Json<Data<Vec<VersionView>>>)> {
    let script = find(&app, &user, &path).await?;
    let asked = Asked::read(query.get("page"), query.get("per_page"));
    let versions = store::script_versions::list(&app.db, script.id, asked.map_or((i64::MAX, 0), Asked::window)).await?;
    let page = match asked {
        Some(asked) => Some(Page {
            page: asked.page,
            per_page: asked.per_page,
            total: store::script_versions::count(&app.db, script.id).await?,
        }),
        None => None,
    };
    let views: Vec<VersionView> = versions.into_iter().map(|version| VersionView::of(&app, version)).collect();
    Ok((pages_of(page, views.len()), Json(Data { data: views, page })))
}

/// One version of a script.
#[utoipa::path(get, path = "/api/v1/script/{script}/versions/{number}", tag = "scripts", security(("bearerAuth" = ["script:read"])), params(("script" = String, Path), ("number" = i32, Path)),
    responses((status = 200, body = Data<VersionView>), (status = 404, body = ErrorBody)))]
pub async fn get(
    State(app): State<App>,
    user: User,
    path: ScriptPath,
    number: VersionPath,
) -> Result<Json<Data<VersionView>>> {
    let script = find(&app, &user, &path).await?;
    Ok(data(VersionView::of(&app, numbered(&app, &script, &path, &number).await?)))
}

/// The archive of a version, byte for byte.
#[utoipa::path(get, path = "/api/v1/script/{script}/versions/{number}/download", tag = "scripts", security(("bearerAuth" = ["script:read"])), params(("script" = String, Path), ("number" = i32, Path)),
    responses((status = 200, content_type = "application/gzip"), (status = 404, body = ErrorBody), (status = 410, body = ErrorBody)))]
pub async fn download(State(app): State<App>, user: User, path: ScriptPath, number: VersionPath) -> Result<Response> {
    let script = find(&app, &user, &path).await?;
    let version = numbered(&app, &script, &path, &number).await?;
    archive(&app, &script, &version.archive_key, &format!("{}-{}", script.slug, version.number)).await
}

/// Makes a built version the one that runs, until a newer one is built or another is activated. Owner or administrator.
#[utoipa::path(post, path = "/api/v1/script/{script}/versions/{number}/activate", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path), ("number" = i32, Path)),
    responses((status = 200, body = Data<VersionView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn activate(
    State(app): State<App>,
    user: User,
    path: ScriptPath,
    number: VersionPath,
) -> Result<Json<Data<VersionView>>> {
    let script = find(&app, &user, &path).await?;
    if !may_change(&user, &script) {
        return Err(Error::Forbidden("Operation not allowed to this user".into()));
    }
    guard(&app, &user, &script).await?;
    let version = numbered(&app, &script, &path, &number).await?.number;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    // A build that ends now ends before or after this, not in its midst.
    store::scripts::lock(&mut tx, script.id).await?;
    if !store::script_versions::activate(&mut tx, script.id, version, now).await? {
        return Err(Error::invalid_as(
            "script_not_built",
            format!("Version {version} of script {} is not built", script.slug),
        ));
    }
    audit_with(&mut tx, &user, "script.version_activated", &script, &json!({"version": version}), now).await?;
    tx.commit().await?;
    Ok(data(VersionView::of(&app, numbered(&app, &script, &path, &number).await?)))
}

/// The JSON Schema that the parameters of the current version must fit.
#[utoipa::path(get, path = "/api/v1/script/{script}/schema", tag = "scripts", security(("bearerAuth" = ["script:read"])), params(("script" = String, Path)),
    responses((status = 200), (status = 404, body = ErrorBody)))]
pub async fn schema(State(app): State<App>, user: User, path: ScriptPath) -> Result<Json<Data<Document>>> {
    let script = find(&app, &user, &path).await?;
    let schema = match store::script_versions::current(&app.db, script.id).await? {
        Some(version) => store::script_versions::schema(&app.db, version.id).await?,
        None => None,
    };
    Ok(data(schema.ok_or_else(|| Error::not_found(format!("Script {} says nothing of its parameters", script.slug)))?))
}
