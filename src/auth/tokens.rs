//! Signed tokens. Each kind has a key of its own, so that a token of one kind opens no other door; only account access
//! tokens use the secret that is shared with the existing server (contract/auth-users.md 4.1).

use aws_lc_rs::{hkdf, hmac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    error::TokenError,
    store::{Id, Time},
};

/// Seconds that an access token lives.
pub const ACCESS_S: i64 = 3_600;
/// Days that a refresh token lives.
pub const REFRESH_DAYS: i64 = 30;

/// Seconds by which the clock of the server that made a token may be ahead: the existing server's is its machine's own.
const AHEAD_S: i64 = 5;

/// The keys of this installation.
pub struct Tokens {
    access: (EncodingKey, DecodingKey),
    run: (EncodingKey, DecodingKey),
    unsubscribe: (EncodingKey, DecodingKey),
    /// Of it come the secrets by which people know our calls.
    webhook: hmac::Key,
    /// Of it come the keys with which runs sign what they ask of the objects.
    objects: hmac::Key,
    /// Of links that the existing server mailed.
    old_unsubscribe: DecodingKey,
}

/// What a link to unsubscribe says. It opens that one page and nothing else.
#[derive(Serialize, Deserialize)]
struct UnsubscribeClaims {
    #[serde(default)]
    sub: Option<serde_json::Value>,
    #[serde(default)]
    purpose: Option<String>,
    #[serde(default)]
    exp: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aud: Option<String>,
}

/// What such a link is for, and who it is meant for.
const UNSUBSCRIBE: &str = "unsubscribe";

/// An account's access token, verified.
#[derive(Debug, Clone)]
pub struct Access {
    pub sub: Id,
    pub jti: String,
    /// Seconds since 1970.
    pub iat: i64,
    pub exp: i64,
    /// The service client that it was made for, if it was.
    pub client: Option<Client>,
}

/// A service client, as its tokens name it.
#[derive(Debug, Clone)]
pub struct Client {
    /// `te_cid_…`; empty in tokens of the existing server, which does not say.
    pub id: String,
    /// Blank-separated; empty means everything.
    pub scopes: String,
}

/// The `grant_type` of tokens of service clients.
const CLIENT_CREDENTIALS: &str = "client_credentials";

#[derive(Serialize, Deserialize)]
struct AccessClaims {
    #[serde(default)]
    fresh: bool,
    iat: i64,
    jti: String,
    #[serde(rename = "type", default = "access")]
    kind: String,
    sub: String,
    #[serde(default)]
    nbf: i64,
    #[serde(default)]
    csrf: String,
    exp: i64,
    #[serde(default, skip_serializing)]
    purpose: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scopes: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
}

fn access() -> String {
    "access".to_owned()
}

/// What a run's token says.
#[derive(Debug, Serialize, Deserialize)]
pub struct RunClaims {
    #[serde(rename = "type")]
    kind: String,
    pub execution: Id,
    pub attempt: i32,
    exp: i64,
}

impl Tokens {
    /// Derives all keys from the one secret of the installation.
    pub fn new(secret: &SecretString, old_unsubscribe: Option<&SecretString>) -> Self {
        let old = old_unsubscribe.unwrap_or(secret).expose_secret().as_bytes();
        let old_unsubscribe = DecodingKey::from_secret(old);
        let secret = secret.expose_secret().as_bytes();
        let pair = |key: &[u8]| (EncodingKey::from_secret(key), DecodingKey::from_secret(key));
        Tokens {
            access: pair(secret),
            run: pair(&derived(secret, "run")),
            unsubscribe: pair(&derived(secret, UNSUBSCRIBE)),
            webhook: hmac::Key::new(hmac::HMAC_SHA256, &derived(secret, "webhook")),
            objects: hmac::Key::new(hmac::HMAC_SHA256, &derived(secret, "objects")),
            old_unsubscribe,
        }
    }

    /// The secret with which calls about a person's runs are signed: the same as long as the installation's secret is.
    pub fn webhook_secret(&self, user: Id) -> SecretString {
        SecretString::from(hex(hmac::sign(&self.webhook, user.0.as_bytes()).as_ref()))
    }

    /// The secret with which one attempt of a run signs what it asks of the objects: it is stored nowhere.
    pub fn objects_secret(&self, execution: Id, attempt: i32) -> SecretString {
        let proof = hmac::sign(&self.objects, format!("{execution}:{attempt}").as_bytes());
        SecretString::from(hex(proof.as_ref()))
    }

    /// A new access token of an account. Tokens count in whole seconds: within the second in which older ones were ended
    /// (`not_before` is the next one) the new one is dated ahead, so that it lives.
    pub fn issue_access(&self, user: Id, now: Time, not_before: Option<Time>) -> anyhow::Result<String> {
        self.issue(user, now, not_before, ACCESS_S, None)
    }

    /// A new access token of a service client, which acts for its owner.
    pub fn issue_client(
        &self,
        owner: Id,
        client: &Client,
        lifetime_s: i64,
        now: Time,
        not_before: Option<Time>,
    ) -> anyhow::Result<String> {
        self.issue(owner, now, not_before, lifetime_s, Some(client))
    }

    fn issue(
        &self,
        user: Id,
        now: Time,
        not_before: Option<Time>,
        lifetime_s: i64,
        client: Option<&Client>,
    ) -> anyhow::Result<String> {
        let now = now.and_utc().timestamp();
        let claims = AccessClaims {
            fresh: false,
            iat: not_before.map_or(now, |t| t.and_utc().timestamp().clamp(now, now + 1)),
            jti: Id::random().to_string(),
            kind: access(),
            sub: user.to_string(),
            nbf: now,
            csrf: Id::random().to_string(),
            exp: now + lifetime_s,
            purpose: None,
            grant_type: client.map(|_| CLIENT_CREDENTIALS.to_owned()),
            scopes: client.map(|client| client.scopes.clone()),
            client_id: client.map(|client| client.id.clone()),
        };
        Ok(jsonwebtoken::encode(&Header::default(), &claims, &self.access.0)?)
    }

