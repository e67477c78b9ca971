//! Table `engine_state`: what workers saw of their engines last. The API never asks an engine itself.

use super::{Db, Json, Time};
use crate::{reading, writing};

/// A row of `engine_state`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct EngineState {
    pub scope: String,
    pub snapshot: Json,
    pub collected_at: Time,
}

/// Replaces what was known of a place.
pub async fn put(db: &Db, scope: &str, snapshot: &Json, now: Time) -> sqlx::Result<()> {
    writing!(db, |on| sqlx::query(
        "INSERT INTO engine_state (scope, snapshot, collected_at) VALUES ($1, $2, $3)
         ON CONFLICT (scope) DO UPDATE SET snapshot = EXCLUDED.snapshot, collected_at = EXCLUDED.collected_at"
    )
    .bind(scope)
    .bind(snapshot)
    .bind(now)
    .execute(on)
    .await
    .map(drop))
}

/// What was seen since.
pub async fn list(db: &Db, since: Time) -> sqlx::Result<Vec<EngineState>> {
    reading!(db, |on| sqlx::query_as(
        "SELECT scope, snapshot, collected_at FROM engine_state WHERE collected_at >= $1 ORDER BY scope"
    )
    .bind(since)
    .fetch_all(on)
    .await)
}
