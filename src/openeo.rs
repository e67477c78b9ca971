//! openEO services: whether what a person has stored opens one (contract/auth-users.md 10).

use base64::{Engine, engine::general_purpose::STANDARD};
use reqwest::{Client, Method};
use serde::{Deserialize, Serialize};
use url::form_urlencoded::Serializer;

use crate::{
    app::App,
    outside::{self, Failure, PATIENCE},
};

/// What a person has stored, as the existing server keeps it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Credentials {
    Basic {
        username: String,
        password: String,
    },
    OidcRefreshToken {
        client_id: String,
        refresh_token: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_secret: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        provider_id: Option<String>,
    },
}

impl Credentials {
    /// How the existing server names the kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Credentials::Basic { .. } => "basic",
            Credentials::OidcRefreshToken { .. } => "oidc_refresh_token",
        }
    }

    /// Tries them at the service. A provider may give another refresh token in place of the one that was used: it is kept here.
    pub async fn open(&mut self, app: &App, service: &str) -> Result<(), Failure> {
        if app.config.rehearse {
            return Err(Failure::Silent);
        }
        let http = outside::of_settings().map_err(|_| Failure::Silent)?;
        match self {
            Credentials::Basic { username, password } => {
                let pair = STANDARD.encode(format!("{username}:{password}"));
                let request = http.request(Method::GET, format!("{service}/credentials/basic"));
                let said = outside::ask(request.header("authorization", format!("Basic {pair}"))).await?;
                said["access_token"].as_str().map(drop).ok_or(Failure::Silent)
            }
            Credentials::OidcRefreshToken { client_id, refresh_token, client_secret, provider_id } => {
                let (checked, url) = token_url(app, &http, service, provider_id.as_deref()).await?;
                let mut fields = vec![
                    ("grant_type", "refresh_token"),
                    ("refresh_token", refresh_token.as_str()),
                    ("client_id", client_id.as_str()),
                ];
                fields.extend(client_secret.as_deref().map(|secret| ("client_secret", secret)));
                let form = Serializer::new(String::new()).extend_pairs(fields).finish();
                let request = checked.post(url).header("content-type", "application/x-www-form-urlencoded").body(form);
                let said = outside::ask(request).await?;
                if let Some(next) = said["refresh_token"].as_str() {
                    next.clone_into(refresh_token);
                }
                said["access_token"].as_str().map(drop).ok_or(Failure::Silent)
            }
        }
    }
}

/// Where the provider of a service gives tokens. The service names the provider, and that one the address: both are checked.
async fn token_url(
    app: &App,
    http: &Client,
    service: &str,
    provider: Option<&str>,
) -> Result<(Client, String), Failure> {
    let said = outside::ask(http.request(Method::GET, format!("{service}/credentials/oidc"))).await?;
    let mut providers = said["providers"].as_array().map(Vec::as_slice).unwrap_or_default().iter();
    let named = providers.find(|one| provider.is_none_or(|id| one["id"] == *id));
    let issuer = named.and_then(|one| one["issuer"].as_str()).ok_or(Failure::Silent)?.trim_end_matches('/');
    let checked = outside::checked(app, PATIENCE).map_err(|_| Failure::Silent)?;
    let configuration = format!("{issuer}/.well-known/openid-configuration");
    if !outside::may_ask(app, &configuration) {
        return Err(Failure::Silent);
    }
    let said = outside::ask(checked.request(Method::GET, configuration)).await?;
    let url = said["token_endpoint"].as_str().filter(|url| outside::may_ask(app, url)).ok_or(Failure::Silent)?;
    Ok((checked, url.to_owned()))
}
