//! Runs of ours that are open and that nobody drives: their job is gone, or was never written. Each gets a job again, which any
//! worker of its place may take; without a trace of its unit it ends as lost. Runs of the existing server are not ours to judge.

use crate::{app::App, execution::status::Status, store};

/// Runs that are looked after at one time.
const BATCH: i64 = 100;

/// Gives jobs to those who have none.
pub async fn reconcile(app: &App) -> anyhow::Result<()> {
    let stray = store::runs::without_job(&app.db, BATCH).await?;
    for (execution, status, scope) in stray {
        let now = app.clock.now();
        let mut tx = app.db.begin().await?;
        // A run that has begun is claimed like one whose worker is lost. The job comes before the lock, as everywhere.
        let place = scope.as_deref().filter(|_| status != Status::Pending);
        store::jobs::insert_again(&mut tx, execution, place, now).await?;
        if store::executions::lock(&mut tx, execution).await? != Some(status) {
            // It has moved on since it was looked at; the next look will tell.
            continue;
        }
        tracing::warn!(execution.id = %execution, %status, "a run that nobody drove gets a worker again");
        tx.notify();
        tx.commit().await?;
        app.wake();
    }
    Ok(())
}
