//! Asks geoBoundaries for what is new, now and then and on one node, if the settings say where it is.

use std::time::Duration;

use chrono::TimeDelta;

use crate::{
    app::App,
    boundaries::refresh::refresh,
    clock::after,
    jobs::REFRESH_BOUNDARIES,
    store::{
        self, Id,
        boundaries::RELEASES,
        jobs::{Job, NewJob},
        roll_up,
    },
};

/// Seconds after which a refresh that failed is tried again.
const AGAIN_S: u64 = 3_600;

/// Queues a refresh if it is time for one.
pub async fn schedule(app: &App) -> anyhow::Result<()> {
    let days = app.config.boundaries_refresh_days;
    if app.config.geoboundaries_url.is_none() || days == 0 || app.config.rehearse {
        return Ok(());
    }
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if roll_up::begin(&mut tx, REFRESH_BOUNDARIES, now - TimeDelta::days(days), now).await? {
        let unique_key = Some(REFRESH_BOUNDARIES.to_owned());
        store::jobs::insert(&mut tx, &NewJob { kind: REFRESH_BOUNDARIES, subject: Id::ordered(), unique_key }, now)
            .await?;
    }
    tx.commit().await?;
    Ok(())
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

/// Renews the lease while files are fetched; ends when it is lost.
async fn until_lost(app: &App, job: &Job) {
    loop {
        tokio::time::sleep(Duration::from_secs(app.config.heartbeat_s)).await;
        let until = after(app.clock.now(), app.config.lease_s);
        if let Ok(None) = store::jobs::heartbeat(&app.db, job, until).await {
            return;
        }
    }
}
