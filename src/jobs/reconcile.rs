//! Runs of ours that are open and that nobody drives: their job is gone, or was never written. Each gets a job again, which any
//! worker of its place may take; without a trace of its unit it ends as lost. Runs of the existing server are not ours to judge.

use crate::{app::App, execution::status::Status, store};

/// Runs that are looked after at one time.
const BATCH: i64 = 100;

/// Gives jobs to those who have none.
pub async fn reconcile(app: &App) -> anyhow::Result<()> {
    let stray = store::runs::without_job(&app.db, BATCH).await?;
    if stray.is_empty() {
        return Ok(());
    }
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    for (execution, scope) in stray {
        let Some(status) = store::executions::lock(&mut tx, execution).await?.filter(|s| !s.is_terminal()) else {
            continue;
        };
        tracing::warn!(execution.id = %execution, %status, "a run that nobody drove gets a worker again");
        // A run that has begun is claimed like one whose worker is lost.
        let place = scope.as_deref().filter(|_| status != Status::Pending);
        store::jobs::insert_again(&mut tx, execution, place, now).await?;
    }
    tx.notify().await?;
    tx.commit().await?;
    app.wake();
    Ok(())
}
