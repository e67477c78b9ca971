//! Keys of service accounts: read, and used to ask for a token.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::json;

use crate::store::Time;

/// Bytes of a key's document.
const MAX_BYTES: usize = 16 << 10;
/// Seconds that a request for a token may be used.
const LIFE_S: i64 = 3_600;
/// How a service account asks for a token (RFC 7523).
pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// The key of a service account, as Google hands it out.
#[derive(Debug, Clone, Deserialize)]
pub struct ServiceAccount {
    #[serde(rename = "type")]
    kind: String,
    pub project_id: String,
    pub private_key_id: String,
    #[serde(deserialize_with = "secret")]
    private_key: SecretString,
    pub client_email: String,
    pub client_id: String,
    pub auth_uri: String,
    /// Where the document says that tokens are had. It is somebody else's word: the server never asks there.
    pub token_uri: String,
}

fn secret<'de, D: Deserializer<'de>>(text: D) -> Result<SecretString, D::Error> {
    String::deserialize(text).map(SecretString::from)
}

impl ServiceAccount {
    /// The document of a key; `None` if it is none (contract/auth-users.md 10).
    pub fn read(text: &str) -> Option<Self> {
        let account: ServiceAccount = serde_json::from_str(text).ok().filter(|_| text.len() <= MAX_BYTES)?;
        let fits = account.kind == "service_account"
            && account.private_key.expose_secret().starts_with("-----BEGIN")
            && account.client_email.contains('@');
        fits.then_some(account)
    }

    /// The same as a setting holds it: as it is, or in base64. Its key must be one.
    pub fn of_setting(text: &str) -> Option<Self> {
        let account = Self::read(text).or_else(|| {
            let bytes = STANDARD.decode(text.split_ascii_whitespace().collect::<String>()).ok()?;
            Self::read(std::str::from_utf8(&bytes).ok()?)
        })?;
        account.key()?;
        Some(account)
    }

    fn key(&self) -> Option<KeyPair> {
        match PrivateKeyDer::from_pem_slice(self.private_key.expose_secret().as_bytes()).ok()? {
            PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok(),
            PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()).ok(),
            _ => None,
        }
    }

    /// A signed request for a token of these scopes, for `subject` if the account may act for somebody. `None` if the key is none.
    pub fn request(&self, audience: &str, scopes: &[&str], subject: Option<&str>, now: Time) -> Option<SecretString> {
        let second = now.and_utc().timestamp();
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": self.private_key_id});
        let mut claims = json!({"iss": self.client_email, "scope": scopes.join(" "), "aud": audience, "iat": second,
            "exp": second + LIFE_S});
        if let Some(subject) = subject {
            claims["sub"] = json!(subject);
        }
        let signed = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let key = self.key()?;
        let mut signature = vec![0; key.public_modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
        Some(SecretString::from(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    /// The document of the same account with a key made anew, good only for tokens that are had at `token_url`.
    pub fn lent(&self, token_url: &str) -> Option<SecretString> {
        let key = KeyPair::generate(KeySize::Rsa2048).ok()?;
        let der: Pkcs8V1Der<'_> = key.as_der().ok()?;
        let encoded = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> =
            encoded.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        let document = json!({"type": self.kind, "project_id": self.project_id, "private_key_id": "lent", "private_key": pem,
            "client_email": self.client_email, "client_id": self.client_id, "auth_uri": self.auth_uri, "token_uri": token_url});
        Some(SecretString::from(document.to_string()))
    }

    /// The lines of the key, which must not be read in what a run says.
    pub fn lines(&self) -> impl Iterator<Item = SecretString> {
        let lines = self.private_key.expose_secret().lines().filter(|line| !line.starts_with("-----"));
        lines.map(SecretString::from)
    }

    /// Whether a request for a token was signed with this key, and may still be used.
    pub fn verify(&self, request: &str, now: Time) -> bool {
        self.expiry(request).is_some_and(|second| second > now.and_utc().timestamp())
    }

    /// Until which second a request that was signed with this key may be used.
    fn expiry(&self, request: &str) -> Option<i64> {
        #[derive(Deserialize)]
        struct Claims {
            exp: i64,
        }
        let (signed, signature) = request.rsplit_once('.')?;
        let key = self.key()?;
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.')?.1).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        Some(claims.exp)
    }
}
