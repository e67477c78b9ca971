//! A waiting run is given to a worker: job, state, place, attempt and credential in one transaction, before the engine
//! is called. Only the worker whose transaction wrote READY starts the unit.

use secrecy::SecretString;

use super::{
    order,
    report::{self, By},
    status::Status,
};
use crate::{
    app::App,
    auth::tokens,
    config::engines::EngineSetting,
    store::{
        self, Id, Time, Tx,
        executions::Change,
        jobs::{Claim, Free, Job, Waiting},
    },
};

/// What a worker has taken on.
#[derive(Debug)]
pub enum Taken {
    /// A run that is READY: the unit is to be started.
    Run { job: Job, attempt: i32, credential: SecretString, cpu_nanos: i64, memory_bytes: i64 },
    /// A run that was to be cancelled while it waited: it has been.
    Cancelled,
}

/// Takes the next run that this engine takes and that fits into what is free, if there is one. `Ok(None)` with nothing to do; another worker
/// that was faster is no error: the next run is tried.
pub async fn next(app: &App, kind: EngineSetting, claim: &Claim<'_>, free: Free) -> anyhow::Result<Option<Taken>> {
    let mut order = order::current(app).await?;
    let mut is_last = order.is_new();
    loop {
        let Some(waiting) = order.next(&app.config.engines, kind, free, claim.now) else {
            if is_last {
                return Ok(None);
            }
            // What ended or came since the reading may have made room for another one.
            order = order::after(app, &order).await?;
            is_last = true;
            continue;
        };
        let mut tx = app.db.begin().await?;
        if let Some(taken) = take(app, &mut tx, &waiting, claim).await? {
            tx.commit().await?;
            return Ok(Some(taken));
        }
    }
}

async fn take(app: &App, tx: &mut Tx, waiting: &Waiting, claim: &Claim<'_>) -> anyhow::Result<Option<Taken>> {
    let slots = store::users::lock_slots(tx, waiting.user, app.config.max_runs_per_user).await?;
    if let (Status::Pending, Some(slots)) = (waiting.status, slots)
        && store::executions::active(tx, waiting.user, slots).await? >= slots
    {
        // Another worker gave out his last slot since we looked.
        return Ok(None);
    }
    // Only now: it has waited for the lock, and a history must not tell of a run that began before the one that made room for it.
    let now = app.clock.now();
    let Some(job) = store::jobs::take(tx, waiting.job, claim).await? else { return Ok(None) };
    let Some(status) = store::executions::lock(tx, waiting.execution).await? else {
        store::jobs::finish(tx, &job, None, now).await?;
        return Ok(Some(Taken::Cancelled));
    };
    let actor = actor(claim.worker);
    match status {
        Status::Pending => {}
        Status::Cancelling => {
            report::apply(
                tx,
                app,
                waiting.execution,
                &report::Report { status: Some(Status::Cancelled), ..Default::default() },
                &By::new(actor, "cancelled"),
                now,
            )
            .await?;
            store::jobs::finish(tx, &job, None, now).await?;
            return Ok(Some(Taken::Cancelled));
        }
        // Somebody reported for it already, or ended it: there is nothing to start.
        _ => {
            store::jobs::finish(tx, &job, None, now).await?;
            return Ok(Some(Taken::Cancelled));
        }
    }
    let (attempt, credential) = self::attempt(tx, waiting.execution, claim.scope, now).await?;
    let by = By { actor, cause: "dispatched", message: Some(format!("attempt {attempt} on {}", claim.scope)) };
    report::advance(tx, waiting.execution, &Change::to(status, Status::Ready), &by, now).await?;
    Ok(Some(Taken::Run {
        job,
        attempt,
        credential,
        cpu_nanos: waiting.cpu_reservation,
        memory_bytes: waiting.memory_reservation,
    }))
}

/// Gives a run a place, a new attempt and a new credential; words of an earlier attempt change nothing from now on.
pub async fn attempt(tx: &mut Tx, execution: Id, scope: &str, now: Time) -> anyhow::Result<(i32, SecretString)> {
    let attempt = store::runs::dispatch(tx, execution, scope, now).await?;
    let credential = tokens::random(32);
    store::credentials::replace(tx, execution, attempt, &tokens::digest(&credential)).await?;
    Ok((attempt, SecretString::from(credential)))
}

/// How events name a worker.
pub fn actor(worker: Id) -> String {
    format!("worker:{worker}")
}
