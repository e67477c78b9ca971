//! Mail by SMTP: `TE_SMTP_URL`, such as `smtps://user:password@mail.example.org` or `smtp://mail.example.org:25`.

use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{HeaderName, HeaderValue},
    },
};
use secrecy::{ExposeSecret, SecretString};

use super::{Mailer, NotSent};
use crate::store::mail_outbox::Outgoing;

/// How long a server may take for each of its answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// A mail server, by SMTP.
pub struct Smtp {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: String,
}

impl Smtp {
    /// The server that the URL names; an error says what is wrong with it, without its password.
    pub fn new(url: &SecretString, from: &str) -> anyhow::Result<Self> {
        let builder = AsyncSmtpTransport::<Tokio1Executor>::from_url(url.expose_secret())
            .map_err(|error| anyhow::anyhow!("TE_SMTP_URL is not understood: {error}"))?;
        Ok(Smtp { transport: builder.timeout(Some(PATIENCE)).build(), from: from.to_owned() })
    }
}

/// A mail as it goes over the wire.
pub fn message(mail: &Outgoing, from: &str) -> anyhow::Result<Message> {
    let from: Mailbox = mail.sender.as_deref().unwrap_or(from).parse().context("the sender is no address")?;
    let to: Mailbox = mail.recipient.parse().context("the recipient is no address")?;
    let domain = from.email.domain().to_owned();
    let builder = Message::builder()
        .from(from)
        .to(to)
        .subject(&mail.subject)
        .message_id(Some(format!("<{}@{domain}>", mail.id)))
        .date(std::time::SystemTime::from(mail.created_at.and_utc()));
    let text = SinglePart::plain(mail.text.clone());
    let mut message = match &mail.html {
        Some(html) => {
            builder.multipart(MultiPart::alternative().singlepart(text).singlepart(SinglePart::html(html.clone())))?
        }
        None => builder.singlepart(text)?,
    };
    for (name, value) in super::unsubscribe_headers(mail) {
        let name = HeaderName::new_from_ascii(name.to_owned()).context("a header has no such name")?;
        message.headers_mut().insert_raw(HeaderValue::new(name, value));
    }
    Ok(message)
}

#[async_trait]
impl Mailer for Smtp {
    async fn send(&self, mail: &Outgoing) -> Result<(), NotSent> {
        let message = message(mail, &self.from).map_err(|error| NotSent(format!("{error:#}")))?;
        self.transport.send(message).await.map(drop).map_err(|error| NotSent(error.to_string()))
    }

    async fn check(&self) -> anyhow::Result<String> {
        let answers =
            self.transport.test_connection().await.context("the mail server of TE_SMTP_URL does not answer")?;
        anyhow::ensure!(answers, "the mail server of TE_SMTP_URL closes the connection");
        Ok("SMTP, the server answers".into())
    }
}
