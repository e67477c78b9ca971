//! Ended access tokens in Redis, where the existing server keeps them (contract/auth-users.md 4.2). Beside our own table,
//! which counts whatever becomes of Redis.

use std::time::Duration;

use super::tokens::Access;
use crate::{redis::Redis, store::Time};

/// How long a request waits for a word about its token.
const PATIENCE: Duration = Duration::from_millis(200);
/// Seconds that an entry outlives its token: the clocks of two servers differ.
const LONGER: i64 = 60;

/// `None` where no other server ends tokens.
pub struct Blocklist(pub Option<Redis>);

impl Blocklist {
    /// Tells the existing server that a token has ended.
    pub async fn insert(&self, token: &Access, now: Time) {
        let Some(redis) = &self.0 else { return };
        let seconds = (token.exp - now.and_utc().timestamp()).max(0) + LONGER;
        let mut command = redis::cmd("SET");
        command.arg(key(token)).arg("revoked").arg("EX").arg(seconds);
        // Redis away: it has said so in the log, and here the token has ended.
        let _ = redis.ask::<()>(&command, PATIENCE).await;
    }

    /// Whether a token was ended there; not, as far as one knows, while Redis is away.
    pub async fn holds(&self, token: &Access) -> bool {
        let Some(redis) = &self.0 else { return false };
        let found = redis.ask::<Option<Vec<u8>>>(redis::cmd("GET").arg(key(token)), PATIENCE).await;
        found.is_ok_and(|value| value.is_some())
    }
}

fn key(token: &Access) -> String {
    format!("blocklist:{}", token.jti)
}
