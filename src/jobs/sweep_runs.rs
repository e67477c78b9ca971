//! What is kept of runs of ours that have ended, and for how long: logs and results as the settings say, and the queue's own rows
//! for a week. In small batches, by any worker, every hour. Runs of the existing server are left as they are.

use chrono::TimeDelta;

use crate::{app::App, clock::before, execution::results, store};

/// Executions, or rows, of one step.
const BATCH: i64 = 200;
/// Log lines that go in one statement.
const LINES: i64 = 5_000;
const DAY_S: u64 = 86_400;

/// Removes what has been kept long enough.
pub async fn sweep(app: &App) -> anyhow::Result<()> {
    let now = app.clock.now();
    if app.config.logs_days > 0 {
        logs(app, before(now, app.config.logs_days * DAY_S)).await?;
    }
    if app.config.results_days > 0 {
        expire(app, before(now, app.config.results_days * DAY_S)).await?;
    }
    let week = now - TimeDelta::days(7);
    let kinds = [(store::sweep::ENDED_JOBS, week), (store::sweep::MADE_CALLS, now - TimeDelta::days(30))];
    for (kind, before) in kinds {
        while store::sweep::batch(&app.db, kind, before, BATCH).await? == BATCH.unsigned_abs() {
            if app.stop.is_cancelled() {
                return Ok(());
            }
        }
    }
    Ok(store::sweep::workers(&app.db, week).await?)
}

async fn logs(app: &App, ended_before: store::Time) -> anyhow::Result<()> {
    loop {
        let executions = store::sweep::with_logs(&app.db, ended_before, BATCH).await?;
        for execution in &executions {
            while store::sweep::drop_logs(&app.db, *execution, LINES).await? == LINES.unsigned_abs() {
                if app.stop.is_cancelled() {
                    return Ok(());
                }
            }
            store::sweep::note_no_logs(&app.db, *execution).await?;
        }
        if executions.is_empty() || app.stop.is_cancelled() {
            return Ok(());
        }
    }
}

async fn expire(app: &App, ended_before: store::Time) -> anyhow::Result<()> {
    loop {
        let executions = store::sweep::with_results(&app.db, ended_before, results::EXPIRED, BATCH).await?;
        for execution in &executions {
            // First the row: who asks meanwhile hears that they are gone, and never half of them.
            store::sweep::drop_results(&app.db, *execution, results::EXPIRED).await?;
            app.objects.delete_under(&results::folder(*execution)).await?;
        }
        if executions.is_empty() || app.stop.is_cancelled() {
            return Ok(());
        }
    }
}
