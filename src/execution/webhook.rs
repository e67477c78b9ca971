//! The address that is called when a run has ended: which ones are taken, how a call is queued, how it is signed.

use std::net::IpAddr;

use aws_lc_rs::hmac;
use url::{Host, Url};

use crate::{
    app::App,
    auth::tokens,
    error::{Error, Result},
    jobs::SEND_WEBHOOK,
    net,
    store::{self, Id, Time, Tx, jobs::NewJob},
};

/// The one thing that is told.
pub const FINISHED: &str = "execution.finished";
/// Characters of an address.
const MAX_URL: usize = 2_000;

/// Reads `X-TE-Callback-URL`. What a name stands for is looked at when it is called, not now.
pub fn read(app: &App, text: &str) -> Result<String> {
    let wrong = |why: &str| Err(Error::invalid(format!("X-TE-Callback-URL {why}")));
    let Ok(url) = Url::parse(text) else {
        return wrong("is no address such as https://example.org/done");
    };
    if text.len() > MAX_URL {
        return wrong("is longer than 2,000 characters");
    }
    if url.scheme() != "https" && !(app.config.webhook_allow_private && url.scheme() == "http") {
        return wrong("must begin with https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("must not hold a user name or a password");
    }
    if literal(&url).is_some_and(|address| !may_call(app, address)) {
        return wrong("must not lead to a private address");
    }
    Ok(url.into())
}

/// The address that a URL names without a name.
pub fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

/// Whether the server may be made to connect to an address.
pub fn may_call(app: &App, address: IpAddr) -> bool {
    app.config.webhook_allow_private || !net::refused_or_own(address)
}

/// Queues the call about a run that has ended, in the transaction that ends it. In a rehearsal nobody is called, nor later.
pub async fn post(tx: &mut Tx, app: &App, execution: Id, now: Time) -> sqlx::Result<()> {
    if app.config.rehearse {
        return Ok(());
    }
    let id = Id::ordered();
    if store::webhook_deliveries::insert(tx, id, execution, FINISHED, now).await? {
        let job = NewJob { kind: SEND_WEBHOOK, subject: id, unique_key: Some(format!("webhook:{id}")) };
        store::jobs::insert(tx, &job, now).await?;
    }
    Ok(())
}

/// `X-TE-Signature`: the second in which it was made, and with it and the body a proof that we made it.
pub fn signature(secret: &str, second: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let proof = hmac::sign(&key, format!("{second}.{body}").as_bytes());
    format!("t={second},v1={}", tokens::hex(proof.as_ref()))
}
