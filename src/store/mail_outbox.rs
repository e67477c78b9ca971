//! Table `mail_outbox`: letters that are to be sent, and that were. Their words go once they are sent: they may hold a link.

use super::{Db, Id, Time, Tx};
use crate::{reading, within};

/// A letter to be written. There is one at most for each event of a subject.
pub struct NewMail<'a> {
    pub subject_id: Id,
    pub event: &'a str,
    pub recipient: &'a str,
    pub subject: &'a str,
    pub text: &'a str,
    pub html: Option<&'a str>,
}

/// A letter to be sent.
#[derive(Debug, sqlx::FromRow)]
pub struct Outgoing {
    pub id: Id,
    pub recipient: String,
    pub subject: String,
    pub text: String,
    pub html: Option<String>,
    pub attempts: i32,
    pub created_at: Time,
    /// Of a mail to many: who it comes from, and where one unsubscribes.
    pub sender: Option<String>,
    pub unsubscribe_url: Option<String>,
}

/// A letter of a mail to many: one for each account.
pub struct BulkLetter<'a> {
    pub mail: NewMail<'a>,
    pub sender: &'a str,
    pub unsubscribe_url: &'a str,
}

/// How far a mail to many is.
#[derive(Debug, sqlx::FromRow)]
pub struct Progress {
    /// Letters in all.
    pub letters: i64,
    pub sent: i64,
    /// Those that nobody has tried to send yet.
    pub waiting: i64,
}

/// What a letter about the end of an execution tells.
#[derive(Debug, sqlx::FromRow)]
pub struct Ended {
    pub user_id: Id,
    pub email: String,
    pub name: String,
    /// Whether the owner wants to hear of it.
    pub wanted: bool,
    pub script: String,
    pub task: Option<String>,
    pub start_date: Option<Time>,
    pub end_date: Option<Time>,
}

/// Stores a letter, which is sent at `send_at`, without it never; false if there was one of this event already. A subject is
/// one line.
pub async fn insert(tx: &mut Tx, id: Id, new: &NewMail<'_>, send_at: Option<Time>, now: Time) -> sqlx::Result<bool> {
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    within!(tx, |on| sqlx::query(
        "INSERT INTO mail_outbox (id, subject_id, event, recipient, subject, text, html, attempts, next_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $9) ON CONFLICT (subject_id, event) DO NOTHING"
    )
    .bind(id)
    .bind(new.subject_id)
    .bind(new.event)
    .bind(new.recipient)
    .bind(clean(new.subject).replace(['\r', '\n'], " "))
    .bind(clean(new.text))
    .bind(new.html.map(clean))
    .bind(send_at)
    .bind(now)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1))
}

/// Stores a letter of a mail to many, and gives its id; `None` if the account has it, or will have it, already. One that was
/// given up comes back.
pub async fn insert_bulk(tx: &mut Tx, new: &BulkLetter<'_>, now: Time) -> sqlx::Result<Option<Id>> {
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    within!(tx, |on| {
        sqlx::query_scalar(
        "INSERT INTO mail_outbox (id, subject_id, event, recipient, subject, text, html, sender, unsubscribe_url, attempts, next_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, $10)
         ON CONFLICT (subject_id, event) DO UPDATE SET recipient = EXCLUDED.recipient, subject = EXCLUDED.subject,
             text = EXCLUDED.text, html = EXCLUDED.html, unsubscribe_url = EXCLUDED.unsubscribe_url, attempts = 0,
             next_at = EXCLUDED.next_at
         WHERE mail_outbox.sent_at IS NULL AND mail_outbox.next_at IS NULL
         RETURNING id"
    )
    .bind(Id::ordered())
    .bind(new.mail.subject_id)
    .bind(new.mail.event)
    .bind(new.mail.recipient)
    .bind(clean(new.mail.subject).replace(['\r', '\n'], " "))
    .bind(clean(new.mail.text))
    .bind(new.mail.html.map(clean))
    .bind(new.sender)
    .bind(new.unsubscribe_url)
    .bind(now)
    .fetch_optional(on)
    .await
    })
}

/// How far a mail to many is.
pub async fn progress(tx: &mut Tx, subject: Id) -> sqlx::Result<Progress> {
    within!(tx, |on| sqlx::query_as(
        "SELECT count(*) AS letters, count(sent_at) AS sent,
             COALESCE(SUM(CASE WHEN next_at IS NOT NULL AND attempts = 0 THEN 1 ELSE 0 END), 0) AS waiting
         FROM mail_outbox WHERE subject_id = $1"
    )
    .bind(subject)
    .fetch_one(on)
    .await)
}

/// Gives up whatever of a mail to many was not sent.
pub async fn give_up(tx: &mut Tx, subject: Id) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "UPDATE mail_outbox SET text = '', html = NULL, unsubscribe_url = NULL, next_at = NULL
         WHERE subject_id = $1 AND sent_at IS NULL"
    )
    .bind(subject)
    .execute(on)
    .await
    .map(drop))
}

/// The letter, if it is still to be sent.
pub async fn outgoing(db: &Db, id: Id) -> sqlx::Result<Option<Outgoing>> {
    reading!(db, |on| {
        sqlx::query_as(
            "SELECT id, recipient, subject, text, html, attempts, created_at, sender, unsubscribe_url FROM mail_outbox
         WHERE id = $1 AND next_at IS NOT NULL",
        )
        .bind(id)
        .fetch_optional(on)
        .await
    })
}

/// Notes that it was sent, or, with an error, that it is given up; its words go.
pub async fn close(tx: &mut Tx, id: Id, error: Option<&str>, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        "UPDATE mail_outbox SET text = '', html = NULL, unsubscribe_url = NULL, next_at = NULL, attempts = attempts + 1, last_error = $2,
             sent_at = CASE WHEN $2 IS NULL THEN $3 END WHERE id = $1"
    )
    .bind(id)
    .bind(error)
    .bind(now)
    .execute(on)
    .await
    .map(drop)
    })
}

/// Notes that it could not be sent, and when it is tried again.
pub async fn postpone(tx: &mut Tx, id: Id, error: &str, next_at: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "UPDATE mail_outbox SET attempts = attempts + 1, last_error = $2, next_at = $3 WHERE id = $1"
    )
    .bind(id)
    .bind(error)
    .bind(next_at)
    .execute(on)
    .await
    .map(drop))
}

/// Letters with a link to set a password that an address was written since then.
pub async fn links_since(tx: &mut Tx, recipient: &str, since: Time) -> sqlx::Result<i64> {
    within!(tx, |on| sqlx::query_scalar(
        "SELECT count(*) FROM mail_outbox WHERE recipient = $1 AND created_at > $2
             AND (event LIKE 'welcome:%' OR event LIKE 'recovery:%')"
    )
    .bind(recipient)
    .bind(since)
    .fetch_one(on)
    .await)
}

/// What is to be told of an execution that has ended.
pub async fn ended(tx: &mut Tx, execution: Id) -> sqlx::Result<Option<Ended>> {
    within!(tx, |on| sqlx::query_as(
        r#"SELECT u.id AS user_id, u.email, u.name, u.email_notifications_enabled AS wanted, s.name AS script,
               CAST(e.params ->> 'task_name' AS TEXT) AS task, e.start_date, e.end_date
           FROM execution e JOIN "user" u ON u.id = e.user_id JOIN script s ON s.id = e.script_id WHERE e.id = $1"#
    )
    .bind(execution)
    .fetch_optional(on)
    .await)
}
