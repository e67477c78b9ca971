//! What people store of theirs for Earth Engine and openEO, encrypted so that the existing server reads it, and read as that one
//! wrote it: a Fernet token, once more in base64 (contract/auth-users.md 10).

use anyhow::Context;
use aws_lc_rs::hkdf;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use fernet::MultiFernet;
use secrecy::{ExposeSecret, SecretString};

/// The keys of one secret.
pub struct Fernet(MultiFernet);

impl Fernet {
    /// The key of today, and the one by which rows of an older release of the existing server can still be read.
    pub fn new(secret: &SecretString) -> anyhow::Result<Self> {
        let secret = secret.expose_secret().as_bytes();
        let keys = [derived(secret)?, padded(secret)].map(|key| fernet::Fernet::new(&URL_SAFE.encode(key)));
        let keys: Option<Vec<_>> = keys.into_iter().collect();
        Ok(Fernet(MultiFernet::new(keys.context("32 bytes are a key of Fernet")?)))
    }

    /// The text as a column holds it.
    pub fn encrypt(&self, text: &SecretString) -> String {
        STANDARD.encode(self.0.encrypt(text.expose_secret().as_bytes()))
    }

    /// What a column holds; `None` if it was stored under another secret, or is no such thing.
    pub fn decrypt(&self, column: &str) -> Option<SecretString> {
        let token = String::from_utf8(STANDARD.decode(column).ok()?).ok()?;
        let text = self.0.decrypt(&token).ok()?;
        Some(SecretString::from(String::from_utf8(text).ok()?))
    }
}

/// HKDF-SHA256 of the secret.
fn derived(secret: &[u8]) -> anyhow::Result<[u8; 32]> {
    let mut key = [0; 32];
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"trends.earth-gee-credentials-v2")
        .extract(secret)
        .expand(&[b"fernet-key"], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut key))
        .ok()
        .context("32 bytes are within what HKDF-SHA256 gives")?;
    Ok(key)
}

/// The first 32 bytes of the secret, as many zeros (the digit) as are missing behind them.
fn padded(secret: &[u8]) -> [u8; 32] {
    let mut key = [b'0'; 32];
    let length = secret.len().min(key.len());
    key[..length].copy_from_slice(&secret[..length]);
    key
}
