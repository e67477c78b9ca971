//! Password hashes: Argon2id for new ones, werkzeug's scrypt and pbkdf2 of the existing server verified
//! (contract/auth-users.md 4.4). Hashing runs off the async threads and a bounded number at once.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use argon2::{Argon2, Block};
use pbkdf2::hmac::{Hmac, KeyInit};
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::error::{Error, Result};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

/// Passwords longer than this (bytes) are refused before they are hashed.
pub const MAX_BYTES: usize = 1_024;

/// The first rule that a new password breaks (contract/auth-users.md 4.5).
pub fn check(password: &str) -> Result<(), &'static str> {
    const SPECIAL: &str = "!@#$%^&*()-_=+[]{}|;:,.<>?/";
    if password.chars().count() < 12 {
        return Err("Password must be at least 12 characters long");
    }
    if password.len() > MAX_BYTES {
        return Err("Password must be at most 1024 bytes long");
    }
    type Rule = (fn(char) -> bool, &'static str);
    let rules: [Rule; 4] = [
        (|c| c.is_ascii_uppercase(), "Password must include an uppercase letter"),
        (|c| c.is_ascii_lowercase(), "Password must include a lowercase letter"),
        (char::is_numeric, "Password must include a number"),
        (|c| SPECIAL.contains(c), "Password must include a special character"),
    ];
    rules.into_iter().find(|(rule, _)| !password.chars().any(rule)).map_or(Ok(()), |(_, sentence)| Err(sentence))
}

/// The form of new hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Argon2id, 19 MiB, 2 passes.
    Argon2id,
    /// scrypt as the existing server writes it, which has to read it too.
    Werkzeug,
}

/// How long a sign-in waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bounds how many hashes are computed at once, on half of the cores, so that a hundred sign-ins slow nothing else.
#[derive(Debug)]
pub struct Hasher {
    slots: Semaphore,
    form: Form,
}

impl Hasher {
    /// Hashes in this form; others are verified too.
    pub fn new(form: Form) -> Self {
        Hasher {
            slots: Semaphore::new(std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))),
            form,
        }
    }

    /// Hashes a new password.
    pub async fn hash(&self, password: String) -> anyhow::Result<String> {
        let (_slot, form) = (self.slots.acquire().await?, self.form);
        tokio::task::spawn_blocking(move || match form {
            Form::Argon2id => hash(&password),
            Form::Werkzeug => hash_werkzeug(&password),
        })
        .await?
    }

    /// Whether a stored hash is older than what new ones look like, and may be replaced.
    pub fn is_outdated(&self, stored: &str) -> bool {
        self.form == Form::Argon2id && !stored.starts_with(&argon2_prefix())
    }

    /// Whether the password fits the stored hash; without one, takes as long and says no.
    ///
    /// # Errors
    /// 503 if so many sign in that it would have to wait for long.
    pub async fn verify(&self, password: String, stored: Option<String>) -> Result<bool> {
        let Ok(slot) = tokio::time::timeout(PATIENCE, self.slots.acquire()).await else {
            let detail = "Too many people sign in at this moment; try again soon.".to_owned();
            return Err(Error::Unavailable { detail, code: "overloaded", retry_after: 5 });
        };
        let _slot = slot.map_err(anyhow::Error::from)?;
        let form = self.form;
        Ok(tokio::task::spawn_blocking(move || match stored {
            Some(stored) => verify(&password, &stored),
            None => {
                verify(&password, nobody(form));
                false
            }
        })
        .await
        .map_err(anyhow::Error::from)?)
    }
}

fn hash(password: &str) -> anyhow::Result<String> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt)?;
    let mut key = [0; 32];
    compute(&Argon2::default(), password, &salt, &mut key).map_err(|e| anyhow::anyhow!("argon2: {e}"))?;
    Ok(format!("{}{}${}", argon2_prefix(), BASE64.encode(salt), BASE64.encode(key)))
}

/// Memory of hashes that were computed, for those to come: 19 MiB for each slot. Allocated anew each time, on whichever thread is
/// free, every thread would keep as much for itself.
static MEMORY: Mutex<Vec<Vec<Block>>> = Mutex::new(Vec::new());

fn compute(argon2: &Argon2<'_>, password: &str, salt: &[u8], key: &mut [u8]) -> argon2::Result<()> {
    let kept = || MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let usual = argon2::Params::DEFAULT.block_count();
    let mut blocks = kept().pop().unwrap_or_default();
    blocks.resize(argon2.params().block_count(), Block::new());
    let computed = argon2.hash_password_into_with_memory(password.as_bytes(), salt, key, &mut blocks);
    if blocks.len() == usual {
        kept().push(blocks);
    }
    computed
}

fn argon2_prefix() -> String {
    let params = argon2::Params::DEFAULT;
    format!("$argon2id$v=19$m={},t={},p={}$", params.m_cost(), params.t_cost(), params.p_cost())
}

