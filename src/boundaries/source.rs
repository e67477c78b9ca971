//! geoBoundaries, by its HTTP API. What it names elsewhere is fetched by https from public addresses only; what it serves itself
//! is trusted by the operator's setting.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use reqwest::{
    Client, Response, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use url::{Host, Url};

use crate::net;

/// How long one answer may take, and one file.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often one thing is asked for, and how long is waited before it is asked for again; doubled each time.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);
/// Bytes of one answer.
const MAX_BYTES: usize = 200 << 20;
const MAX_REDIRECTS: usize = 5;

pub struct Source {
    http: Client,
    base: Url,
}

#[derive(Deserialize)]
struct Collection {
    features: Vec<Feature>,
}

#[derive(Deserialize)]
struct Feature {
    properties: Map<String, Value>,
}

impl Source {
    /// The API at this address.
    pub fn new(base: &str) -> anyhow::Result<Self> {
        let base: Url = format!("{base}/").parse()?;
        let (own, host) = (base.clone(), base.host_str().unwrap_or("").to_owned());
        let follow = move |attempt: redirect::Attempt<'_>| {
            if attempt.previous().len() > MAX_REDIRECTS || !may_ask(&own, attempt.url()) {
                return attempt.stop();
            }
            attempt.follow()
        };
        let http = Client::builder()
            .dns_resolver(Arc::new(Checked { host }))
            .redirect(redirect::Policy::custom(follow))
            .no_proxy()
            .timeout(PATIENCE)
            .build()?;
        Ok(Source { http, base })
    }

    /// The countries of a release.
    pub async fn countries(&self, release: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
        let list = self.about(release, "ALL", "ADM0").await?;
        list.context("geoBoundaries has no list of this release")
    }

    /// One country of a release; `None` if there is none.
    pub async fn country(&self, release: &str, iso: &str) -> anyhow::Result<Option<Map<String, Value>>> {
        Ok(self.about(release, iso, "ADM0").await?.and_then(|list| list.into_iter().next()))
    }

    /// What is said of the parts of a country; `None` if it has none.
    pub async fn parts(&self, release: &str, iso: &str) -> anyhow::Result<Option<Map<String, Value>>> {
        Ok(self.about(release, iso, "ADM1").await?.and_then(|list| list.into_iter().next()))
    }

    /// Ids and names of the parts in a file.
    pub async fn units(&self, url: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
        let url: Url = url.parse().context("the address of a file is none")?;
        anyhow::ensure!(may_ask(&self.base, &url), "the address of a file leads to where nothing is fetched from");
        let file: Option<Collection> = self.get(url).await?;
        let file = file.context("a file that is named is not there")?;
        Ok(file.features.into_iter().map(|feature| feature.properties).collect())
    }

    async fn about(&self, release: &str, iso: &str, level: &str) -> anyhow::Result<Option<Vec<Map<String, Value>>>> {
        let url = self.base.join(&format!("{release}/{iso}/{level}/"))?;
        let said: Option<Value> = self.get(url).await?;
        let object = |value| match value {
            Value::Object(object) => Ok(object),
            _ => Err(anyhow::anyhow!("geoBoundaries answered what is no description of a boundary")),
        };
        match said {
            None => Ok(None),
            Some(Value::Array(list)) => list.into_iter().map(object).collect::<anyhow::Result<_>>().map(Some),
            Some(one) => Ok(Some(vec![object(one)?])),
        }
    }

    /// What an address answers; `None` for 404. Who is busy is asked again.
    async fn get<T: DeserializeOwned + Send + 'static>(&self, url: Url) -> anyhow::Result<Option<T>> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let answer = self.http.get(url.clone()).send().await;
            let again = match &answer {
                Ok(answer) => answer.status() == StatusCode::TOO_MANY_REQUESTS || answer.status().is_server_error(),
                Err(_) => true,
            };
            if !again || attempt == TRIES {
                let answer = answer.map_err(|error| error.without_url());
                return read(answer.with_context(|| format!("{url} does not answer"))?, &url).await;
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(None)
    }
}

async fn read<T: DeserializeOwned + Send + 'static>(mut answer: Response, url: &Url) -> anyhow::Result<Option<T>> {
    if answer.status() == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    anyhow::ensure!(answer.status().is_success(), "{url} answered {}", answer.status());
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        anyhow::ensure!(bytes.len() + chunk.len() <= MAX_BYTES, "{url} answered more than {MAX_BYTES} bytes");
        bytes.extend_from_slice(&chunk);
    }
    let parsed = tokio::task::spawn_blocking(move || serde_json::from_slice(&bytes)).await?;
    parsed.map(Some).with_context(|| format!("{url} answered what is not understood"))
}

/// Whether something is fetched from there: from the API itself, or by https from elsewhere.
fn may_ask(base: &Url, url: &Url) -> bool {
    let elsewhere = || match url.host() {
        Some(Host::Ipv4(address)) => !net::refused_or_own(address.into()),
        Some(Host::Ipv6(address)) => !net::refused_or_own(address.into()),
        Some(Host::Domain(_)) => true,
        None => false,
    };
    url.origin() == base.origin() || (url.scheme() == "https" && url.port().is_none() && elsewhere())
}

/// Looks names up and leaves out private addresses, but for the host of the setting.
struct Checked {
    host: String,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let trusted = name.as_str() == self.host;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str().to_owned(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|at| trusted || !net::refused_or_own(at.ip())).collect();
            if allowed.is_empty() {
                return Err("the name leads to no public address".into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}
