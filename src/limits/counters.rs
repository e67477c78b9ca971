//! Counters of fixed windows: of all nodes together in Redis, if there is one, else of this node. While Redis is away each
//! node counts for itself: nobody is refused or kept waiting for that.

use std::time::Duration;

use super::{
    Limit,
    memory::{Memory, WHOLE},
};
use crate::{
    redis::{Away, Redis},
    store::Id,
};

/// How long a request waits for a count; the first that does not come in time is the last one that is waited for.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long a reset waits for each of its steps.
const LONG_PATIENCE: Duration = Duration::from_secs(2);
/// What keys begin with in Redis, before `LIMITER/`, as those of the existing server do.
const PREFIX: &str = "LIMITS:";

/// Tells a window from the next one of the same counter, and where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Window {
    /// On this node, by its end.
    Here(i64),
    /// In Redis, by a name.
    Shared(String),
}

/// What a counter says to one more request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Count {
    pub fits: bool,
    /// Whole requests left.
    pub remaining: u32,
    /// Seconds since 1970.
    pub ends: i64,
    /// The first that this window refuses.
    pub first_refusal: bool,
    pub window: Window,
}

/// How often callers have called: counted here, or for all nodes in Redis.
pub struct Counters {
    shared: Option<Redis>,
    /// Those of this node alone.
    pub here: Memory,
}

/// KEYS: the counter. ARGV: its most and the request in tenths, seconds of a window, a name for a new one.
/// Answers: does it fit, tenths used, seconds left, name of the window, is it the first that does not fit.
const TAKE: &str = "
local left = redis.call('TTL', KEYS[1])
if left < 0 then
    redis.call('DEL', KEYS[1])
    redis.call('HSET', KEYS[1], 'used', 0, 'window', ARGV[4])
    redis.call('EXPIRE', KEYS[1], ARGV[3])
    left = tonumber(ARGV[3])
end
local used = tonumber(redis.call('HGET', KEYS[1], 'used'))
local fits, first = 0, 0
if used + tonumber(ARGV[2]) <= tonumber(ARGV[1]) then
    used = redis.call('HINCRBY', KEYS[1], 'used', ARGV[2])
    fits = 1
else
    first = redis.call('HSETNX', KEYS[1], 'refused', 1)
end
return {fits, used, left, redis.call('HGET', KEYS[1], 'window'), first}";

/// KEYS: the counter. ARGV: the name of the window, tenths.
const GIVE_BACK: &str = "
if redis.call('HGET', KEYS[1], 'window') == ARGV[1] then
    local used = tonumber(redis.call('HGET', KEYS[1], 'used')) - tonumber(ARGV[2])
    redis.call('HSET', KEYS[1], 'used', math.max(used, 0))
end";

impl Counters {
    /// Counts in the Redis if there is one, and here while it is away.
    pub fn new(shared: Option<Redis>) -> Self {
        Counters { shared, here: Memory::default() }
    }

    /// Counts one request, if it fits.
    pub async fn take(&self, key: &str, limit: Limit, now: i64) -> Count {
        if let Some(redis) = &self.shared
            && let Ok(count) = take(redis, key, limit, now).await
        {
            return count;
        }
        self.here.take(key, limit, now)
    }

    /// Takes back some tenths of what was counted in a window; one that has begun since is left alone.
    pub async fn give_back(&self, key: &str, tenths: u32, window: &Window) {
        match (window, &self.shared) {
            (Window::Here(ends), _) => self.here.give_back(key, tenths, *ends),
            (Window::Shared(name), Some(redis)) => {
                let mut command = redis::cmd("EVAL");
                command.arg(GIVE_BACK).arg(1).arg(format!("{PREFIX}{key}")).arg(name).arg(tenths);
                // What is lost with Redis needs no giving back.
                let _ = redis.ask::<()>(&command, PATIENCE).await;
            }
            (Window::Shared(_), None) => {}
        }
    }

    /// Forgets every counter whose key begins so; whether there was one.
    pub async fn forget(&self, prefix: &str) -> bool {
        let here = self.here.forget(prefix);
        match &self.shared {
            Some(redis) => forget(redis, prefix).await.unwrap_or(false) || here,
            None => here,
        }
    }
}

async fn take(redis: &Redis, key: &str, limit: Limit, now: i64) -> Result<Count, Away> {
    let most = limit.count.saturating_mul(WHOLE);
    let mut command = redis::cmd("EVAL");
    command.arg(TAKE).arg(1).arg(format!("{PREFIX}{key}"));
    command.arg(most).arg(WHOLE).arg(limit.seconds()).arg(Id::random().to_string());
    let (fits, used, left, window, first_refusal) =
        redis.ask::<(bool, u32, i64, String, bool)>(&command, PATIENCE).await?;
    let remaining = most.saturating_sub(used) / WHOLE;
    Ok(Count { fits, remaining, ends: now + left, first_refusal, window: Window::Shared(window) })
}

async fn forget(redis: &Redis, prefix: &str) -> Result<bool, Away> {
    let prefix = if prefix.is_empty() { "LIMITER/" } else { prefix };
    let pattern = format!("{PREFIX}{}*", literal(prefix));
    let (mut cursor, mut gone) = (0u64, 0u64);
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1_000);
        let (next, keys) = redis.ask::<(u64, Vec<String>)>(&scan, LONG_PATIENCE).await?;
        if !keys.is_empty() {
            gone += redis.ask::<u64>(redis::cmd("DEL").arg(&keys), LONG_PATIENCE).await?;
        }
        if next == 0 {
            return Ok(gone > 0);
        }
        cursor = next;
    }
}

/// A text within a pattern, as itself.
fn literal(text: &str) -> String {
    text.chars().fold(String::new(), |mut pattern, c| {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
        pattern
    })
}
