//! Unfinished runs of the existing server become ours, once its workers are stopped: what waits there waits here, and what had
//! been started by it has no unit that this server could find, so its end is told as far as it is known.

use std::collections::BTreeMap;

use super::{
    failure::{Class, Failure},
    report::{self, By, Report},
    status::Status,
};
use crate::{
    app::App,
    jobs,
    store::{
        self, Id,
        events::Event,
        jobs::NewJob,
        runs::{self, Foreign},
    },
};

/// Runs that are looked at in one go.
const BATCH: i64 = 500;

/// What became of them.
#[derive(Debug, Default)]
pub struct Adopted {
    /// They wait for a worker of ours.
    pub waiting: u64,
    /// They had been started, and are FAILED.
    pub failed: u64,
    /// They were to be cancelled, and are.
    pub cancelled: u64,
    /// They wait, but this server has no version of their script that it could run: they stay as they are. By script.
    pub left: BTreeMap<String, u64>,
}

/// Who did it, in histories.
const ACTOR: &str = "migrate";

/// Takes all of them over, each in a transaction of its own.
pub async fn adopt(app: &App) -> anyhow::Result<Adopted> {
    let mut adopted = Adopted::default();
    let mut after = Id(uuid::Uuid::nil());
    loop {
        let some = runs::foreign(&app.db, after, BATCH).await?;
        let Some(last) = some.last() else { break };
        after = last.execution;
        for run in &some {
            if run.status == Status::Pending {
                wait(app, run, &mut adopted).await?
            } else {
                end(app, run, &mut adopted).await?
            }
        }
    }
    app.wake();
    Ok(adopted)
}

/// A run that has not begun gets a version and a job, like one that was submitted here.
async fn wait(app: &App, run: &Foreign, adopted: &mut Adopted) -> anyhow::Result<()> {
    let version = match run.script {
        Some(script) => store::script_versions::current(&app.db, script).await?,
        None => None,
    };
    let Some(version) = version else {
        *adopted.left.entry(run.slug.clone().unwrap_or_else(|| "no script".into())).or_default() += 1;
        return Ok(());
    };
    let (id, now) = (run.execution, app.clock.now());
    let mut tx = app.db.begin().await?;
    let job = NewJob { kind: jobs::RUN_EXECUTION, subject: id, unique_key: Some(format!("run:{id}")) };
    store::jobs::insert(&mut tx, &job, now).await?;
    if store::executions::lock(&mut tx, id).await? != Some(Status::Pending)
        || !runs::take_over(&mut tx, id, Some(version.id)).await?
    {
        return Ok(());
    }
    let event = Event {
        at: now,
        status_from: Some(Status::Pending),
        status_to: Status::Pending,
        actor: Some(ACTOR.into()),
        cause: "administrative".into(),
        message: Some("Taken over from the server that was here before.".into()),
    };
    store::events::insert(&mut tx, id, &event).await?;
    tx.notify();
    tx.commit().await?;
    adopted.waiting += 1;
    Ok(())
}

/// A run that was started by the other server ends: nobody here can find its unit, or start it without starting it twice.
async fn end(app: &App, run: &Foreign, adopted: &mut Adopted) -> anyhow::Result<()> {
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let Some(status) = store::executions::lock(&mut tx, run.execution).await?.filter(|status| !status.is_terminal())
    else {
        return Ok(());
    };
    if !runs::take_over(&mut tx, run.execution, None).await? {
        return Ok(());
    }
    let (to, failure, count) = match status {
        Status::Cancelling => (Status::Cancelled, None, &mut adopted.cancelled),
        _ => {
            let message = "The run was started by the server that was here before; this one cannot follow it, so how it ended is not known.";
            (Status::Failed, Some(Failure::new(Class::Infrastructure, message)), &mut adopted.failed)
        }
    };
    let report = Report { status: Some(to), failure, ..Report::default() };
    report::apply(&mut tx, app, run.execution, &report, &By::new(ACTOR, "administrative"), now).await?;
    tx.commit().await?;
    *count += 1;
    Ok(())
}
