//! Asks geoBoundaries for what is new, now and then and on one node, if the settings say where it is.

use chrono::TimeDelta;

use crate::{
    app::App,
    boundaries::refresh::refresh,
    clock::after,
    jobs::{
        REFRESH_BOUNDARIES,
        chores::{queue_if_due, until_lost},
    },
    store::{self, boundaries::RELEASES, jobs::Job},
};

/// Seconds after which a refresh that failed is tried again.
const AGAIN_S: u64 = 3_600;

/// Queues a refresh if it is time for one.
pub async fn schedule(app: &App) -> anyhow::Result<()> {
    let days = app.config.boundaries_refresh_days;
    if app.config.geoboundaries_url.is_none() || days == 0 || app.config.rehearse {
        return Ok(());
    }
    queue_if_due(app, REFRESH_BOUNDARIES, TimeDelta::days(days)).await
}

/// Drives the job until every release is as geoBoundaries has it.
pub async fn drive(app: &App, job: &Job) -> anyhow::Result<()> {
    let refreshed = tokio::select! {
        refreshed = all(app, job) => refreshed,
        () = until_lost(app, job) => return Ok(()),
        () = app.stop.cancelled() => return Ok(()),
    };
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::jobs::hold(&mut tx, job, after(now, app.config.lease_s)).await? {
        return Ok(());
    }
    match refreshed {
        Ok(()) => store::jobs::finish(&mut tx, job, None, now).await?,
        Err(error) => {
            let error = format!("{error:#}");
            tracing::warn!(error, "boundaries could not be refreshed; it is tried again in an hour");
            store::jobs::retry(&mut tx, job, &error, after(now, AGAIN_S)).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

async fn all(app: &App, job: &Job) -> anyhow::Result<()> {
    for release in RELEASES {
        let outcome = refresh(app, release, None, Some(job)).await?;
        tracing::info!(release, ?outcome, "boundaries are as geoBoundaries has them");
    }
    Ok(())
}
