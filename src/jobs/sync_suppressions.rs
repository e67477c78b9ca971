//! Asks SparkPost who wants no more mails to many, or complained, or has no mailbox, and switches them off for those accounts
//! (contract/content-admin.md 3.2).

use std::time::Duration;

use anyhow::Context;
use chrono::TimeDelta;
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::{
    SYNC_SUPPRESSIONS,
    chores::{queue_if_due, until_lost},
};
use crate::{
    app::App,
    clock::after,
    store::{self, Time, jobs::Job},
};

const EVERY: TimeDelta = TimeDelta::hours(4);
/// How far back events are asked for.
const BACK: TimeDelta = TimeDelta::hours(24);
const PATIENCE: Duration = Duration::from_secs(30);
/// Pages of events at most.
const PAGES: usize = 1_000;
/// Seconds after which it is tried again.
const AGAIN_S: u64 = 1_800;

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    results: Vec<Event>,
    #[serde(default)]
    links: Links,
}

#[derive(Deserialize, Default)]
struct Links {
    next: Option<String>,
}

#[derive(Deserialize)]
struct Event {
    rcpt_to: Option<String>,
}

/// Queues it if it is time and mail goes by SparkPost.
pub async fn schedule(app: &App) -> anyhow::Result<()> {
    if app.config.sparkpost_key.is_none() || app.config.smtp_url.is_some() || app.config.rehearse {
        return Ok(());
    }
    queue_if_due(app, SYNC_SUPPRESSIONS, EVERY).await
}

/// Drives the job.
pub async fn drive(app: &App, job: &Job) -> anyhow::Result<()> {
    let addresses = tokio::select! {
        addresses = suppressed(app) => addresses,
        () = until_lost(app, job) => return Ok(()),
        () = app.stop.cancelled() => return Ok(()),
    };
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::jobs::hold(&mut tx, job, after(now, app.config.lease_s)).await? {
        return Ok(());
    }
    match addresses {
        Ok(addresses) => {
            let mut changed = 0;
            for address in &addresses {
                changed += store::users::suppress(&mut tx, address, now).await?;
            }
            tracing::info!(events = addresses.len(), changed, "who wants no more mails is known");
            store::jobs::finish(&mut tx, job, None, now).await?;
        }
        Err(error) => {
            let error = format!("{error:#}");
            tracing::warn!(error, "SparkPost could not be asked who wants no more mails");
            store::jobs::retry(&mut tx, job, &error, after(now, AGAIN_S)).await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// The addresses of a day's events that mean no more mails.
async fn suppressed(app: &App) -> anyhow::Result<Vec<String>> {
    let key = app.config.sparkpost_key.as_ref().context("SPARKPOST_API_KEY is not set")?;
    let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let base = &app.config.sparkpost_url;
    let from: Time = app.clock.now() - BACK;
    let from = from.format("%Y-%m-%dT%H:%M:%SZ");
    let ask = |events: &str| format!("{base}/api/v1/events/message?{events}&from={from}&per_page=1000");
    let mut next = vec![
        ask("events=list_unsubscribe,link_unsubscribe,spam_complaint"),
        ask("events=bounce,out_of_band&bounce_classes=10"),
    ];
    let mut addresses = Vec::new();
    for _ in 0..PAGES {
        let Some(url) = next.pop() else { break };
        let answer = http.get(url).header("authorization", key.expose_secret()).send().await;
        let answer = answer.map_err(reqwest::Error::without_url)?;
        anyhow::ensure!(answer.status().is_success(), "it answered {}", answer.status());
        let page: Page = answer.json().await.map_err(reqwest::Error::without_url)?;
        addresses.extend(page.results.into_iter().filter_map(|event| event.rcpt_to));
        // Only a path: the key is for nobody else.
        next.extend(page.links.next.filter(|path| path.starts_with("/api/")).map(|path| format!("{base}{path}")));
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}
