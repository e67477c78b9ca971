//! Rows that are of no use any more, of several tables. Each kind is deleted in batches, so that nobody waits for long.

use std::collections::BTreeSet;

use super::{
    Db, Id, Time,
    search::{Value, placeholders},
};
use crate::{bind_values, reading, writing};

/// A kind of row: table, key, and the condition (`$1` is the time before which it counts).
pub type Kind = (&'static str, &'static str, &'static str);

pub const EXPIRED_SESSIONS: Kind = ("refresh_tokens", "id", "expires_at < $1");
pub const DEAD_LINKS: Kind = ("password_reset_token", "id", "expires_at < $1");
pub const ENDED_REVOCATIONS: Kind = ("token_revocation", "jti", "expires_at < $1");
/// Failures of addresses that nobody has, a day after the last one.
pub const UNKNOWN_LOGINS: Kind =
    ("unknown_login", "email_sha256", "last_at < $1 AND (locked_until IS NULL OR locked_until < $1)");
pub const SENT_LETTERS: Kind = ("mail_outbox", "id", "next_at IS NULL AND created_at < $1");
pub const LIMIT_EVENTS: Kind = ("rate_limit_event", "id", "occurred_at < $1");
/// Names of submits; each has one execution.
pub const OLD_KEYS: Kind = ("idempotency_key", "execution_id", "created_at < $1");
/// Audit rows are kept for 400 days: the database itself refuses to delete younger ones.
pub const OLD_AUDIT: Kind = ("audit_event", "id", "at < $1");

/// Deletes at most `most` rows of a kind and says how many that were.
pub async fn batch(db: &Db, (table, key, condition): Kind, before: Time, most: i64) -> sqlx::Result<u64> {
    let text = sqlx::AssertSqlSafe(format!(
        "DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {condition} LIMIT $2)"
    ));
    writing!(db, |on| sqlx::query(text).bind(before).bind(most).execute(on).await.map(|r| r.rows_affected()))
}

/// Which of these ids have no row in the table any more.
pub async fn gone(db: &Db, table: &'static str, ids: &[Id]) -> sqlx::Result<BTreeSet<Id>> {
    let mut gone: BTreeSet<Id> = ids.iter().copied().collect();
    for some in ids.chunks(500) {
        let values: Vec<Value> = some.iter().map(|id| Value::Id(*id)).collect();
        let list = placeholders(1, some.len());
        let text = sqlx::AssertSqlSafe(format!("SELECT id FROM {table} WHERE id IN ({list})"));
        let there: Vec<Id> = reading!(db, |on| bind_values!(sqlx::query_scalar(text), values).fetch_all(on).await)?;
        for id in there {
            gone.remove(&id);
        }
    }
    Ok(gone)
}
