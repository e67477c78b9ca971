//! Mail by SparkPost's HTTP API (contract/auth-users.md 13).

use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::{Mailer, NotSent};
use crate::store::mail_outbox::Outgoing;

const PATIENCE: Duration = Duration::from_secs(20);

/// SparkPost, by its HTTP API.
pub struct SparkPost {
    http: reqwest::Client,
    url: String,
    key: SecretString,
    from: lettre::message::Mailbox,
}

impl SparkPost {
    /// The service at this address, with its key.
    pub fn new(url: &str, key: SecretString, from: &str) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().timeout(PATIENCE).build()?;
        Ok(SparkPost {
            http,
            url: format!("{}/api/v1/transmissions", url.trim_end_matches('/')),
            key,
            from: from.parse()?,
        })
    }
}

#[async_trait]
impl Mailer for SparkPost {
    async fn send(&self, mail: &Outgoing) -> Result<(), NotSent> {
        let sender = mail.sender.as_deref().and_then(|sender| sender.parse::<lettre::message::Mailbox>().ok());
        let from = sender.as_ref().unwrap_or(&self.from);
        let from = json!({"email": from.email.to_string(), "name": from.name});
        let headers: serde_json::Map<String, serde_json::Value> =
            super::unsubscribe_headers(mail).into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let mut body = json!({
            "recipients": [{"address": {"email": mail.recipient}}],
            "content": {"from": from, "subject": mail.subject, "html": mail.html, "text": mail.text},
            "options": {"transactional": mail.unsubscribe_url.is_none()},
        });
        if !headers.is_empty() {
            body["content"]["headers"] = headers.into();
        }
        let request = self.http.post(&self.url).header("authorization", self.key.expose_secret()).json(&body);
        let answer = request.send().await.map_err(|error| NotSent(error.without_url().to_string()))?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(NotSent(format!("SparkPost answered {}", answer.status())))
    }

    async fn check(&self) -> anyhow::Result<String> {
        Ok("SparkPost; nothing was sent to try it".into())
    }
}
