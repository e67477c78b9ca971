//! Table `idempotency_key`: the first submit under a key owns it, and a repetition finds the execution that it made.

use super::{Id, Time, Tx};
use crate::within;

/// A key that was used before.
#[derive(Debug, sqlx::FromRow)]
pub struct Used {
    pub fingerprint: String,
    pub execution_id: Id,
    pub created_at: Time,
}

/// Takes a key for an execution that is about to be made; what stood under it already, if anything did.
pub async fn take(
    tx: &mut Tx,
    user: Id,
    key: &str,
    fingerprint: &str,
    execution: Id,
    now: Time,
) -> sqlx::Result<Option<Used>> {
    let taken = within!(tx, |on| {
        sqlx::query(
        "INSERT INTO idempotency_key (user_id, key, fingerprint, execution_id, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (user_id, key) DO NOTHING"
    )
    .bind(user)
    .bind(key)
    .bind(fingerprint)
    .bind(execution)
    .bind(now)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1)
    })?;
    if taken {
        return Ok(None);
    }
    within!(tx, |on| sqlx::query_as(
        "SELECT fingerprint, execution_id, created_at FROM idempotency_key WHERE user_id = $1 AND key = $2"
    )
    .bind(user)
    .bind(key)
    .fetch_optional(on)
    .await)
}

/// Gives a key whose time is over to another execution.
pub async fn renew(tx: &mut Tx, user: Id, key: &str, fingerprint: &str, execution: Id, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        "UPDATE idempotency_key SET fingerprint = $3, execution_id = $4, created_at = $5 WHERE user_id = $1 AND key = $2"
    )
    .bind(user)
    .bind(key)
    .bind(fingerprint)
    .bind(execution)
    .bind(now)
    .execute(on)
    .await
    .map(drop)
    })
}
