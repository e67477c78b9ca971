//! Mail: a letter is a row of the outbox, written in the transaction that it tells of, and sent later by a job.
//! Three ways to send: SMTP, SparkPost's HTTP API, or files in the data folder.

pub mod bulk;
mod file;
pub mod letters;
pub mod recipients;
mod smtp;
mod sparkpost;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;

use crate::{
    app::App,
    config::{Config, Environment},
    jobs::SEND_MAIL,
    store::{
        self, Id, Time, Tx,
        jobs::NewJob,
        mail_outbox::{NewMail, Outgoing},
    },
};

/// A mail could not be sent now; it is tried again. The text is for the log and the outbox.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotSent(pub String);

/// A way to send mail.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Sends one mail. Its id makes a second copy recognisable, should the first one have arrived after all.
    async fn send(&self, mail: &Outgoing) -> Result<(), NotSent>;

    /// Whether mail could be sent now, and by what: for `check`.
    async fn check(&self) -> anyhow::Result<String>;

    /// Whether it sends at all.
    fn sends(&self) -> bool {
        true
    }

    /// Removes what this machine keeps of the letters to an address, because its person is gone.
    async fn forget(&self, _recipient: &str) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Where nothing is set up and files are no way either.
struct Nowhere;

#[async_trait]
impl Mailer for Nowhere {
    async fn send(&self, _: &Outgoing) -> Result<(), NotSent> {
        Err(NotSent("no mail service is set up (TE_SMTP_URL or SPARKPOST_API_KEY)".into()))
    }

    fn sends(&self) -> bool {
        false
    }

    async fn check(&self) -> anyhow::Result<String> {
        anyhow::bail!("no mail is sent: set TE_SMTP_URL or SPARKPOST_API_KEY")
    }
}

/// A rehearsal: people of a live system must not hear of what happens to their copies.
struct Kept;

#[async_trait]
impl Mailer for Kept {
    async fn send(&self, _: &Outgoing) -> Result<(), NotSent> {
        Err(NotSent("a rehearsal sends nothing".into()))
    }

    fn sends(&self) -> bool {
        false
    }

    async fn check(&self) -> anyhow::Result<String> {
        Ok("this is a rehearsal: letters are written into the outbox and never sent".into())
    }
}

/// The way of the settings.
pub fn open(config: &Config, data: &Path) -> anyhow::Result<Arc<dyn Mailer>> {
    if config.rehearse {
        return Ok(Arc::new(Kept));
    }
    if let Some(url) = &config.smtp_url {
        return Ok(Arc::new(smtp::Smtp::new(url, &config.mail_from)?));
    }
    if let Some(key) = &config.sparkpost_key {
        return Ok(Arc::new(sparkpost::SparkPost::new(&config.sparkpost_url, key.clone(), &config.mail_from)?));
    }
    if config.environment == Environment::Prod {
        tracing::warn!("no mail is sent: set TE_SMTP_URL or SPARKPOST_API_KEY");
        return Ok(Arc::new(Nowhere));
    }
    Ok(Arc::new(file::Folder::new(&data.join("mail"), &config.mail_from)))
}

/// How a mail program lets somebody unsubscribe from a mail to many by one click (RFC 2369, RFC 8058).
fn unsubscribe_headers(mail: &Outgoing) -> Vec<(&'static str, String)> {
    mail.unsubscribe_url.iter().fold(Vec::new(), |mut headers, url| {
        headers.push(("List-Unsubscribe", format!("<{url}>")));
        headers.push(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click".to_owned()));
        headers
    })
}

/// Writes a letter into the outbox, with the job that sends it. A second one of the same subject and event is none.
/// The caller wakes the workers after the commit. A letter of a rehearsal gets no job: it is not sent later either, whoever
/// works on this database then.
pub async fn post(tx: &mut Tx, app: &App, mail: &NewMail<'_>, now: Time) -> sqlx::Result<bool> {
    let id = Id::ordered();
    let send_at = (!app.config.rehearse).then_some(now);
    if !store::mail_outbox::insert(tx, id, mail, send_at, now).await? {
        return Ok(false);
    }
    if send_at.is_none() {
        return Ok(true);
    }
    let job = NewJob { kind: SEND_MAIL, subject: id, unique_key: Some(format!("mail:{id}")) };
    store::jobs::insert(tx, &job, now).await?;
    Ok(true)
}
