//! Mails to many: what one account gets of them, test letters, and the code that a sender is mailed.

use std::sync::LazyLock;

use anyhow::Result;
use minijinja::context;
use regex::Regex;

use super::letters::{own, rendered};
use crate::{
    account::fields::without_tags,
    app::App,
    html,
    jobs::{SEND_BULK_LETTER, SEND_MAIL},
    mail,
    store::{
        self, Id, Time, Tx,
        bulk_emails::BulkEmail,
        jobs::NewJob,
        mail_outbox::{BulkLetter, NewMail},
        users::Profile,
    },
};

#[expect(clippy::unwrap_used, reason = "the pattern is a constant")]
static PLACES: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{\{\{?\s*(name|email|unsubscribe_footer)\s*\}\}\}?").unwrap());

/// A mail as it goes to everybody, before it is somebody's.
pub struct Mail<'a> {
    id: Id,
    subject: &'a str,
    /// Made harmless again: who wrote the row may not have done so.
    html: String,
}

impl<'a> Mail<'a> {
    pub fn of(mail: &'a BulkEmail) -> Self {
        Mail { id: mail.id, subject: &mail.subject, html: html::mail(&mail.html_content) }
    }

    /// Writes the letter to an account, with the job that sends it; nothing for who has it already.
    pub async fn post(&self, tx: &mut Tx, app: &App, person: &Profile, now: Time) -> Result<()> {
        let event = format!("bulk:{}", person.id);
        self.write(tx, app, person, (self.id, &event), SEND_BULK_LETTER, self.subject, now).await
    }

    /// The same as a test, which may come again and again.
    pub async fn post_test(&self, tx: &mut Tx, app: &App, person: &Profile, now: Time) -> Result<()> {
        let subject = format!("[TEST] {}", self.subject);
        self.write(tx, app, person, (Id::ordered(), "bulk-test"), SEND_MAIL, &subject, now).await
    }

    #[expect(clippy::too_many_arguments, reason = "the two ways to write a letter differ in each of them")]
    async fn write(
        &self,
        tx: &mut Tx,
        app: &App,
        person: &Profile,
        (subject_id, event): (Id, &str),
        kind: &'static str,
        subject: &str,
        now: Time,
    ) -> Result<()> {
        let token = app.tokens.issue_unsubscribe(person.id, app.config.unsubscribe_days, now)?;
        let link = format!("{}/unsubscribe?token={token}", app.config.public_url());
        let one_click = format!("{}/api/v1/unsubscribe?token={token}", app.config.public_url());
        let attribute = html_escape::encode_double_quoted_attribute(&link);
        let footer = format!("<a href=\"{attribute}\">Unsubscribe or choose which mails you get</a>");
        let filled = filled(&self.html, person, &footer, |text| html_escape::encode_text(text).into_owned());
        let plain = html_escape::decode_html_entities(&without_tags(&filled)).trim().to_owned();
        let address = &app.config.postal_address;
        let (text, _) = rendered("bulk", &context! { body => plain, unsubscribe => own(&link), address })?;
        let safe = minijinja::Value::from_safe_string;
        let (_, html) = rendered("bulk", &context! { body => safe(filled), footer => safe(footer), address })?;
        let subject = self::filled(subject, person, "", str::to_owned);
        let letter = BulkLetter {
            mail: NewMail {
                subject_id,
                event,
                recipient: &person.email,
                subject: &subject,
                text: &text,
                html: Some(&html),
            },
            sender: &app.config.bulk_from,
            unsubscribe_url: &one_click,
        };
        if let Some(id) = store::mail_outbox::insert_bulk(tx, &letter, now).await? {
            let key = format!("mail:{id}");
            let job = NewJob { kind, subject: id, unique_key: Some(key.clone()) };
            store::jobs::insert(tx, &job, now).await?;
            // One that was given up may still have its job, which would look again later.
            store::jobs::hasten(tx, &key, now).await?;
        }
        Ok(())
    }
}

/// Text with what its places stand for.
fn filled(text: &str, person: &Profile, footer: &str, escaped: impl Fn(&str) -> String) -> String {
    PLACES
        .replace_all(text, |found: &regex::Captures<'_>| match &found[1] {
            "name" => escaped(&person.name),
            "email" => escaped(&person.email),
            _ => footer.to_owned(),
        })
        .into_owned()
}

/// Mails a sender the code for a mail.
pub async fn send_code(tx: &mut Tx, app: &App, person: &Profile, of: &BulkEmail, code: &str, now: Time) -> Result<()> {
    let (text, html) = rendered("code", &context! { mail => &of.name, code })?;
    let letter = NewMail {
        subject_id: Id::ordered(),
        event: "bulk-code",
        recipient: &person.email,
        subject: "[Trends.Earth] Bulk Email Send Verification Code",
        text: &text,
        html: Some(&html),
    };
    mail::post(tx, app, &letter, now).await?;
    Ok(())
}
