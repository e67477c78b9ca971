//! Table `refresh_tokens`: what keeps a session alive after its access token has ended.

use serde::Serialize;

use super::{Db, Id, Time, Tx};
use crate::{reading, within};

pub struct NewRefreshToken<'a> {
    pub user: Id,
    /// What is stored: the token itself beside the reference, else its digest.
    pub token: &'a str,
    pub device_info: &'a str,
    pub expires_at: Time,
}

pub async fn insert(tx: &mut Tx, new: &NewRefreshToken<'_>, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO refresh_tokens (id, user_id, token, expires_at, created_at, is_revoked, device_info)
         VALUES ($1, $2, $3, $4, $5, $6, $7)"
    )
    .bind(Id::random())
    .bind(new.user)
    .bind(new.token)
    .bind(new.expires_at)
    .bind(now)
    .bind(false)
    .bind(new.device_info)
    .execute(on)
    .await
    .map(drop))
}

/// A living token's owner and device.
#[derive(Debug, sqlx::FromRow)]
pub struct Living {
    pub user_id: Id,
    pub device_info: Option<String>,
}

/// A session as its owner sees it.
#[derive(Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Session {
    pub id: Id,
    pub device_info: Option<String>,
    pub created_at: chrono::NaiveDateTime,
    pub expires_at: chrono::NaiveDateTime,
    pub last_used_at: Option<chrono::NaiveDateTime>,
    pub is_revoked: bool,
}

/// Notes the use of a living token, stored in either form.
pub async fn touch(tx: &mut Tx, stored: [&str; 2], now: Time) -> sqlx::Result<Option<Living>> {
    within!(tx, |on| sqlx::query_as(
        "UPDATE refresh_tokens SET last_used_at = $3
         WHERE token IN ($1, $2) AND is_revoked = $4 AND expires_at > $3 RETURNING user_id, device_info"
    )
    .bind(stored[0])
    .bind(stored[1])
    .bind(now)
    .bind(false)
    .fetch_optional(on)
    .await)
}

/// The living sessions of a user, newest first.
pub async fn list(db: &Db, user: Id, now: Time) -> sqlx::Result<Vec<Session>> {
    reading!(db, |on| sqlx::query_as(
        "SELECT id, device_info, created_at, expires_at, last_used_at, is_revoked FROM refresh_tokens
         WHERE user_id = $1 AND is_revoked = $2 AND expires_at > $3 ORDER BY created_at DESC, id"
    )
    .bind(user)
    .bind(false)
    .bind(now)
    .fetch_all(on)
    .await)
}

/// Ends one session of a user; false if he has none of this id.
pub async fn revoke_session(tx: &mut Tx, user: Id, id: Id) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query("UPDATE refresh_tokens SET is_revoked = $3 WHERE id = $1 AND user_id = $2")
        .bind(id)
        .bind(user)
        .bind(true)
        .execute(on)
        .await
        .map(|r| r.rows_affected() == 1))
}

/// Ends one token of a user; false if it is unknown or had ended before.
pub async fn revoke(tx: &mut Tx, user: Id, stored: [&str; 2]) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query(
        "UPDATE refresh_tokens SET is_revoked = $4 WHERE user_id = $1 AND token IN ($2, $3) AND is_revoked = $5"
    )
    .bind(user)
    .bind(stored[0])
    .bind(stored[1])
    .bind(true)
    .bind(false)
    .execute(on)
    .await
    .map(|r| r.rows_affected() > 0))
}

/// Ends all tokens of a user and counts those that had not been ended before.
pub async fn revoke_all(tx: &mut Tx, user: Id) -> sqlx::Result<u64> {
    within!(tx, |on| sqlx::query("UPDATE refresh_tokens SET is_revoked = $2 WHERE user_id = $1 AND is_revoked = $3")
        .bind(user)
        .bind(true)
        .bind(false)
        .execute(on)
        .await
        .map(|r| r.rows_affected()))
}
