//! Table `password_reset_token`: links to set a password, each for one use.

use super::{Id, Time, Tx};
use crate::within;

/// Stores a link's token: its digest, or beside the existing server the token itself.
pub async fn insert(tx: &mut Tx, user: Id, stored: &str, expires_at: Time, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO password_reset_token (id, token, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)"
    )
    .bind(Id::random())
    .bind(stored)
    .bind(user)
    .bind(now)
    .bind(expires_at)
    .execute(on)
    .await
    .map(drop))
}

/// Ends every link of an account that was not used yet.
pub async fn end_all(tx: &mut Tx, user: Id, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query("UPDATE password_reset_token SET used_at = $2 WHERE user_id = $1 AND used_at IS NULL")
        .bind(user)
        .bind(now)
        .execute(on)
        .await
        .map(drop))
}

/// Uses up a living link, stored in either form, and says whose it is. Of two at one time one wins.
pub async fn take(tx: &mut Tx, stored: [&str; 2], now: Time) -> sqlx::Result<Option<Id>> {
    within!(tx, |on| sqlx::query_scalar(
        "UPDATE password_reset_token SET used_at = $3
         WHERE token IN ($1, $2) AND used_at IS NULL AND expires_at > $3 RETURNING user_id"
    )
    .bind(stored[0])
    .bind(stored[1])
    .bind(now)
    .fetch_optional(on)
    .await)
}