    /// Verifies an account's access token.
    pub fn read_access(&self, token: &str, now: Time) -> Result<Access, TokenError> {
        let claims: AccessClaims = read(token, &self.access.1)?;
        let now = now.and_utc().timestamp();
        if claims.kind != "access"
            || claims.purpose.is_some()
            || claims.jti.is_empty()
            || claims.iat > now + AHEAD_S
            || claims.nbf > now + AHEAD_S
        {
            return Err(TokenError::Invalid);
        }
        if claims.exp <= now {
            return Err(TokenError::Expired);
        }
        let sub = Id::parse(&claims.sub).ok_or(TokenError::Invalid)?;
        let client = (claims.grant_type.as_deref() == Some(CLIENT_CREDENTIALS))
            .then(|| Client { id: claims.client_id.unwrap_or_default(), scopes: claims.scopes.unwrap_or_default() });
        Ok(Access { sub, jti: claims.jti, iat: claims.iat, exp: claims.exp, client })
    }

    /// A new link to unsubscribe; it works for so many days.
    pub fn issue_unsubscribe(&self, user: Id, days: i64, now: Time) -> anyhow::Result<String> {
        let claims = UnsubscribeClaims {
            sub: Some(user.to_string().into()),
            purpose: Some(UNSUBSCRIBE.into()),
            exp: Some(now.and_utc().timestamp() + days * 86_400),
            aud: Some(UNSUBSCRIBE.into()),
        };
        Ok(jsonwebtoken::encode(&Header::default(), &claims, &self.unsubscribe.0)?)
    }

    /// Whose link to unsubscribe it is, one of ours or of the existing server; else a sentence (contract/auth-users.md 11).
    pub fn read_unsubscribe(&self, token: &str, now: Time) -> Result<Id, &'static str> {
        let ours = read::<UnsubscribeClaims>(token, &self.unsubscribe.1).ok().filter(|claims| claims.aud.is_some());
        let claims = match ours {
            Some(claims) => claims,
            None => read(token, &self.old_unsubscribe).map_err(|_| "Invalid or malformed unsubscribe token.")?,
        };
        if claims.exp.is_some_and(|exp| exp <= now.and_utc().timestamp()) {
            return Err("Unsubscribe link has expired. Please contact support.");
        }
        if claims.purpose.as_deref() != Some(UNSUBSCRIBE) {
            return Err("Invalid token purpose.");
        }
        let sub = claims.sub.filter(|sub| !sub.is_null()).ok_or("Token missing user identifier.")?;
        sub.as_str().and_then(Id::parse).ok_or("Invalid user identifier in token.")
    }

    /// A new token of a run.
    pub fn issue_run(&self, execution: Id, attempt: i32, now: Time) -> anyhow::Result<String> {
        let claims = RunClaims { kind: "run".into(), execution, attempt, exp: now.and_utc().timestamp() + ACCESS_S };
        Ok(jsonwebtoken::encode(&Header::default(), &claims, &self.run.0)?)
    }

    /// Verifies a run's token; `None` if the token is not of this kind.
    pub fn read_run(&self, token: &str, now: Time) -> Result<Option<RunClaims>, TokenError> {
        let Ok(claims) = read::<RunClaims>(token, &self.run.1) else { return Ok(None) };
        if claims.kind != "run" {
            return Ok(None);
        }
        if claims.exp <= now.and_utc().timestamp() { Err(TokenError::Expired) } else { Ok(Some(claims)) }
    }
}

/// Checks signature and form; times are compared with the server's own clock by the caller.
fn read<T: serde::de::DeserializeOwned>(token: &str, key: &DecodingKey) -> Result<T, TokenError> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    jsonwebtoken::decode(token, key, &validation).map(|data| data.claims).map_err(|_| TokenError::Invalid)
}

/// HKDF-SHA256 of the secret with a label: the key of one purpose.
pub(super) fn derived(secret: &[u8], label: &str) -> [u8; 32] {
    let mut key = [0; 32];
    let info = [label.as_bytes()];
    let fill = hkdf::Salt::new(hkdf::HKDF_SHA256, b"trends.earth")
        .extract(secret)
        .expand(&info, hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key));
    assert!(fill.is_ok(), "32 bytes are within what HKDF-SHA256 gives");
    key
}

/// The forms in which a one-time secret may be stored: its digest, or itself where the existing server made it. What looks
/// like a digest is never taken for a secret: a reader of the database must not be able to use what he reads.
pub fn stored(token: &str) -> [String; 2] {
    let digest = digest(token);
    let looks_like_digest = token.len() == digest.len() && token.bytes().all(|b| b.is_ascii_hexdigit());
    let clear = if looks_like_digest { digest.clone() } else { token.to_owned() };
    [digest, clear]
}

/// So many random bytes as base64url without padding.
pub fn random(bytes: usize) -> String {
    use base64::Engine;
    let mut buffer = vec![0; bytes];
    let filled = getrandom::fill(&mut buffer);
    assert!(filled.is_ok(), "the system gives random bytes");
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(buffer)
}

/// SHA-256 in hex, for one-time secrets that are stored.
pub fn digest(text: &str) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        use std::fmt::Write;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Compares two secrets in constant time.
pub fn same(a: &str, b: &str) -> bool {
    use subtle::ConstantTimeEq;
    a.as_bytes().ct_eq(b.as_bytes()).into()
}