/// As the existing server hashes: 16 letters and digits of salt, 64 bytes of key in hex.
fn hash_werkzeug(password: &str) -> anyhow::Result<String> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut salt = String::new();
    while salt.len() < 16 {
        let mut byte = [0];
        getrandom::fill(&mut byte)?;
        // Bytes beyond the last whole multiple would make some letters likelier than others.
        if usize::from(byte[0]) < 256 / LETTERS.len() * LETTERS.len() {
            salt.push(char::from(LETTERS[usize::from(byte[0]) % LETTERS.len()]));
        }
    }
    let mut key = [0; 64];
    let params = scrypt::Params::new(15, 8, 1).map_err(|e| anyhow::anyhow!("scrypt: {e}"))?;
    scrypt::scrypt(password.as_bytes(), salt.as_bytes(), &params, &mut key)
        .map_err(|e| anyhow::anyhow!("scrypt: {e}"))?;
    Ok(format!("scrypt:32768:8:1${salt}${}", super::tokens::hex(&key)))
}

/// A hash that no password matches: an unknown account costs as much time as a known one.
fn nobody(form: Form) -> &'static str {
    match form {
        Form::Argon2id => {
            "$argon2id$v=19$m=19456,t=2,p=1$dHJlbmRzLmVhcnRoLm5vYm9keQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        }
        Form::Werkzeug => "scrypt:32768:8:1$trendsearthnobod$00",
    }
}

/// Verifies any form of hash that this server or the existing one writes; another form never matches.
pub fn verify(password: &str, stored: &str) -> bool {
    if stored.starts_with("$argon2id$") {
        return verify_argon2(password, stored).unwrap_or(false);
    }
    let mut parts = stored.splitn(3, '$');
    let (Some(method), Some(salt), Some(hex)) = (parts.next(), parts.next(), parts.next()) else { return false };
    let mut words = method.split(':');
    match words.next() {
        Some("scrypt") => verify_scrypt(password, salt, hex, words),
        Some("pbkdf2") => verify_pbkdf2(password, salt, hex, words),
        _ => false,
    }
}

fn verify_argon2(password: &str, stored: &str) -> Option<bool> {
    let mut parts = stored.split('$').skip(3);
    let (costs, salt, key) = (parts.next()?, parts.next()?, parts.next()?);
    let cost = |name: &str| costs.split(',').find_map(|c| c.strip_prefix(name)?.parse::<u32>().ok());
    let (m, t, p) = (cost("m=")?, cost("t=")?, cost("p=")?);
    // What is stored is input too: a row must not be able to cost more than a sign-in may.
    if m > 262_144 || t > 16 || p > 16 {
        return None;
    }
    let (salt, key) = (BASE64.decode(salt).ok()?, BASE64.decode(key).ok()?);
    if !(16..=64).contains(&key.len()) {
        return None;
    }
    let params = argon2::Params::new(m, t, p, Some(key.len())).ok()?;
    let mut computed = vec![0; key.len()];
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    compute(&argon2, password, &salt, &mut computed).ok()?;
    Some(computed.ct_eq(&key).into())
}

fn verify_scrypt<'a>(password: &str, salt: &str, hex: &str, mut words: impl Iterator<Item = &'a str>) -> bool {
    let mut number = |default: u32| words.next().map_or(Some(default), |w| w.parse().ok());
    let (Some(n), Some(r), Some(p)) = (number(32_768), number(8), number(1)) else { return false };
    // 128 MiB at most: N × r × 128 bytes.
    if !n.is_power_of_two() || n < 2 || u64::from(n) * u64::from(r) > 1 << 20 || p == 0 || p > 16 {
        return false;
    }
    let Ok(log_n) = u8::try_from(n.trailing_zeros()) else { return false };
    let Ok(params) = scrypt::Params::new(log_n, r, p) else { return false };
    let mut computed = [0; 64];
    scrypt::scrypt(password.as_bytes(), salt.as_bytes(), &params, &mut computed).is_ok() && equals_hex(&computed, hex)
}

fn verify_pbkdf2<'a>(password: &str, salt: &str, hex: &str, mut words: impl Iterator<Item = &'a str>) -> bool {
    let name = words.next().unwrap_or("sha256");
    let Some(rounds) = words.next().map_or(Some(1_000_000), |w| w.parse::<u32>().ok()) else { return false };
    if rounds == 0 || rounds > 10_000_000 {
        return false;
    }
    fn derive<M: KeyInit + pbkdf2::hmac::digest::Update + pbkdf2::hmac::digest::FixedOutput + Clone + Sync>(
        password: &str,
        salt: &str,
        rounds: u32,
        length: usize,
    ) -> Vec<u8> {
        let mut key = vec![0; length];
        let fits = pbkdf2::pbkdf2::<M>(password.as_bytes(), salt.as_bytes(), rounds, &mut key).is_ok();
        if fits { key } else { Vec::new() }
    }
    let computed = match name {
        "sha1" => derive::<Hmac<sha1::Sha1>>(password, salt, rounds, 20),
        "sha224" => derive::<Hmac<sha2::Sha224>>(password, salt, rounds, 28),
        "sha256" => derive::<Hmac<sha2::Sha256>>(password, salt, rounds, 32),
        "sha384" => derive::<Hmac<sha2::Sha384>>(password, salt, rounds, 48),
        "sha512" => derive::<Hmac<sha2::Sha512>>(password, salt, rounds, 64),
        _ => return false,
    };
    !computed.is_empty() && equals_hex(&computed, hex)
}

fn equals_hex(computed: &[u8], hex: &str) -> bool {
    super::tokens::hex(computed).as_bytes().ct_eq(hex.as_bytes()).into()
}
