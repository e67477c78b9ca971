//! Table `execution_credential`: the one password with which a run speaks for itself.

use super::{Db, Id, Time, Tx};
use crate::{reading, within};

/// A row of `execution_credential`.
#[derive(Debug, sqlx::FromRow)]
pub struct Credential {
    pub attempt: i32,
    /// SHA-256 of the password, hex.
    pub secret_sha256: String,
    /// Set when the run ends.
    pub expires_at: Option<Time>,
}

/// Gives a run its credential; one of an earlier attempt is replaced.
pub async fn replace(tx: &mut Tx, execution: Id, attempt: i32, secret_sha256: &str) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        "INSERT INTO execution_credential (execution_id, attempt, secret_sha256) VALUES ($1, $2, $3)
         ON CONFLICT (execution_id) DO UPDATE SET attempt = excluded.attempt, secret_sha256 = excluded.secret_sha256, expires_at = NULL"
    )
    .bind(execution)
    .bind(attempt)
    .bind(secret_sha256)
    .execute(on)
    .await
    .map(drop)
    })
}

/// The credential of a run, unless its time is over.
pub async fn living(db: &Db, execution: Id, now: Time) -> sqlx::Result<Option<Credential>> {
    reading!(db, |on| sqlx::query_as(
        "SELECT attempt, secret_sha256, expires_at FROM execution_credential
         WHERE execution_id = $1 AND (expires_at IS NULL OR expires_at > $2)"
    )
    .bind(execution)
    .bind(now)
    .fetch_optional(on)
    .await)
}

/// Ends the credential of a run at once.
pub async fn revoke(tx: &mut Tx, execution: Id, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query("UPDATE execution_credential SET expires_at = $2 WHERE execution_id = $1")
        .bind(execution)
        .bind(now)
        .execute(on)
        .await
        .map(drop))
}

/// Lets the credential end with its run; late words are heard until then.
pub async fn expire(tx: &mut Tx, execution: Id, at: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "UPDATE execution_credential SET expires_at = $2 WHERE execution_id = $1 AND expires_at IS NULL"
    )
    .bind(execution)
    .bind(at)
    .execute(on)
    .await
    .map(drop))
}
