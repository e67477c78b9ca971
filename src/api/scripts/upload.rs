//! `POST` and `PATCH /api/v1/script`: an archive arrives, is checked, kept, and queued for its build.

use axum::{
    Json,
    extract::{FromRequest, Multipart, Request, State},
};
use bytes::{Bytes, BytesMut};
use serde_json::Value;
use sqlx::types::Json as SqlJson;
use tokio::sync::Semaphore;

use super::{audit, find, is_plugin, may_change, one, secrets::guard};
use crate::{
    api::{
        Data, data,
        extract::{path::ScriptPath, query::Pairs},
        maintenance,
    },
    app::App,
    auth::{Caller, User},
    build::{self, Checked, archive::Reject, configuration::Configuration},
    error::{Error, Result},
    jobs,
    store::{
        self, Id,
        jobs::NewJob,
        script_versions::NewVersion,
        scripts::{Script, Upload},
    },
};

/// Bytes of an uploaded archive.
const MAX_BYTES: usize = 10 << 20;

/// Archives that are inflated and checked at one time.
static CHECKS: Semaphore = Semaphore::const_new(2);

/// An archive as a form field `file`.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes the body in the OpenAPI document; it is read as a stream")]
pub struct ArchiveForm {
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// The part `file` of the form, read within its limit, and kept only for somebody who may upload. The rest of a body that
/// is too large is read and dropped, so that the client hears why instead of a broken connection.
async fn file(request: Request, may: bool) -> Result<Bytes> {
    let required = || Error::invalid("File Required");
    let Ok(mut form) = Multipart::from_request(request, &()).await else { return Err(required()) };
    loop {
        let mut part = match form.next_field().await {
            Ok(Some(part)) => part,
            Ok(None) => return Err(required()),
            Err(error) => return Err(broken(&error)),
        };
        if part.name() != Some("file") {
            continue;
        }
        let Some(name) = part.file_name().map(str::to_owned) else { return Err(required()) };
        let mut bytes = BytesMut::new();
        let mut length = 0;
        while let Some(chunk) = part.chunk().await.map_err(|error| broken(&error))? {
            length += chunk.len();
            if may && length <= MAX_BYTES {
                bytes.extend_from_slice(&chunk);
            }
        }
        if length > MAX_BYTES {
            return Err(Error::invalid_as("body_too_large", "File too large (max 10MB)"));
        }
        build::archive::check_file_name(&name).map_err(|text| Error::invalid_as("invalid_archive", text))?;
        return Ok(bytes.freeze());
    }
}

fn broken(error: &axum::extract::multipart::MultipartError) -> Error {
    if error.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
        Error::TooLarge("Request too large".into())
    } else {
        Error::invalid_as(
            "invalid_archive",
            "The form could not be read; send the archive as multipart/form-data in a part named file",
        )
    }
}

/// Inflates and judges an archive off the async threads, a few at a time.
async fn check(app: &App, bytes: &Bytes) -> Result<Checked> {
    if crate::jobs::free_bytes(&app.config.data_dir).is_some_and(|free| free < app.config.min_free_bytes) {
        return Err(Error::NoRoom);
    }
    let _slot = CHECKS.acquire().await.map_err(anyhow::Error::from)?;
    let bytes = bytes.clone();
    let checked = tokio::task::spawn_blocking(move || build::check(&bytes)).await.map_err(anyhow::Error::from)?;
    checked.map_err(|Reject { code, detail }| Error::invalid_as(code, detail))
}

fn upload(c: &Configuration) -> Upload {
    let number = |value: Option<u64>| value.map(|v| i64::try_from(v).unwrap_or(i64::MAX));
    Upload {
        name: c.name.clone(),
        cpu_reservation: number(c.cpu_reservation),
        cpu_limit: number(c.cpu_limit),
        memory_reservation: number(c.memory_reservation),
        memory_limit: number(c.memory_limit),
        environment: c.environment.clone(),
        environment_version: c.environment_version.clone(),
        compute_type: c.compute_type.clone(),
        batch_job_definition: c.batch_job_definition.clone(),
        batch_job_queue: c.batch_job_queue.clone(),
        batch_image: c.batch_image.clone(),
        uses_gee: c.uses_gee,
        openeo_backend_url: c.openeo_backend_url.clone(),
    }
}

/// Adds a version with its build job. The archive is stored already; its key holds its digest.
async fn add_version(
    tx: &mut store::Tx,
    script: Id,
    author: Id,
    checked: &Checked,
    key: &str,
    now: store::Time,
) -> Result<()> {
    let mut configuration = checked.configuration.clone();
    let schema = configuration.params_schema.take();
    let config = SqlJson(serde_json::value::to_raw_value(&configuration).map_err(anyhow::Error::from)?);
    let schema =
        schema.map(serde_json::value::RawValue::from_string).transpose().map_err(anyhow::Error::from)?.map(SqlJson);
    let version = Id::ordered();
    let new = NewVersion {
        script,
        digest: &checked.package.digest,
        archive_key: key,
        config: &config,
        params_schema: schema.as_ref(),
        created_by: Some(author),
    };
    store::script_versions::insert(tx, version, &new, now).await?;
    let job = NewJob { kind: jobs::BUILD_SCRIPT, subject: version, unique_key: Some(format!("build:{version}")) };
    store::jobs::insert(tx, &job, now).await?;
    tx.notify();
    Ok(())
}

