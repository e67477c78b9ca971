//! `/api/v1/stats/cache`: answers about statistics that this node keeps for a while, and forgetting them.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use axum::{Json, extract::State};
use chrono::TimeDelta;
use serde::Serialize;
use serde_json::Value;

use super::may;
use crate::{
    api::{Data, data, extract::query::Pairs},
    app::App,
    auth::User,
    error::{Error, Result},
    store::Time,
};

/// How long an answer is kept.
const TTL: TimeDelta = TimeDelta::seconds(300);
/// Answers that are kept at one time; parts of their names are free text.
const MOST: usize = 500;

/// Answers by their keys, each with the time at which it ends.
#[derive(Debug, Default)]
pub struct Cache(Mutex<BTreeMap<String, (Time, Value)>>);

impl Cache {
    /// What is kept under a key.
    pub fn get(&self, key: &str, now: Time) -> Option<Value> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(key).filter(|(until, _)| *until > now).map(|(_, value)| value.clone())
    }

    pub fn put(&self, key: String, value: Value, now: Time) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, (until, _)| *until > now);
        while kept.len() >= MOST {
            let Some(oldest) = kept.iter().min_by_key(|(_, (until, _))| *until).map(|(key, _)| key.clone()) else {
                break;
            };
            kept.remove(&oldest);
        }
        kept.insert(key, (now + TTL, value));
    }

    /// The keys with their remaining seconds, longest first.
    fn keys(&self, now: Time) -> Vec<(String, i64)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |until: Time| (until - now + TimeDelta::milliseconds(999)).num_seconds();
        let mut keys: Vec<(String, i64)> =
            kept.iter().map(|(key, (until, _))| (key.clone(), left(*until))).filter(|(_, left)| *left > 0).collect();
        keys.sort_by_key(|(_, left)| -left);
        keys
    }

    /// Forgets what one of these words stands in the key of.
    fn clear(&self, words: &[&str]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|key, _| !words.iter().any(|word| key.contains(word)));
    }
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct Kept {
    /// Always true: it is memory of this process.
    available: bool,
    total_keys: usize,
    keys: Vec<Key>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct Key {
    key: String,
    ttl_seconds: i64,
    /// `4m 59s`
    expires_in: String,
}

/// What this node keeps. SUPERADMIN only.
#[utoipa::path(get, path = "/api/v1/stats/cache", tag = "stats", security(("bearerAuth" = ["stats:read"])),
    responses((status = 200, body = Data<Kept>), (status = 403, body = crate::api::ErrorBody)))]
pub async fn list(State(app): State<App>, user: User) -> Result<Json<Data<Kept>>> {
    may(&user, "SUPERADMIN role required")?;
    let key = |(key, ttl_seconds)| Key {
        key,
        ttl_seconds,
        expires_in: format!("{}m {}s", ttl_seconds / 60, ttl_seconds % 60),
    };
    let keys: Vec<Key> = app.statistics.keys(app.clock.now()).into_iter().map(key).collect();
    Ok(data(Kept { available: true, total_keys: keys.len(), keys }))
}

/// The word of a pattern, and the words of the keys that it means.
const PATTERNS: [(&str, &[&str]); 7] = [
    ("summary", &["summary"]),
    ("trends", &["trends"]),
    ("geographic", &["geographic"]),
    ("tasks", &["tasks"]),
    ("executions", &["get_execution_stats"]),
    ("users", &["get_user_stats"]),
    ("activity", &["get_user_stats"]),
];

#[derive(Serialize, utoipa::ToSchema)]
pub struct Cleared {
    success: bool,
    message: String,
}

/// Forgets what this node keeps, or what a pattern names of it. SUPERADMIN only.
#[utoipa::path(delete, path = "/api/v1/stats/cache", tag = "stats", security(("bearerAuth" = ["stats:read"])), params(("pattern" = Option<String>, Query)),
    responses((status = 200, body = Data<Cleared>), (status = 400, body = crate::api::ErrorBody), (status = 403, body = crate::api::ErrorBody)))]
pub async fn clear(State(app): State<App>, user: User, query: Pairs) -> Result<Json<Data<Cleared>>> {
    may(&user, "SUPERADMIN role required")?;
    let Some(pattern) = query.get("pattern").filter(|text| !text.is_empty()) else {
        app.statistics.clear(&[""]);
        return Ok(data(Cleared { success: true, message: "Cache cleared successfully".into() }));
    };
    let Some((_, words)) = PATTERNS.iter().find(|(name, _)| *name == pattern) else {
        let names = PATTERNS.map(|(name, _)| name).join(", ");
        return Err(Error::invalid(format!("Invalid pattern. Allowed patterns: {names}")));
    };
    app.statistics.clear(words);
    Ok(data(Cleared { success: true, message: format!("Cache cleared successfully for pattern: {pattern}") }))
}
