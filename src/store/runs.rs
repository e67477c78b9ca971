//! Table `execution_run`: an execution is ours exactly if it has a row here.

use super::{Db, Id, Json, Time, Tx};
use crate::{execution::status::Status, reading, within};

/// A row of `execution_run`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ExecutionRun {
    pub execution_id: Id,
    pub script_version_id: Option<Id>,
    /// The place of its unit, from READY on.
    pub scope: Option<String>,
    pub attempt: i32,
    pub waiting_since: Option<Time>,
    pub started_at: Option<Time>,
    /// Bytes of the unit's journal that are stored.
    pub journal_offset: i64,
    /// Bytes of log text stored so far.
    pub log_bytes: i64,
    pub failure: Option<Json>,
}

const COLUMNS: &str = "SELECT execution_id, script_version_id, scope, attempt, waiting_since, started_at, journal_offset, log_bytes, failure
    FROM execution_run WHERE execution_id = $1";

/// An execution whose row is locked.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub struct Locked {
    pub status: Status,
    /// Of a run of ours: the attempt that counts.
    pub attempt: Option<i32>,
    /// Of a run of ours: bytes of log text stored so far.
    pub log_bytes: Option<i64>,
    /// Whether results lie beside the row.
    pub has_results_beside: bool,
    /// Whether somebody is to be called when it has ended.
    pub has_callback: bool,
}

impl Locked {
    pub fn is_ours(&self) -> bool {
        self.attempt.is_some()
    }
}

/// A run that is accepted.
pub struct NewRun<'a> {
    pub execution: Id,
    pub version: Id,
    /// Set where its owner has no free slot.
    pub waiting_since: Option<Time>,
    /// The execution that is run again.
    pub rerun_of: Option<Id>,
    /// Who is called when it has ended.
    pub callback_url: Option<&'a str>,
}

pub async fn insert(tx: &mut Tx, new: &NewRun<'_>) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO execution_run (execution_id, script_version_id, waiting_since, rerun_of, callback_url)
         VALUES ($1, $2, $3, $4, $5)"
    )
    .bind(new.execution)
    .bind(new.version)
    .bind(new.waiting_since)
    .bind(new.rerun_of)
    .bind(new.callback_url)
    .execute(on)
    .await
    .map(drop))
}

/// A run of the existing server that has not ended.
#[derive(Debug, sqlx::FromRow)]
pub struct Foreign {
    pub execution: Id,
    pub status: Status,
    pub script: Option<Id>,
    /// For sentences: the script's slug.
    pub slug: Option<String>,
}

/// Runs of the existing server that have not ended, by id, after the given one.
pub async fn foreign(db: &Db, after: Id, limit: i64) -> sqlx::Result<Vec<Foreign>> {
    reading!(db, |on| {
        sqlx::query_as(
        "SELECT e.id AS execution, e.status, s.id AS script, s.slug FROM execution e LEFT JOIN script s ON s.id = e.script_id
         WHERE e.status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING') AND e.id > $1
             AND NOT EXISTS (SELECT 1 FROM execution_run r WHERE r.execution_id = e.id)
         ORDER BY e.id LIMIT $2"
    )
    .bind(after)
    .bind(limit)
    .fetch_all(on)
    .await
    })
}

/// Makes a run of the existing server ours; false if it is already. Since when it waits moves here: its own server must not find it.
pub async fn take_over(tx: &mut Tx, execution: Id, version: Option<Id>) -> sqlx::Result<bool> {
    let taken = within!(tx, |on| sqlx::query(
        "INSERT INTO execution_run (execution_id, script_version_id, waiting_since)
         SELECT id, $2, queued_at FROM execution WHERE id = $1 ON CONFLICT (execution_id) DO NOTHING"
    )
    .bind(execution)
    .bind(version)
    .execute(on)
    .await
    .map(|done| done.rows_affected() == 1))?;
    within!(tx, |on| sqlx::query("UPDATE execution SET queued_at = NULL WHERE id = $1 AND queued_at IS NOT NULL")
        .bind(execution)
        .execute(on)
        .await
        .map(drop))?;
    Ok(taken)
}

pub async fn find(db: &Db, execution: Id) -> sqlx::Result<Option<ExecutionRun>> {
    reading!(db, |on| sqlx::query_as(COLUMNS).bind(execution).fetch_optional(on).await)
}

pub async fn find_within(tx: &mut Tx, execution: Id) -> sqlx::Result<Option<ExecutionRun>> {
    within!(tx, |on| sqlx::query_as(COLUMNS).bind(execution).fetch_optional(on).await)
}

/// Locks the row of an execution until the transaction ends, and says how it stands.
pub async fn lock(tx: &mut Tx, execution: Id) -> sqlx::Result<Option<Locked>> {
    let lock = tx.for_update_of("e");
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT e.status, r.attempt, r.log_bytes, r.results_key IS NOT NULL AS has_results_beside,
             r.callback_url IS NOT NULL AS has_callback
         FROM execution e LEFT JOIN execution_run r ON r.execution_id = e.id
         WHERE e.id = $1 {lock}"
    ));
    within!(tx, |on| sqlx::query_as(text).bind(execution).fetch_optional(on).await)
}

