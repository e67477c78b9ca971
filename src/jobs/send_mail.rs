//! Sends one letter of the outbox. Who cannot be reached is tried again, ever later, for a day.

use std::time::Duration;

use super::{Lease, WAITS};
use crate::{
    app::App,
    clock::after,
    mail::NotSent,
    store::{self, jobs::Job},
};

/// Drives the job until the letter is sent, postponed or given up.
pub async fn drive(app: &App, job: &Job, lease: Lease) -> anyhow::Result<()> {
    let sent = match store::mail_outbox::outgoing(&app.db, job.subject_id).await? {
        None => None,
        Some(mail) => {
            // A server that hangs must not outlast the lease: somebody else would send it a second time.
            let patience = Duration::from_secs(app.config.lease_s).mul_f64(0.8);
            let sending = tokio::time::timeout(patience, app.mailer.send(&mail));
            let result = sending.await.unwrap_or_else(|_| Err(NotSent("the mail server does not answer".into())));
            Some((mail, result))
        }
    };
    if lease.has_passed() {
        return Ok(());
    }
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::jobs::hold(&mut tx, job, after(now, app.config.lease_s)).await? {
        return Ok(());
    }
    match sent {
        // It is gone with its person, or was sent already.
        None => store::jobs::finish(&mut tx, job, None, now).await?,
        Some((mail, Ok(()))) => {
            store::mail_outbox::close(&mut tx, mail.id, None, now).await?;
            store::jobs::finish(&mut tx, job, None, now).await?;
        }
        Some((mail, Err(NotSent(error)))) => {
            let attempt = usize::try_from(mail.attempts).unwrap_or(0);
            tracing::warn!(mail.id = %mail.id, attempt = attempt + 1, error, "a mail could not be sent");
            match WAITS.get(attempt) {
                Some(minutes) => {
                    let next = after(now, minutes * 60);
                    store::mail_outbox::postpone(&mut tx, mail.id, &error, next).await?;
                    store::jobs::retry(&mut tx, job, &error, next).await?;
                }
                None => {
                    store::mail_outbox::close(&mut tx, mail.id, Some(&error), now).await?;
                    store::jobs::finish(&mut tx, job, Some(&error), now).await?;
                }
            }
        }
    }
    tx.commit().await?;
    Ok(())
}
