//! A submit that is repeated (by a client that did not hear the answer) makes no second run. The client names its submit by
//! a key; for the QGIS plugin, which does not, the server makes one of script and parameters.

use crate::{
    auth::tokens,
    clock::after,
    error::{Error, Result},
    json::canonical,
    store::{self, Id, Json, Time, Tx},
};

/// Seconds that a client's key lives.
pub const KEY_S: u64 = 86_400;
/// Seconds that a key of the server's own lives, unless its run ends before.
const OWN_KEY_S: u64 = 180;

/// The name of a submit.
#[derive(Debug, Clone)]
pub enum Key {
    /// `Idempotency-Key`.
    Client(String),
    /// Made here for the plugin, which asks again without saying so.
    Own,
}

/// What a submit asks for: the same for the same script, version and parameters, however they are spelled.
pub fn fingerprint(script: Id, version: Option<i32>, params: &Json) -> Result<String> {
    // Numbers as written: a script may tell 1 from 1.0.
    let params = canonical::json(params.0.get(), str::to_owned).map_err(anyhow::Error::from)?;
    Ok(tokens::digest(&format!("{script}\n{version:?}\n{params}")))
}

/// Takes the key for a new execution, or finds the one that was made under it.
///
/// # Errors
/// 422 for a key that was used for another request.
pub async fn take(tx: &mut Tx, user: Id, key: &Key, fingerprint: &str, execution: Id, now: Time) -> Result<Option<Id>> {
    let (name, lives) = match key {
        Key::Client(name) => (format!("client:{name}"), KEY_S),
        Key::Own => (format!("plugin:{fingerprint}"), OWN_KEY_S),
    };
    let Some(used) = store::idempotency_keys::take(tx, user, &name, fingerprint, execution, now).await? else {
        return Ok(None);
    };
    let mut over = after(used.created_at, lives) <= now;
    if matches!(key, Key::Own) && !over {
        over = store::executions::lock(tx, used.execution_id).await?.is_none_or(|status| status.is_terminal());
    }
    if over {
        store::idempotency_keys::renew(tx, user, &name, fingerprint, execution, now).await?;
        return Ok(None);
    }
    if used.fingerprint != fingerprint {
        return Err(Error::KeyReused);
    }
    Ok(Some(used.execution_id))
}