/// Gives the run a place and a new attempt: written with READY, before the engine is called.
pub async fn dispatch(tx: &mut Tx, execution: Id, scope: &str, now: Time) -> sqlx::Result<i32> {
    within!(tx, |on| sqlx::query_scalar(
        "UPDATE execution_run SET scope = $2, attempt = attempt + 1, started_at = $3, journal_offset = 0
         WHERE execution_id = $1 RETURNING attempt"
    )
    .bind(execution)
    .bind(scope)
    .bind(now)
    .fetch_one(on)
    .await)
}

/// Notes how far the journal is stored, in the transaction that stores its lines.
pub async fn advance_journal(tx: &mut Tx, execution: Id, offset: i64, log_bytes: i64) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "UPDATE execution_run SET journal_offset = $2, log_bytes = $3 WHERE execution_id = $1"
    )
    .bind(execution)
    .bind(offset)
    .bind(log_bytes)
    .execute(on)
    .await
    .map(drop))
}

/// Notes how much a run has said, under the lock of its execution.
pub async fn set_log_bytes(tx: &mut Tx, execution: Id, log_bytes: i64) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query("UPDATE execution_run SET log_bytes = $2 WHERE execution_id = $1")
        .bind(execution)
        .bind(log_bytes)
        .execute(on)
        .await
        .map(drop))
}

pub async fn set_failure(tx: &mut Tx, execution: Id, failure: &Json) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query("UPDATE execution_run SET failure = $2 WHERE execution_id = $1")
        .bind(execution)
        .bind(failure)
        .execute(on)
        .await
        .map(drop))
}

/// Where results lie that are too large for their row; `None` if they stand in it.
pub async fn set_results_key(tx: &mut Tx, execution: Id, key: Option<&str>) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query("UPDATE execution_run SET results_key = $2 WHERE execution_id = $1")
            .bind(execution)
            .bind(key)
            .execute(on)
            .await
            .map(drop)
    })
}

/// Open runs that have no job, their states and places.
pub async fn without_job(db: &Db, limit: i64) -> sqlx::Result<Vec<(Id, Status, Option<String>)>> {
    reading!(db, |on| sqlx::query_as(
        "SELECT e.id, e.status, r.scope FROM execution e JOIN execution_run r ON r.execution_id = e.id
         WHERE e.status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING')
             AND NOT EXISTS (SELECT 1 FROM job j WHERE j.subject_id = e.id AND j.kind = 'run_execution'
                 AND j.state IN ('waiting', 'running'))
         LIMIT $1"
    )
    .bind(limit)
    .fetch_all(on)
    .await)
}

/// Whether a run of this place that has not begun needs a version.
pub async fn waits_for_version(db: &Db, version: Id, scope: &str) -> sqlx::Result<bool> {
    let one: Option<Id> = reading!(db, |on| sqlx::query_scalar(
        "SELECT e.id FROM execution_run r JOIN execution e ON e.id = r.execution_id
         WHERE r.script_version_id = $1 AND r.scope = $2 AND e.status = 'READY' LIMIT 1"
    )
    .bind(version)
    .bind(scope)
    .fetch_optional(on)
    .await)?;
    Ok(one.is_some())
}

/// Where the results of all runs lie that lie beside their rows; `expired` is the key of those that are gone by intent.
pub async fn all_results_keys(db: &Db, expired: &str) -> sqlx::Result<Vec<String>> {
    reading!(db, |on| sqlx::query_scalar("SELECT results_key FROM execution_run WHERE results_key <> $1")
        .bind(expired)
        .fetch_all(on)
        .await)
}

/// Executions of a script whose results lie beside their rows.
pub async fn with_results_of_script(tx: &mut Tx, script: Id) -> sqlx::Result<Vec<Id>> {
    within!(tx, |on| sqlx::query_scalar(
        "SELECT e.id FROM execution e JOIN execution_run r ON r.execution_id = e.id
         WHERE e.script_id = $1 AND r.results_key IS NOT NULL"
    )
    .bind(script)
    .fetch_all(on)
    .await)
}

/// Executions of a person whose results lie beside their rows.
pub async fn with_results_of_user(tx: &mut Tx, user: Id) -> sqlx::Result<Vec<Id>> {
    within!(tx, |on| sqlx::query_scalar(
        "SELECT e.id FROM execution e JOIN execution_run r ON r.execution_id = e.id
         WHERE e.user_id = $1 AND r.results_key IS NOT NULL"
    )
    .bind(user)
    .fetch_all(on)
    .await)
}

/// What the script of a run reserves: nano-CPUs and bytes.
pub async fn reservation(db: &Db, execution: Id) -> sqlx::Result<Option<(i64, i64)>> {
    reading!(db, |on| sqlx::query_as(
        "SELECT COALESCE(s.cpu_reservation, 0), COALESCE(s.memory_reservation, 0)
         FROM execution e JOIN script s ON s.id = e.script_id WHERE e.id = $1"
    )
    .bind(execution)
    .fetch_optional(on)
    .await)
}
