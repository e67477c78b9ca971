//! What is encrypted at rest: AES-256-GCM under a key of the installation's secret, with a nonce drawn by lot. A text opens
//! only where it belongs: the place is sealed with it.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

use super::tokens::derived;

/// Bytes of a nonce, which stand before what was sealed.
const NONCE_BYTES: usize = 12;
/// How a sealed text begins: the form may change some day.
const FORM: &str = "v1:";

/// Seals and opens.
pub struct Vault(RandomizedNonceKey);

impl Vault {
    /// Derives its key from the one secret of the installation.
    pub fn new(secret: &SecretString) -> anyhow::Result<Self> {
        let key = derived(secret.expose_secret().as_bytes(), "vault");
        Ok(Vault(RandomizedNonceKey::new(&AES_256_GCM, &key).map_err(|_| anyhow::anyhow!("no key for the vault"))?))
    }

    /// Seals a text for a place, such as `script:<id>:<name>`.
    pub fn seal(&self, place: &str, text: &str) -> anyhow::Result<String> {
        let mut bytes = text.as_bytes().to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(place.as_bytes()), &mut bytes)
            .map_err(|_| anyhow::anyhow!("a text could not be sealed"))?;
        let whole = [nonce.as_ref().as_slice(), &bytes].concat();
        Ok(format!("{FORM}{}", STANDARD_NO_PAD.encode(whole)))
    }

    /// The text, if it was sealed for this place with the installation's present secret.
    pub fn open(&self, place: &str, sealed: &str) -> Option<SecretString> {
        let whole = STANDARD_NO_PAD.decode(sealed.strip_prefix(FORM)?).ok()?;
        let (nonce, bytes) = whole.split_at_checked(NONCE_BYTES)?;
        let mut bytes = bytes.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.0.open_in_place(nonce, Aad::from(place.as_bytes()), &mut bytes).ok()?;
        Some(SecretString::from(std::str::from_utf8(text).ok()?.to_owned()))
    }
}
