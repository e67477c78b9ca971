//! The registry itself, asked by HTTP for what a daemon does not do: tags are deleted there.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, header};
use secrecy::ExposeSecret;
use serde::Deserialize;

use super::daemon::Daemon;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a registry's token is given in.
#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// Deletes a manifest and every tag that leads to it; one that is gone is success. False if the registry does not allow that.
///
/// # Errors
/// It does not answer, or not to this account.
pub async fn delete(daemon: &Daemon, repository: &str, digest: &str) -> anyhow::Result<bool> {
    let (registry, name) = repository.split_once('/').context("an image at a registry has its name")?;
    let scheme = if is_plain(daemon, registry).await? { "http" } else { "https" };
    let http = Client::builder().timeout(PATIENCE).build()?;
    let ask = || http.request(Method::DELETE, format!("{scheme}://{registry}/v2/{name}/manifests/{digest}"));
    let mut answer = with_password(daemon, ask()).send().await?;
    if answer.status() == StatusCode::UNAUTHORIZED
        && let Some(question) = challenge(&answer)
    {
        let token = token(daemon, &http, &question, name).await?;
        answer = ask().bearer_auth(token).send().await?;
    }
    match answer.status() {
        StatusCode::METHOD_NOT_ALLOWED => Ok(false),
        StatusCode::NOT_FOUND => Ok(true),
        status if status.is_success() => Ok(true),
        status => anyhow::bail!("the registry {registry} answers {status}"),
    }
}

/// Whether the daemon speaks to a registry without TLS.
async fn is_plain(daemon: &Daemon, registry: &str) -> anyhow::Result<bool> {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    if host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()) {
        return Ok(true);
    }
    let known = daemon.docker.info().await?.registry_config.and_then(|config| config.index_configs);
    Ok(known.and_then(|known| known.get(registry)?.secure).is_some_and(|secure| !secure))
}

fn with_password(daemon: &Daemon, request: RequestBuilder) -> RequestBuilder {
    match &daemon.settings.registry_login {
        Some((user, password)) => request.basic_auth(user, Some(password.expose_secret())),
        None => request,
    }
}

/// Where a token is to be had: `Bearer realm="…",service="…"`.
fn challenge(answer: &Response) -> Option<BTreeMap<String, String>> {
    let words = answer.headers().get(header::WWW_AUTHENTICATE)?.to_str().ok()?.strip_prefix("Bearer ")?;
    let pairs = words.split(',').filter_map(|word| word.trim().split_once('='));
    Some(pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect())
}

async fn token(
    daemon: &Daemon,
    http: &Client,
    question: &BTreeMap<String, String>,
    name: &str,
) -> anyhow::Result<String> {
    let mut url = url::Url::parse(question.get("realm").context("the registry names no realm")?)?;
    url.query_pairs_mut()
        .append_pair("service", question.get("service").map_or("", String::as_str))
        .append_pair("scope", &format!("repository:{name}:delete"));
    let answer = with_password(daemon, http.get(url)).send().await?.error_for_status()?;
    let token: Token = answer.json().await?;
    token.token.or(token.access_token).context("the registry gives no token")
}
