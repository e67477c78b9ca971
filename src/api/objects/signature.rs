//! The signature of a request to S3, version 4: who asks, and whether he has the secret.

use aws_lc_rs::hmac;
use axum::{
    extract::Request,
    http::{HeaderMap, header},
};
use chrono::NaiveDateTime;
use secrecy::{ExposeSecret, SecretString};

use crate::{auth::tokens, store::Time};

/// Seconds by which the clocks may differ.
const SKEW_S: i64 = 900;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// A request as it was signed.
pub struct Signed {
    /// Who says that he signed.
    pub key_id: String,
    scope: String,
    signature: String,
    text: String,
}

impl Signed {
    /// Reads what was signed; `None` if nothing was, or not lately.
    pub fn of(request: &Request, now: Time) -> Option<Self> {
        let headers = request.headers();
        let words = text(headers, header::AUTHORIZATION.as_str())?.strip_prefix(ALGORITHM)?.trim();
        let part = |name: &str| words.split(',').find_map(|word| word.trim().strip_prefix(name)?.strip_prefix('='));
        let (key_id, scope) = part("Credential")?.split_once('/')?;
        let (names, signature) = (part("SignedHeaders")?, part("Signature")?);
        let date = text(headers, "x-amz-date")?;
        let at = NaiveDateTime::parse_from_str(date, "%Y%m%dT%H%M%SZ").ok()?;
        let lately = (now - at).num_seconds().abs() <= SKEW_S;
        let signed = |name: &str| names.split(';').any(|signed| signed == name);
        if !lately || !signed("host") || !signed("x-amz-date") || !date.starts_with(scope.split('/').next()?) {
            return None;
        }
        let mut canonical = format!("{}\n{}\n{}\n", request.method(), request.uri().path(), query(request));
        for name in names.split(';') {
            let values: Vec<String> = headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            canonical += &format!("{name}:{}\n", values.join(","));
        }
        let payload = text(headers, "x-amz-content-sha256")?;
        canonical += &format!("\n{names}\n{payload}");
        let text = format!("{ALGORITHM}\n{date}\n{scope}\n{}", tokens::digest(&canonical));
        Some(Signed { key_id: key_id.to_owned(), scope: scope.to_owned(), signature: signature.to_owned(), text })
    }

    /// Whether it was signed with this secret.
    pub fn fits(&self, secret: &SecretString) -> bool {
        let mut key = format!("AWS4{}", secret.expose_secret()).into_bytes();
        for word in self.scope.split('/').chain([self.text.as_str()]) {
            key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), word.as_bytes()).as_ref().to_vec();
        }
        tokens::same(&tokens::hex(&key), &self.signature)
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The query in the order of its names; what has no value gets an empty one.
fn query(request: &Request) -> String {
    let mut pairs: Vec<String> = request
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}
