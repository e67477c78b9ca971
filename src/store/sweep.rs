//! Rows that are of no use any more, of several tables. Each kind is deleted in batches, so that nobody waits for long.

use std::collections::BTreeSet;

use super::{
    Db, Id, Time,
    search::{Value, placeholders},
};
use crate::{bind_values, reading, within, writing};

/// A kind of row: table, key, and the condition (`$1` is the time before which it counts).
pub type Kind = (&'static str, &'static str, &'static str);

/// Refresh tokens whose time is over.
pub const EXPIRED_SESSIONS: Kind = ("refresh_tokens", "id", "expires_at < $1");
/// Sessions that nobody has used, since they began or since they were used last.
pub const IDLE_SESSIONS: Kind = ("refresh_tokens", "id", "COALESCE(last_used_at, created_at) < $1");
/// Links to set a password that work no more.
pub const DEAD_LINKS: Kind = ("password_reset_token", "id", "expires_at < $1");
/// Codes for mails to many that work no more.
pub const DEAD_CODES: Kind = ("bulk_email_verification_token", "id", "expires_at < $1");
/// Revocations of tokens that have ended by themselves since.
pub const ENDED_REVOCATIONS: Kind = ("token_revocation", "jti", "expires_at < $1");
/// Failures of addresses that nobody has, a day after the last one.
pub const UNKNOWN_LOGINS: Kind =
    ("unknown_login", "email_sha256", "last_at < $1 AND (locked_until IS NULL OR locked_until < $1)");
/// Letters that were sent or given up.
pub const SENT_LETTERS: Kind = ("mail_outbox", "id", "next_at IS NULL AND created_at < $1");
/// Notes of requests that were refused for their number.
pub const LIMIT_EVENTS: Kind = ("rate_limit_event", "id", "occurred_at < $1");
/// Names of submits; each has one execution.
pub const OLD_KEYS: Kind = ("idempotency_key", "execution_id", "created_at < $1");
/// Audit rows are kept for 400 days: the database itself refuses to delete younger ones.
pub const OLD_AUDIT: Kind = ("audit_event", "id", "at < $1");

/// Jobs that are done or were given up.
pub const ENDED_JOBS: Kind = ("job", "id", "finished_at < $1 AND state IN ('done', 'failed')");
/// Calls to addresses of callers that were made or given up, of executions that ended before then.
pub const MADE_CALLS: Kind = (
    "webhook_delivery",
    "id",
    "next_at IS NULL AND execution_id IN (SELECT e.id FROM execution e WHERE e.end_date < $1)",
);

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

/// Removes workers that nobody has seen since.
pub async fn workers(db: &Db, before: Time) -> sqlx::Result<()> {
    writing!(db, |on| sqlx::query(
        "DELETE FROM worker WHERE seen_at < $1
             AND NOT EXISTS (SELECT 1 FROM job WHERE job.worker_id = worker.id AND job.state = 'running')"
    )
    .bind(before)
    .execute(on)
    .await
    .map(drop))
}

/// Which of these executions have ended before then.
pub async fn ended(db: &Db, executions: &[Id], before: Time) -> sqlx::Result<Vec<Id>> {
    let mut ended = Vec::new();
    for some in executions.chunks(500) {
        let values: Vec<Value> = some.iter().map(|id| Value::Id(*id)).collect();
        let text = sqlx::AssertSqlSafe(format!(
            "SELECT id FROM execution WHERE end_date < $1 AND status IN ('FINISHED', 'FAILED', 'CANCELLED') AND id IN ({})",
            placeholders(2, some.len())
        ));
        let some: Vec<Id> =
            reading!(db, |on| bind_values!(sqlx::query_scalar(text).bind(before), values).fetch_all(on).await)?;
        ended.extend(some);
    }
    Ok(ended)
}

/// Runs of ours that ended before then and have said something that is still kept.
pub async fn with_logs(db: &Db, before: Time, most: i64) -> sqlx::Result<Vec<Id>> {
    reading!(db, |on| sqlx::query_scalar(
        "SELECT e.id FROM execution e JOIN execution_run r ON r.execution_id = e.id
         WHERE COALESCE(e.end_date, '9999-12-31') < $1 AND r.log_bytes >= 0 LIMIT $2"
    )
    .bind(before)
    .bind(most)
    .fetch_all(on)
    .await)
}

/// Removes at most `most` lines of an execution, and says how many that were.
pub async fn drop_logs(db: &Db, execution: Id, most: i64) -> sqlx::Result<u64> {
    writing!(db, |on| {
        sqlx::query(
        "DELETE FROM execution_log WHERE id IN (SELECT id FROM execution_log WHERE execution_id = $1 ORDER BY id LIMIT $2)"
    )
    .bind(execution)
    .bind(most)
    .execute(on)
    .await
    .map(|r| r.rows_affected())
    })
}

/// Notes that the log of a run is gone.
pub async fn note_no_logs(db: &Db, execution: Id) -> sqlx::Result<()> {
    writing!(db, |on| sqlx::query("UPDATE execution_run SET log_bytes = -1 WHERE execution_id = $1")
        .bind(execution)
        .execute(on)
        .await
        .map(drop))
}

/// Runs of ours that ended before then and whose results are still kept; `expired` is the key of those whose are not.
pub async fn with_results(db: &Db, before: Time, expired: &str, most: i64) -> sqlx::Result<Vec<Id>> {
    reading!(db, |on| sqlx::query_scalar(
        "SELECT e.id FROM execution e JOIN execution_run r ON r.execution_id = e.id
         WHERE COALESCE(e.end_date, '9999-12-31') < $1 AND (r.results_key IS NULL OR r.results_key <> $2) LIMIT $3"
    )
    .bind(before)
    .bind(expired)
    .bind(most)
    .fetch_all(on)
    .await)
}

/// Removes the results of a run from its row, and notes that they are gone.
pub async fn drop_results(db: &Db, execution: Id, expired: &str) -> sqlx::Result<()> {
    let mut tx = db.begin().await?;
    within!(&mut tx, |on| sqlx::query("UPDATE execution SET results = '{}' WHERE id = $1")
        .bind(execution)
        .execute(on)
        .await
        .map(drop))?;
    within!(&mut tx, |on| sqlx::query("UPDATE execution_run SET results_key = $2 WHERE execution_id = $1")
        .bind(execution)
        .bind(expired)
        .execute(on)
        .await
        .map(drop))?;
    tx.commit().await
}

/// Names of the folders, of unpacked versions and of environments, that open runs and builds under way need.
pub async fn needed_files(db: &Db) -> sqlx::Result<Vec<String>> {
    let rows: Vec<(String, Option<String>)> = reading!(db, |on| sqlx::query_as(
        "SELECT v.digest, v.requirements_digest FROM script_version v WHERE v.status IN ('PENDING', 'BUILDING')
         UNION SELECT v.digest, v.requirements_digest FROM execution e JOIN execution_run r ON r.execution_id = e.id
             JOIN script_version v ON v.id = r.script_version_id
             WHERE e.status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING')"
    )
    .fetch_all(on)
    .await)?;
    Ok(rows
        .into_iter()
        .flat_map(|(digest, environment)| [Some(digest.trim_start_matches("sha256:").to_owned()), environment])
        .flatten()
        .collect())
}
