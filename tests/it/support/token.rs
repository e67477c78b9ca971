//! Access tokens as the existing server signs them, and as an attacker would like to.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::Value;

/// The secret of every test server.
pub const SECRET: &str = "test-jwt-secret-0123456789abcdef0123456789";

/// A token with these claims, signed with this secret.
pub fn sign(claims: &Value, secret: &str) -> String {
    jsonwebtoken::encode(&Header::default(), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// Header and claims of a token, not verified.
pub fn read(token: &str) -> (Value, Value) {
    let mut parts =
        token.split('.').map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap_or_default());
    (parts.next().unwrap(), parts.next().unwrap())
}

/// A token with this header and these claims, and no signature.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}
