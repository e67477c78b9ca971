//! A run is accepted: row, pinned version, event and job in one transaction, committed before the answer.

use serde_json::value::RawValue;
use sqlx::types::Json as SqlJson;

use super::{
    idempotency::{self, Key},
    inherited,
    order::Later,
    parameters,
    report::By,
    status::Status,
};
use crate::{
    app::App,
    auth::User,
    error::{Error, Result},
    store::{
        self, Id, Json,
        events::Event,
        executions::{Execution, NewExecution},
        jobs::NewJob,
        runs::NewRun,
        script_versions::Version,
        scripts::Script,
        users::Standing,
    },
};

/// What a caller asks for beside the parameters.
#[derive(Debug, Default)]
pub struct Wishes {
    /// The script as the caller named it, for answers.
    pub script: String,
    /// `X-TE-Script-Version`.
    pub version: Option<i32>,
    pub is_plugin_execution: bool,
    /// The name of the submit, if a repetition is to be recognised.
    pub key: Option<Key>,
    /// `X-TE-Callback-URL`, checked.
    pub callback_url: Option<String>,
    /// The execution that is run again.
    pub rerun_of: Option<Id>,
}

/// What came of a submit.
#[derive(Debug)]
pub struct Submitted {
    pub execution: Execution,
    /// The execution was made by an earlier submit of the same name.
    pub replayed: bool,
}

/// Accepts a run of a script that the caller may see.
pub async fn submit(app: &App, user: &User, script: &Script, params: &Json, wishes: &Wishes) -> Result<Submitted> {
    if matches!(script.compute_type.as_str(), "batch" | "openeo") && !app.config.engines.serves(&script.compute_type) {
        let kind = &script.compute_type;
        return Err(Error::invalid(format!(
            "Script {} needs the engine {kind}, which this server does not have.",
            script.slug
        )));
    }
    let version = version(app, script, wishes).await?;
    if version.has_schema
        && let Some(schema) = store::script_versions::schema(&app.db, version.id).await?
    {
        parameters::check(schema, params).await?;
    }
    // Before the transaction: parameters may be large, and on SQLite nobody else can write meanwhile.
    let key = match &wishes.key {
        Some(key) => Some((key, idempotency::fingerprint(script.id, wishes.version, params)?)),
        None => None,
    };
    let now = app.clock.now();
    let id = Id::random();
    let mut tx = app.db.begin().await?;
    if let Some((key, fingerprint)) = key
        && let Some(first) = idempotency::take(&mut tx, user.id, key, &fingerprint, id, now).await?
    {
        let execution = store::executions::find_within(&mut tx, first).await?;
        let execution = execution.ok_or_else(|| anyhow::anyhow!("the execution of a key is not there"))?;
        return Ok(Submitted { execution, replayed: true });
    }
    let most = app.config.max_waiting_per_user;
    let standing = store::users::standing(&mut tx, user.id, app.config.max_runs_per_user, most).await?;
    let Standing { slots, active, waiting } = standing;
    if waiting >= most {
        return Err(Error::Limited {
            detail: format!("{waiting} of your runs are waiting already; start more when some have begun."),
            code: "queue_full",
            retry_after: 60,
        });
    }
    let queued = slots.is_some_and(|slots| active + waiting >= slots);
    let new = NewExecution { id, script: script.id, user: user.id, params };
    store::executions::insert(&mut tx, &new, now).await.map_err(|error| {
        // The script was deleted since it was looked up.
        let gone = error.as_database_error().is_some_and(|e| e.is_foreign_key_violation());
        if gone { Error::not_found(format!("Script with id {} does not exist", wishes.script)) } else { error.into() }
    })?;
    if !wishes.is_plugin_execution {
        store::executions::insert_flag(&mut tx, id, false).await?;
    }
    let run = NewRun {
        execution: id,
        version: version.id,
        waiting_since: queued.then_some(now),
        rerun_of: wishes.rerun_of,
        callback_url: wishes.callback_url.as_deref(),
    };
    store::runs::insert(&mut tx, &run).await?;
    let by = By::new(user.actor(), "submitted");
    let event = Event {
        at: now,
        status_from: None,
        status_to: Status::Pending,
        actor: Some(by.actor),
        cause: by.cause.into(),
        message: None,
    };
    store::events::insert(&mut tx, id, &event).await?;
    let job = NewJob { kind: crate::jobs::RUN_EXECUTION, subject: id, unique_key: Some(format!("run:{id}")) };
    store::jobs::insert(&mut tx, &job, now).await?;
    tx.notify();
    tx.commit().await?;
    let wanted = app.config.engines.wanted(script.environment.as_deref(), &script.compute_type);
    app.board.accepted(id, Later { start_date: now, standing, wanted }).await;
    app.wake();
    tracing::info!(execution.id = %id, script.slug = script.slug, user.id = %user.id, "execution {id} is accepted");
    let execution = Execution {
        id,
        script_id: Some(script.id),
        user_id: Some(user.id),
        start_date: Some(now),
        end_date: None,
        status: Status::Pending,
        progress: Some(0),
        params: Some(params.clone()),
        results: Some(SqlJson(RawValue::from_string("{}".to_owned()).map_err(anyhow::Error::from)?)),
        queued_at: run.waiting_since,
        dispatched_at: None,
        deleted: Some(false),
        is_plugin_execution: Some(wishes.is_plugin_execution),
        results_key: None,
        failure: None,
        script_version: Some(version.number),
    };
    Ok(Submitted { execution, replayed: false })
}

/// The version that a run is pinned to: the one asked for, else the current one.
async fn version(app: &App, script: &Script, wishes: &Wishes) -> Result<Version> {
    if let Some(number) = wishes.version {
        return store::script_versions::numbered(&app.db, script.id, number)
            .await?
            .filter(|v| v.status == "SUCCESS")
            .ok_or_else(|| {
                Error::invalid_as(
                    "script_not_built",
                    format!("Version {number} of script {} is not built", script.slug),
                )
            });
    }
    let version = match store::script_versions::current(&app.db, script.id).await? {
        Some(version) => Some(version),
        None => inherited::version(app, script).await?,
    };
    version
        .ok_or_else(|| Error::invalid_as("script_not_built", format!("Script with id {} is not BUILT", wishes.script)))
}
