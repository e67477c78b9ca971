//! Google, as this server asks it: tokens, whose account it is, Earth Engine, buckets, groups. One client for all of it.

pub mod account;
mod earth_engine;
mod groups;
mod storage;

use reqwest::{Client, Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::form_urlencoded::Serializer;

use self::account::{GRANT, ServiceAccount};
use crate::{
    config::{Config, google},
    outside::{self, Failure},
    store::Time,
};

/// What people let the server use for them (contract/auth-users.md 10), and whose account it is.
const ASKED: &str = "openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/earthengine \
                     https://www.googleapis.com/auth/devstorage.full_control";
/// What a service account is used for, and what runs are lent.
pub const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/earthengine", "https://www.googleapis.com/auth/devstorage.full_control"];

/// Google.
pub struct Google {
    http: Client,
    pub settings: google::Google,
    /// In a rehearsal nobody is called.
    mute: bool,
    /// Where people come back to if the settings do not say.
    own_page: String,
}

/// What a person's consent became.
pub struct Tokens {
    pub access: SecretString,
    pub refresh: SecretString,
}

/// A token for an hour or so.
pub struct Access {
    pub token: SecretString,
    /// Seconds that it lives.
    pub expires_in: i64,
}

impl Google {
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        Ok(Google {
            http: outside::of_settings()?,
            settings: config.google.clone(),
            mute: config.rehearse,
            own_page: format!("{}/gee-oauth/callback", config.public_url()),
        })
    }

    /// The page at Google that asks a person's consent; `None` where the settings know no client.
    pub fn consent(&self, state: &str, challenge: &str) -> Option<String> {
        let (id, _) = self.settings.oauth.as_ref()?;
        let query = Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", id)
            .append_pair("redirect_uri", self.redirect_url())
            .append_pair("scope", ASKED)
            .append_pair("state", state)
            .append_pair("code_challenge", challenge)
            .append_pair("code_challenge_method", "S256")
            .append_pair("access_type", "offline")
            .append_pair("include_granted_scopes", "true")
            .append_pair("prompt", "consent")
            .finish();
        Some(format!("{}?{query}", self.url("accounts.google.com", "/o/oauth2/auth")))
    }

    fn redirect_url(&self) -> &str {
        self.settings.redirect_url.as_deref().unwrap_or(&self.own_page)
    }

    /// Changes the code that a person came back with.
    pub async fn exchange(&self, code: &str, verifier: &SecretString) -> Result<Tokens, Failure> {
        let [id, secret] = self.client();
        let verifier = ("code_verifier", verifier.expose_secret());
        let back = ("redirect_uri", self.redirect_url());
        let said =
            self.token(&[("grant_type", "authorization_code"), ("code", code), verifier, back, id, secret]).await?;
        let text = |key: &str| said[key].as_str().map(SecretString::from).ok_or(Failure::Silent);
        Ok(Tokens { access: text("access_token")?, refresh: text("refresh_token")? })
    }

    /// A token by a person's consent.
    pub async fn refresh(&self, refresh: &SecretString) -> Result<Access, Failure> {
        let [id, secret] = self.client();
        let refresh = ("refresh_token", refresh.expose_secret());
        let said = self.token(&[("grant_type", "refresh_token"), refresh, id, secret]).await?;
        Access::of(&said)
    }

    /// A token by the key of a service account. A key that is none is refused.
    pub async fn access(
        &self,
        account: &ServiceAccount,
        scopes: &[&str],
        subject: Option<&str>,
        now: Time,
    ) -> Result<Access, Failure> {
        let request = account.request(&self.token_url(), scopes, subject, now);
        let request = request.ok_or(Failure::Refused(400, Value::Null))?;
        let said = self.token(&[("grant_type", GRANT), ("assertion", request.expose_secret())]).await?;
        Access::of(&said)
    }

    /// The address of the account that a token is for.
    pub async fn address(&self, token: &SecretString) -> Result<String, Failure> {
        let url = self.url("www.googleapis.com", "/oauth2/v2/userinfo");
        let said = self.ask(self.request(Method::GET, &url, token)).await?;
        said["email"].as_str().map(str::to_owned).ok_or(Failure::Silent)
    }

    /// Where tokens are had.
    fn token_url(&self) -> String {
        self.settings.token_url.clone().unwrap_or_else(|| self.url("oauth2.googleapis.com", "/token"))
    }

    async fn token(&self, fields: &[(&str, &str)]) -> Result<Value, Failure> {
        let form = Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.http.post(self.token_url()).header("content-type", "application/x-www-form-urlencoded");
        self.ask(request.body(form)).await
    }

    /// Name and password of this server as a client; nothing without, and Google refuses.
    fn client(&self) -> [(&str, &str); 2] {
        let client = self.settings.oauth.as_ref();
        let (id, secret) = client.map_or(("", ""), |(id, secret)| (id.as_str(), secret.expose_secret()));
        [("client_id", id), ("client_secret", secret)]
    }

    /// The address of a service of Google, by way of the relay if there is one.
    fn url(&self, host: &str, path: &str) -> String {
        match &self.settings.relay {
            None => format!("https://{host}{path}"),
            Some(relay) => format!("{relay}/{host}{path}"),
        }
    }

    fn request(&self, method: Method, url: &str, token: &SecretString) -> RequestBuilder {
        self.http.request(method, url).bearer_auth(token.expose_secret())
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Value, Failure> {
        if self.mute { Err(Failure::Silent) } else { outside::ask(request).await }
    }
}

impl Access {
    fn of(said: &Value) -> Result<Self, Failure> {
        let token = said["access_token"].as_str().map(SecretString::from).ok_or(Failure::Silent)?;
        Ok(Access { token, expires_in: said["expires_in"].as_i64().unwrap_or(0) })
    }
}