/// Makes a script of this id from a checked archive, and queues its build. `caller` is who does it, for the audit trail.
pub async fn register(app: &App, id: Id, owner: Id, caller: &Caller, checked: &Checked, gz: Bytes) -> Result<Script> {
    let taken = || {
        let name = &checked.configuration.name;
        Error::invalid_as("slug_taken", format!("Script with name {name} generates an existing script slug"))
    };
    let slug = store::scripts::Key::Slug(checked.configuration.slug.clone());
    if store::scripts::find(&app.db, &slug, &store::scripts::Viewer::Everything).await?.is_some() {
        return Err(taken());
    }
    let known = || Error::invalid(format!("There is a script with id {id} already"));
    if store::scripts::get(&app.db, id).await?.is_some() {
        return Err(known());
    }
    let key = build::archive_key(id, &checked.package.digest);
    app.objects.put(&key, gz).await?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::scripts::insert(&mut tx, id, &checked.configuration.slug, owner, &upload(&checked.configuration), now)
        .await?
    {
        // Somebody else was faster; under an id that is taken the archive may be his.
        drop(tx);
        if store::scripts::get(&app.db, id).await?.is_some() {
            return Err(known());
        }
        app.objects.delete(&key).await?;
        return Err(taken());
    }
    add_version(&mut tx, id, owner, checked, &key, now).await?;
    let script =
        store::scripts::get_within(&mut tx, id).await?.ok_or_else(|| anyhow::anyhow!("the new script is not there"))?;
    store::audit::insert(&mut tx, &caller.did("script.uploaded", "script", &id), now).await?;
    tx.commit().await?;
    app.wake();
    Ok(script)
}

/// Publishes a new script from a `.tar.gz` archive. Administrators only; a superadmin may say its id, which clients may know.
#[utoipa::path(post, path = "/api/v1/script", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("id" = Option<String>, Query)), request_body(content = ArchiveForm, content_type = "multipart/form-data"),
    responses((status = 200, body = Data<super::ScriptView>), (status = 400, body = crate::api::ErrorBody), (status = 403, body = crate::api::ErrorBody)))]
pub async fn create(State(app): State<App>, user: User, query: Pairs, request: Request) -> Result<Json<Data<Value>>> {
    let plugin = is_plugin(request.headers());
    let bytes = file(request, user.is_admin()).await?;
    if !user.is_admin() {
        return Err(Error::Forbidden("Only admins and superadmins can create scripts".into()));
    }
    maintenance::refuse(&app).await?;
    let id = match query.get("id") {
        None => Id::random(),
        Some(_) if !user.is_superadmin() => {
            return Err(Error::Forbidden("Only superadmins can choose the id of a script".into()));
        }
        Some(text) => Id::parse(text).ok_or_else(|| {
            Error::invalid(format!(
                "id is {text:?}; it must be a UUID such as d022047b-0000-4000-8000-000000000001, or left out"
            ))
        })?,
    };
    let checked = check(&app, &bytes).await?;
    let script = register(&app, id, user.id, &user.caller, &checked, bytes).await?;
    Ok(data(one(&app, &user, &script, plugin, &Pairs::default()).await?))
}

/// Uploads a script again: a new version, which is built while the last good one stays runnable. Owner or administrator.
#[utoipa::path(patch, path = "/api/v1/script/{script}", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path)),
    request_body(content = ArchiveForm, content_type = "multipart/form-data"),
    responses((status = 200, body = Data<super::ScriptView>), (status = 400, body = crate::api::ErrorBody), (status = 403, body = crate::api::ErrorBody), (status = 404, body = crate::api::ErrorBody)))]
pub async fn update(
    State(app): State<App>,
    user: User,
    path: ScriptPath,
    request: Request,
) -> Result<Json<Data<Value>>> {
    // What is wrong with the form is said before what is wrong with the path.
    let found = find(&app, &user, &path).await;
    let may = found.as_ref().is_ok_and(|script| may_change(&user, script));
    let plugin = is_plugin(request.headers());
    let bytes = file(request, may).await?;
    let script = found?;
    if !may {
        return Err(Error::Forbidden("Operation not allowed to this user".into()));
    }
    guard(&app, &user, &script).await?;
    maintenance::refuse(&app).await?;
    let mut checked = check(&app, &bytes).await?;
    build::keep(&mut checked.configuration, &script);
    let key = build::archive_key(script.id, &checked.package.digest);
    app.objects.put(&key, bytes).await?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::scripts::update(&mut tx, script.id, &upload(&checked.configuration), now).await? {
        return Err(path.missing());
    }
    add_version(&mut tx, script.id, user.id, &checked, &key, now).await?;
    audit(&mut tx, &user, "script.uploaded", &script, now).await?;
    let script = store::scripts::get_within(&mut tx, script.id).await?.ok_or_else(|| path.missing())?;
    tx.commit().await?;
    app.wake();
    Ok(data(one(&app, &user, &script, plugin, &Pairs::default()).await?))
}
