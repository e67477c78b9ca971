//! What any worker may do and no engine is needed for: letters, calls to callers, sweeping, statistics. It goes on where no
//! script can run.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::TimeDelta;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::{
    CANCEL_TASKS, Lease, REFRESH_BOUNDARIES, SEND_BULK_LETTER, SEND_BULK_MAIL, SEND_MAIL, SEND_WEBHOOK,
    SYNC_SUPPRESSIONS, cancel_tasks, fold_statistics, reconcile, refresh_boundaries, send_bulk_mail, send_mail,
    send_webhook, sweep_accounts, sweep_runs, sync_suppressions,
};
use crate::{
    app::App,
    clock::after,
    store::{
        self, Id,
        jobs::{Job, NewJob},
    },
};

/// What is taken on first: a mail to many keeps nobody else waiting.
const FIRST: [&str; 6] = [SEND_MAIL, SEND_WEBHOOK, CANCEL_TASKS, SEND_BULK_MAIL, SYNC_SUPPRESSIONS, REFRESH_BOUNDARIES];
const LAST: [&str; 1] = [SEND_BULK_LETTER];
/// Letters and calls that are sent at one time.
const AT_ONCE: usize = 4;
/// How often what is of no use is swept.
const SWEEP: Duration = Duration::from_secs(3_600);
/// How often runs that nobody drives are looked for.
const RECONCILE: Duration = Duration::from_secs(10);
/// How often days that are over are rolled up, and it is looked whether the numbers are to be checked.
const FOLD: Duration = Duration::from_secs(600);
/// How long it waits for a wake-up before it looks by itself.
const POLL: Duration = Duration::from_secs(1);

/// Works until the server stops.
pub async fn work(app: App) {
    let (worker, driven, room) = (Id::ordered(), TaskTracker::new(), Arc::new(Semaphore::new(AT_ONCE)));
    let mut woken = app.woken();
    let (mut swept, mut reconciled, mut folded): (Option<Instant>, Option<Instant>, Option<Instant>) =
        (None, None, None);
    while !app.stop.is_cancelled() {
        woken.mark_unchanged();
        if let Err(error) = round(&app, worker, &driven, &room).await {
            tracing::warn!(error = format!("{error:#}"), "the queue could not be read");
        }
        if reconciled.is_none_or(|at| at.elapsed() >= RECONCILE) {
            reconciled = Some(Instant::now());
            if let Err(error) = reconcile::reconcile(&app).await {
                tracing::warn!(error = format!("{error:#}"), "runs that nobody drives could not be looked for");
            }
        }
        if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
            swept = Some(Instant::now());
            if let Err(error) = sweep_accounts::sweep(&app).await {
                tracing::warn!(error = format!("{error:#}"), "what is of no use could not be swept");
            }
            if let Err(error) = sweep_runs::sweep(&app).await {
                tracing::warn!(error = format!("{error:#}"), "runs that have ended could not be swept");
            }
            if let Err(error) = refresh_boundaries::schedule(&app).await {
                tracing::warn!(error = format!("{error:#}"), "a refresh of boundaries could not be queued");
            }
            if let Err(error) = sync_suppressions::schedule(&app).await {
                tracing::warn!(error = format!("{error:#}"), "asking SparkPost could not be queued");
            }
        }
        if folded.is_none_or(|at| at.elapsed() >= FOLD) {
            let begun = Instant::now();
            match statistics(&app).await {
                // The rest of a long history comes in the next rounds, so that letters do not wait for it.
                Ok(more) => folded = (!more).then_some(begun),
                Err(error) => {
                    folded = Some(begun);
                    tracing::warn!(error = format!("{error:#}"), "statistics could not be rolled up");
                }
            }
        }
        tokio::select! {
            _ = woken.changed() => {}
            () = tokio::time::sleep(POLL) => {}
            () = app.stop.cancelled() => {}
        }
    }
    driven.close();
    driven.wait().await;
    if let Err(error) = store::jobs::release(&app.db, worker, app.clock.now()).await {
        tracing::warn!(error = %error, "leases could not be given back; they will pass");
    }
}

/// Rolls up, and checks what is rolled up. True if there is more to roll up.
async fn statistics(app: &App) -> anyhow::Result<bool> {
    if fold_statistics::fold(app).await? {
        return Ok(true);
    }
    fold_statistics::check(app).await?;
    Ok(false)
}

/// Queues a job of this kind if the last one was queued longer ago than `every`: on all nodes together once.
pub async fn queue_if_due(app: &App, kind: &'static str, every: TimeDelta) -> anyhow::Result<()> {
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if store::roll_up::begin(&mut tx, kind, now - every, now).await? {
        let job = NewJob { kind, subject: Id::ordered(), unique_key: Some(kind.to_owned()) };
        store::jobs::insert(&mut tx, &job, now).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Takes on whatever is due, as far as there is room.
async fn round(app: &App, worker: Id, driven: &TaskTracker, room: &Arc<Semaphore>) -> anyhow::Result<()> {
    while let Ok(seat) = room.clone().try_acquire_owned() {
        let (now, sent) = (app.clock.now(), Instant::now());
        let until = after(now, app.config.lease_s);
        let mut job = store::jobs::claim_anywhere(&app.db, &FIRST, worker, until, now).await?;
        if job.is_none() {
            job = store::jobs::claim_anywhere(&app.db, &LAST, worker, until, now).await?;
        }
        let Some(job) = job else { break };
        let mut lease = Lease::new(Duration::from_secs(app.config.lease_s));
        lease.renewed(sent);
        let app = app.clone();
        driven.spawn(async move {
            drive(&app, &job, lease).await;
            drop(seat);
            app.wake();
        });
    }
    Ok(())
}

async fn drive(app: &App, job: &Job, lease: Lease) {
    let driven = match job.kind.as_str() {
        SEND_MAIL | SEND_BULK_LETTER => send_mail::drive(app, job, lease).await,
        CANCEL_TASKS => cancel_tasks::drive(app, job, lease).await,
        SEND_BULK_MAIL => send_bulk_mail::drive(app, job).await,
        SYNC_SUPPRESSIONS => sync_suppressions::drive(app, job).await,
        REFRESH_BOUNDARIES => refresh_boundaries::drive(app, job).await,
        _ => send_webhook::drive(app, job, lease).await,
    };
    if let Err(error) = driven {
        // The lease passes, and the job is claimed again.
        tracing::warn!(kind = job.kind, error = format!("{error:#}"), "a chore was given up for now");
    }
}

/// Renews the lease of a job that takes longer than one; ends when it is lost.
pub async fn until_lost(app: &App, job: &Job) {
    loop {
        tokio::time::sleep(Duration::from_secs(app.config.heartbeat_s)).await;
        let until = after(app.clock.now(), app.config.lease_s);
        if let Ok(None) = store::jobs::heartbeat(&app.db, job, until).await {
            return;
        }
    }
}
