//! Calls the address that the caller of a run gave, once the run has ended. Who does not answer with 2xx is called again, ever
//! later, for a day; a redirect is no answer.

use std::time::Duration;

use secrecy::ExposeSecret;
use url::Url;

use super::{Lease, WAITS};
use crate::{
    api::executions,
    app::App,
    clock::after,
    execution::webhook,
    outside::{self, PATIENCE},
    store::{self, jobs::Job, webhook_deliveries::Delivery},
};

/// Drives the job until the call is made, postponed or given up.
pub async fn drive(app: &App, job: &Job, lease: Lease) -> anyhow::Result<()> {
    let delivery = store::webhook_deliveries::due(&app.db, job.subject_id).await?;
    let answer = match &delivery {
        None => None,
        Some(delivery) => call(app, delivery).await?,
    };
    if lease.has_passed() {
        return Ok(());
    }
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::jobs::hold(&mut tx, job, after(now, app.config.lease_s)).await? {
        return Ok(());
    }
    let delivered = answer.is_some_and(|status| (200..300).contains(&status));
    let attempt = delivery.as_ref().map_or(0, |delivery| usize::try_from(delivery.attempts).unwrap_or(0));
    let next = WAITS.get(attempt).filter(|_| !delivered).map(|minutes| after(now, minutes * 60));
    let error = match answer {
        Some(status) => format!("status {status}"),
        None => "no answer".to_owned(),
    };
    if let Some(delivery) = &delivery {
        let status = answer.map(i32::from);
        store::webhook_deliveries::attempted(&mut tx, delivery.id, status, delivered.then_some(now), next).await?;
    }
    match next {
        _ if delivery.is_none() || delivered => store::jobs::finish(&mut tx, job, None, now).await?,
        Some(next) => store::jobs::retry(&mut tx, job, &error, next).await?,
        None => store::jobs::finish(&mut tx, job, Some(&error), now).await?,
    }
    tx.commit().await?;
    Ok(())
}

/// The status of the answer; `None` without one.
async fn call(app: &App, delivery: &Delivery) -> anyhow::Result<Option<u16>> {
    let url = Url::parse(&delivery.url)?;
    if webhook::literal(&url).is_some_and(|address| !webhook::may_call(app, address)) {
        return Ok(None);
    }
    // Nobody is told of what nobody owns.
    let Some(user) = delivery.user_id else { return Ok(None) };
    let Some(data) = executions::for_webhook(app, delivery.execution_id).await? else { return Ok(None) };
    let now = app.clock.now();
    let body = serde_json::to_string(&serde_json::json!({
        "event": delivery.event, "id": delivery.id, "sent_at": now, "data": data,
    }))?;
    let secret = app.tokens.webhook_secret(user);
    let signature = webhook::signature(secret.expose_secret(), now.and_utc().timestamp(), &body);
    // A client for each call: nothing of one caller's connection is left for another's.
    let patience = PATIENCE.min(Duration::from_secs(app.config.lease_s).mul_f64(0.8));
    let client = outside::checked(app, patience)?;
    let request = client.post(url).header("content-type", "application/json").header("x-te-signature", signature);
    match request.body(body).send().await {
        Ok(answer) => Ok(Some(answer.status().as_u16())),
        Err(error) => {
            tracing::info!(webhook.id = %delivery.id, error = %error.without_url(), "an address did not answer");
            Ok(None)
        }
    }
}
