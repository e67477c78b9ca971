//! Writes the letters of a mail to many, some at a time, and says when all of them have been sent or tried. How far it is stands
//! in the job, and each account has one letter of a mail, whatever is written twice.

use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    clock::after,
    mail::{bulk::Mail, recipients},
    store::{self, Id, Json, Tx, bulk_emails::BulkEmail, jobs::Job, users::Profile},
};

/// Accounts that are written to at one time.
const BATCH: i64 = 100;
/// Letters that wait to be sent at most, so that the database does not hold the words of all of them.
const MOST_WAITING: i64 = 400;

/// How far the job is.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
struct Place {
    /// The last account that was written to.
    #[serde(default)]
    after: Option<Id>,
    #[serde(default)]
    all_written: bool,
}

/// Writes the next letters, or ends the job.
pub async fn drive(app: &App, job: &Job) -> anyhow::Result<()> {
    let mut place: Place = serde_json::from_str(job.payload.get()).unwrap_or_default();
    let mail = store::bulk_emails::find(&app.db, job.subject_id).await?.filter(|mail| mail.status == "SENDING");
    let people = match &mail {
        Some(mail) if !place.all_written => next(app, mail, place.after).await?,
        _ => Vec::new(),
    };
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::jobs::hold(&mut tx, job, after(now, app.config.lease_s)).await? {
        return Ok(());
    }
    let Some(mail) = mail else {
        store::jobs::finish(&mut tx, job, None, now).await?;
        return Ok(tx.commit().await?);
    };
    let progress = store::mail_outbox::progress(&mut tx, mail.id).await?;
    if place.all_written && progress.waiting == 0 {
        let status = if progress.sent > 0 { "SENT" } else { "FAILED" };
        if progress.sent == 0 {
            store::mail_outbox::give_up(&mut tx, mail.id).await?;
        }
        store::bulk_emails::end(&mut tx, mail.id, status, progress.letters, now).await?;
        tracing::info!(mail.id = %mail.id, status, letters = progress.letters, sent = progress.sent, "a mail to many is done");
        store::jobs::finish(&mut tx, job, None, now).await?;
        return Ok(tx.commit().await?);
    }
    let room = progress.waiting + BATCH <= MOST_WAITING;
    if room && !place.all_written {
        write(&mut tx, app, &mail, &people).await?;
        place.all_written = i64::try_from(people.len()).unwrap_or(BATCH) < BATCH;
        place.after = people.last().map_or(place.after, |person| Some(person.id));
        let payload = serde_json::value::to_raw_value(&place)?;
        store::jobs::set_payload(&mut tx, job, &sqlx::types::Json(payload) as &Json).await?;
    }
    let goes_on = room && !place.all_written;
    let run_at = if goes_on { now } else { after(now, 1) };
    store::jobs::retry(&mut tx, job, "letters are being sent", run_at).await?;
    tx.commit().await?;
    Ok(())
}

/// The accounts that come next.
async fn next(app: &App, mail: &BulkEmail, last: Option<Id>) -> anyhow::Result<Vec<Profile>> {
    let Some(list) = mail.recipient_list_id else { return Ok(Vec::new()) };
    let Some(list) = store::bulk_email_recipient_lists::find(&app.db, list).await? else { return Ok(Vec::new()) };
    let search = recipients::subscribed(list.filter_criteria.get(), mail.subscription_type.as_deref());
    let search = search.map_err(|error| anyhow::anyhow!("the criteria of the list are not understood: {error:?}"))?;
    Ok(store::users::search(&app.db, &recipients::after(search, last), (BATCH, 0)).await?)
}

async fn write(tx: &mut Tx, app: &App, mail: &BulkEmail, people: &[Profile]) -> anyhow::Result<()> {
    let (mail, now) = (Mail::of(mail), app.clock.now());
    for person in people {
        mail.post(tx, app, person, now).await?;
    }
    Ok(())
}
