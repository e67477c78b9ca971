//! Table `service_client`: programs that act for an account, within scopes.

use serde::Serialize;

use super::{Db, Id, Time, Tx};
use crate::{reading, within, writing};

/// A client as its owner sees it.
#[derive(Debug, Clone, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct ServiceClient {
    pub id: Id,
    pub name: String,
    /// `te_cid_…`
    pub client_id: String,
    /// The first letters of the secret, to tell one from another.
    pub secret_prefix: String,
    /// Blank-separated; empty means everything.
    pub scopes: String,
    pub user_id: Id,
    pub created_at: Option<chrono::NaiveDateTime>,
    pub last_used_at: Option<chrono::NaiveDateTime>,
    pub expires_at: Option<chrono::NaiveDateTime>,
    pub revoked: bool,
}

/// What a sign-in of a client needs.
#[derive(Debug, sqlx::FromRow)]
pub struct Login {
    pub id: Id,
    pub client_id: String,
    pub client_secret_hash: String,
    pub scopes: String,
    pub user_id: Id,
}

const COLUMNS: &str =
    "id, name, client_id, secret_prefix, scopes, user_id, created_at, last_used_at, expires_at, revoked";

/// Stores a new client unless its owner has `most` that are not revoked; whether it was stored.
pub async fn insert(tx: &mut Tx, new: &ServiceClient, secret_hash: &str, most: i64) -> sqlx::Result<bool> {
    // The owner's row is locked, so that two at one time do not both find room for the last one.
    let lock = sqlx::AssertSqlSafe(format!(r#"SELECT id FROM "user" WHERE id = $1 {}"#, tx.for_update()));
    let _: Option<Id> = within!(tx, |on| sqlx::query_scalar(lock).bind(new.user_id).fetch_optional(on).await)?;
    within!(tx, |on| {
        sqlx::query(
        "INSERT INTO service_client (id, name, client_id, client_secret_hash, secret_prefix, scopes, user_id, created_at, expires_at, revoked)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10
         WHERE (SELECT count(*) FROM service_client WHERE user_id = $7 AND NOT revoked) < $11"
    )
    .bind(new.id)
    .bind(&new.name)
    .bind(&new.client_id)
    .bind(secret_hash)
    .bind(&new.secret_prefix)
    .bind(&new.scopes)
    .bind(new.user_id)
    .bind(new.created_at)
    .bind(new.expires_at)
    .bind(false)
    .bind(most)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1)
    })
}

/// The living client of this client id.
pub async fn login(db: &Db, client_id: &str, now: Time) -> sqlx::Result<Option<Login>> {
    reading!(db, |on| sqlx::query_as(
        "SELECT id, client_id, client_secret_hash, scopes, user_id FROM service_client
         WHERE client_id = $1 AND NOT revoked AND (expires_at IS NULL OR expires_at > $2)"
    )
    .bind(client_id)
    .bind(now)
    .fetch_optional(on)
    .await)
}

/// Notes a use, unless one was noted at or after `stale`.
pub async fn touch(db: &Db, id: Id, stale: Time, now: Time) -> sqlx::Result<()> {
    writing!(db, |on| sqlx::query(
        "UPDATE service_client SET last_used_at = $3 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)"
    )
    .bind(id)
    .bind(stale)
    .bind(now)
    .execute(on)
    .await
    .map(drop))
}

/// The clients of an account that are not revoked, newest first.
pub async fn list(db: &Db, user: Id) -> sqlx::Result<Vec<ServiceClient>> {
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM service_client WHERE user_id = $1 AND NOT revoked ORDER BY created_at DESC, id"
    ));
    reading!(db, |on| sqlx::query_as(text).bind(user).fetch_all(on).await)
}

/// The client of this id, whoever owns it.
pub async fn find(db: &Db, id: Id) -> sqlx::Result<Option<ServiceClient>> {
    let text = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM service_client WHERE id = $1"));
    reading!(db, |on| sqlx::query_as(text).bind(id).fetch_optional(on).await)
}

/// Ends a client and with it its tokens.
pub async fn revoke(tx: &mut Tx, id: Id) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query("UPDATE service_client SET revoked = $2 WHERE id = $1")
        .bind(id)
        .bind(true)
        .execute(on)
        .await
        .map(drop))
}
