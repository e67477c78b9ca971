//! What the server calls outside: how it connects, how long it waits, how much it reads. No redirects, no proxies of the
//! environment; where an address is not one of the settings, what its name leads to is checked, and that is connected to.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures::StreamExt;
use reqwest::{
    Client, RequestBuilder,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use serde_json::Value;
use url::Url;

use crate::{app::App, execution::webhook};

/// How long one call may last.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const MAX_BYTES: usize = 64 << 10;

/// Why nothing came of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// The other side said no: its status, and what it said.
    Refused(u16, Value),
    /// No answer, or none that can be read.
    Silent,
}

/// For addresses of the settings: the operator knows where they lead.
pub fn of_settings() -> reqwest::Result<Client> {
    builder(PATIENCE).build()
}

/// For addresses that somebody gave: private ones are not connected to.
pub fn checked(app: &App, patience: Duration) -> reqwest::Result<Client> {
    builder(patience).dns_resolver(Arc::new(Checked(app.clone()))).build()
}

/// Whether an address that somebody gave may be asked at all; what its name leads to is looked at when it is.
pub fn may_ask(app: &App, url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let secure = url.scheme() == "https" || (app.config.webhook_allow_private && url.scheme() == "http");
    secure && webhook::literal(&url).is_none_or(|address| webhook::may_call(app, address))
}

fn builder(patience: Duration) -> reqwest::ClientBuilder {
    Client::builder().redirect(redirect::Policy::none()).no_proxy().timeout(patience)
}

/// Calls, and reads the answer as JSON; an empty one is `null`.
pub async fn ask(request: RequestBuilder) -> Result<Value, Failure> {
    let answer = request.send().await.map_err(|error| {
        tracing::info!(error = %error.without_url(), "a service outside did not answer");
        Failure::Silent
    })?;
    let status = answer.status();
    let (mut bytes, mut stream) = (Vec::new(), answer.bytes_stream());
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.map_err(|_| Failure::Silent)?);
        if bytes.len() > MAX_BYTES {
            return Err(Failure::Silent);
        }
    }
    let said = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    match status.as_u16() {
        200..300 if said.is_null() && !bytes.is_empty() => Err(Failure::Silent),
        200..300 => Ok(said),
        // What is overloaded, broken or moved has not judged.
        300..400 | 429 | 500.. => Err(Failure::Silent),
        refused => Err(Failure::Refused(refused, said)),
    }
}

/// Looks names up and leaves out the addresses that nobody may make the server connect to: what is checked is what is connected to.
struct Checked(App);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let app = self.0.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str().to_owned(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|at| webhook::may_call(&app, at.ip())).collect();
            if allowed.is_empty() {
                return Err("the name leads to no public address".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
