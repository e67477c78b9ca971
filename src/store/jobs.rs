//! Table `job`: the durable queue. A worker holds a job by a lease and a token; every write of a worker carries the token,
//! and zero rows mean that the lease is lost.

use super::{Db, Id, Json, Time, Tx};
use crate::{execution::status::Status, reading, within, writing};

/// A job that a worker has claimed.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Job {
    pub id: Id,
    pub kind: String,
    pub subject_id: Id,
    pub payload: Json,
    pub lease_token: Id,
}

pub struct NewJob<'a> {
    pub kind: &'a str,
    pub subject: Id,
    /// Two jobs of one key never stand in the queue together.
    pub unique_key: Option<String>,
}

/// Who claims, and until when.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    pub worker: Id,
    pub scope: &'a str,
    pub lease_until: Time,
    /// Places whose workers were last seen before this are lost.
    pub lost_before: Time,
    pub now: Time,
}

/// A run that waits for a worker, with what its turn depends on.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Waiting {
    pub job: Id,
    pub execution: Id,
    pub user: Id,
    /// PENDING, or CANCELLING if it is to end before it begins.
    pub status: Status,
    pub start_date: Option<Time>,
    /// Before this it is not given out.
    pub run_at: Time,
    /// Nano-CPUs that its script reserves.
    pub cpu_reservation: i64,
    /// Bytes that its script reserves.
    pub memory_reservation: i64,
    /// By these its script chooses an engine.
    pub environment: Option<String>,
    pub compute_type: String,
}

/// Where a run that was accepted a moment ago stands.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Standing {
    pub user: Id,
    pub start_date: Option<Time>,
    /// How many of its owner's wait before it.
    pub own: i64,
    pub environment: Option<String>,
    pub compute_type: String,
}

/// A build that waits for a worker, or whose worker is gone.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct WaitingBuild {
    pub job: Id,
    /// By these its script chooses an engine; `None` if the script is gone.
    pub environment: Option<String>,
    pub compute_type: Option<String>,
}

/// What a worker has left to give.
#[derive(Debug, Clone, Copy)]
pub struct Free {
    pub cpu_nanos: i64,
    pub memory_bytes: i64,
    /// What the whole machine has: who reserves more than that gets the whole machine.
    pub all_cpu_nanos: i64,
    pub all_memory_bytes: i64,
}

impl Free {
    /// Room for nothing: only runs that are to be cancelled while they wait are taken.
    pub const NOTHING: Free = Free { cpu_nanos: -1, memory_bytes: -1, all_cpu_nanos: 0, all_memory_bytes: 0 };

    pub fn is_nothing(&self) -> bool {
        self.cpu_nanos < 0 || self.memory_bytes < 0
    }
}

/// Whether a worker of the place `$2` may go on with a job; any may if no worker of the job's place was seen after `$3`.
const MINE: &str = "(job.scope IS NULL OR job.scope = $2 OR NOT EXISTS (SELECT 1 FROM worker w
    WHERE CAST(w.scopes AS TEXT) LIKE '%\"' || job.scope || '\"%' AND w.seen_at >= $3))";

/// What becomes of a job that is claimed at `$1`.
const CLAIMED: &str =
    "state = 'running', lease_token = $4, lease_until = $5, worker_id = $6, scope = $2, attempts = attempts + 1";

/// Whether a job waits for a worker, or has lost its own, at `$1`.
const DUE: &str = "((job.state = 'waiting' AND job.run_at <= $1) OR (job.state = 'running' AND job.lease_until <= $1))";

/// What a claim returns.
const JOB: &str = "id, kind, subject_id, payload, lease_token";

pub async fn insert(tx: &mut Tx, new: &NewJob<'_>, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO job (id, kind, subject_id, payload, state, priority, run_at, attempts, unique_key, created_at)
         VALUES ($1, $2, $3, '{}', 'waiting', 0, $4, 0, $5, $4) ON CONFLICT (unique_key) DO NOTHING"
    )
    .bind(Id::ordered())
    .bind(new.kind)
    .bind(new.subject)
    .bind(now)
    .bind(&new.unique_key)
    .execute(on)
    .await
    .map(drop))
}

/// Gives a run that nobody drives a job: to be dispatched, or, with a place, to be taken over there at once.
pub async fn insert_again(tx: &mut Tx, execution: Id, scope: Option<&str>, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        "INSERT INTO job (id, kind, subject_id, payload, state, priority, scope, run_at, attempts, lease_token, lease_until, unique_key, created_at)
         VALUES ($1, 'run_execution', $2, '{}', $3, 0, $4, $5, 0, $6, $7, $8, $5) ON CONFLICT (unique_key) DO NOTHING"
    )
    .bind(Id::ordered())
    .bind(execution)
    .bind(if scope.is_some() { "running" } else { "waiting" })
    .bind(scope)
    .bind(now)
    .bind(scope.map(|_| Id::random()))
    .bind(scope.map(|_| now))
    .bind(format!("run:{execution}"))
    .execute(on)
    .await
    .map(drop)
    })
}

/// Claims the next run whose worker has let its lease pass. One that has a place is only for workers of that place, unless the
/// place is lost; then it moves here.
pub async fn claim_run(db: &Db, claim: &Claim<'_>) -> sqlx::Result<Option<Job>> {
    let text = sqlx::AssertSqlSafe(format!(
        "UPDATE job SET {CLAIMED}
         WHERE id = (SELECT id FROM job WHERE kind = 'run_execution' AND state = 'running' AND lease_until <= $1 AND {MINE}
             ORDER BY priority DESC, run_at LIMIT 1 {}) RETURNING {JOB}",
        db.skip_locked()
    ));
    writing!(db, |on| sqlx::query_as(text)
        .bind(claim.now)
        .bind(claim.scope)
        .bind(claim.lost_before)
        .bind(Id::random())
        .bind(claim.lease_until)
        .bind(claim.worker)
        .fetch_optional(on)
        .await)
}

/// Builds that wait, or whose worker has let its lease pass, in the order in which they are due. One that has a place is only for
/// workers of that place, unless the place is lost.
pub async fn builds(db: &Db, claim: &Claim<'_>) -> sqlx::Result<Vec<WaitingBuild>> {
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT job.id AS job, s.environment, s.compute_type
         FROM job LEFT JOIN script_version v ON v.id = job.subject_id LEFT JOIN script s ON s.id = v.script_id
         WHERE job.kind = 'build_script' AND {DUE} AND {MINE} ORDER BY job.priority DESC, job.run_at LIMIT 1000"
    ));
    reading!(db, |on| sqlx::query_as(text)
        .bind(claim.now)
        .bind(claim.scope)
        .bind(claim.lost_before)
        .fetch_all(on)
        .await)
}

/// Claims one of them, if nobody was first.
pub async fn claim_build(db: &Db, job: Id, claim: &Claim<'_>) -> sqlx::Result<Option<Job>> {
    let text =
        sqlx::AssertSqlSafe(format!("UPDATE job SET {CLAIMED} WHERE id = $7 AND {DUE} AND {MINE} RETURNING {JOB}"));
    writing!(db, |on| sqlx::query_as(text)
        .bind(claim.now)
        .bind(claim.scope)
        .bind(claim.lost_before)
        .bind(Id::random())
        .bind(claim.lease_until)
        .bind(claim.worker)
        .bind(job)
        .fetch_optional(on)
        .await)
}

/// Claims the next job of one of these kinds, which have no place: one that is due, or one whose worker has let its lease pass.
pub async fn claim_anywhere(
    db: &Db,
    kinds: &[&'static str],
    worker: Id,
    lease_until: Time,
    now: Time,
) -> sqlx::Result<Option<Job>> {
    // Names of this program, no values from outside.
    let kinds: Vec<String> = kinds.iter().map(|kind| format!("'{kind}'")).collect();
    let text = sqlx::AssertSqlSafe(format!(
        "UPDATE job SET state = 'running', lease_token = $2, lease_until = $3, worker_id = $1, attempts = attempts + 1
         WHERE id = (SELECT id FROM job WHERE kind IN ({})
             AND ((state = 'waiting' AND run_at <= $4) OR (state = 'running' AND lease_until <= $4))
             ORDER BY priority DESC, run_at LIMIT 1 {})
         RETURNING id, kind, subject_id, payload, lease_token",
        kinds.join(", "),
        db.skip_locked()
    ));
    writing!(db, |on| sqlx::query_as(text)
        .bind(worker)
        .bind(Id::random())
        .bind(lease_until)
        .bind(now)
        .fetch_optional(on)
        .await)
}

/// Every run that waits, in no order.
pub async fn waiting(db: &Db) -> sqlx::Result<Vec<Waiting>> {
    reading!(db, |on| {
        sqlx::query_as(
        r#"SELECT j.id AS job, e.id AS execution, e.user_id AS "user", e.status, e.start_date, j.run_at,
               COALESCE(s.cpu_reservation, 0) AS cpu_reservation, COALESCE(s.memory_reservation, 0) AS memory_reservation,
               s.environment, s.compute_type
           FROM job j JOIN execution e ON e.id = j.subject_id JOIN script s ON s.id = e.script_id
           WHERE j.kind = 'run_execution' AND j.state = 'waiting' AND e.user_id IS NOT NULL"#
    )
    .fetch_all(on)
    .await
    })
}

/// Of a run that waits: where it stands.
pub async fn standing(db: &Db, execution: Id) -> sqlx::Result<Option<Standing>> {
    reading!(db, |on| sqlx::query_as(
        r#"SELECT e.user_id AS "user", e.start_date, s.environment, s.compute_type,
             (SELECT count(*) FROM execution o JOIN execution_run r ON r.execution_id = o.id WHERE o.user_id = e.user_id
                 AND o.status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING') AND o.status = 'PENDING'
                 AND (o.start_date < e.start_date OR (o.start_date = e.start_date AND o.id < e.id))) AS own
         FROM job j JOIN execution e ON e.id = j.subject_id JOIN script s ON s.id = e.script_id
         WHERE j.subject_id = $1 AND j.kind = 'run_execution' AND j.state = 'waiting' AND e.status = 'PENDING'
             AND e.user_id IS NOT NULL"#
    )
    .bind(execution)
    .fetch_optional(on)
    .await)
}

/// Takes one waiting job, if nobody was first.
pub async fn take(tx: &mut Tx, id: Id, claim: &Claim<'_>) -> sqlx::Result<Option<Job>> {
    within!(tx, |on| {
        sqlx::query_as(
        "UPDATE job SET state = 'running', lease_token = $2, lease_until = $3, worker_id = $4, scope = $5, attempts = attempts + 1
         WHERE id = $1 AND state = 'waiting' RETURNING id, kind, subject_id, payload, lease_token"
    )
    .bind(id)
    .bind(Id::random())
    .bind(claim.lease_until)
    .bind(claim.worker)
    .bind(claim.scope)
    .fetch_optional(on)
    .await
    })
}

/// Renews the lease; false if it is lost. First statement of every transaction that a worker writes.
pub async fn hold(tx: &mut Tx, job: &Job, lease_until: Time) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query(
        "UPDATE job SET lease_until = $3 WHERE id = $1 AND lease_token = $2 AND state = 'running'"
    )
    .bind(job.id)
    .bind(job.lease_token)
    .bind(lease_until)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1))
}

/// Renews the lease and asks for the state of the execution, in one round trip; `None` if the lease is lost,
/// `Some(None)` if the job is about no execution or the execution is gone.
pub async fn heartbeat(db: &Db, job: &Job, lease_until: Time) -> sqlx::Result<Option<Option<Status>>> {
    writing!(db, |on| sqlx::query_scalar(
        "UPDATE job SET lease_until = $3 WHERE id = $1 AND lease_token = $2 AND state = 'running'
         RETURNING (SELECT e.status FROM execution e WHERE e.id = job.subject_id)"
    )
    .bind(job.id)
    .bind(job.lease_token)
    .bind(lease_until)
    .fetch_optional(on)
    .await)
}

/// How often a job has been claimed.
pub async fn attempts(tx: &mut Tx, job: &Job) -> sqlx::Result<i32> {
    within!(tx, |on| sqlx::query_scalar("SELECT CAST(attempts AS INTEGER) FROM job WHERE id = $1")
        .bind(job.id)
        .fetch_one(on)
        .await)
}

/// Keeps what a worker must remember of a job between its attempts.
pub async fn set_payload(tx: &mut Tx, job: &Job, payload: &Json) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query("UPDATE job SET payload = $2 WHERE id = $1")
        .bind(job.id)
        .bind(payload)
        .execute(on)
        .await
        .map(drop))
}

/// Ends a job. The caller has held it in this transaction.
pub async fn finish(tx: &mut Tx, job: &Job, error: Option<&str>, now: Time) -> sqlx::Result<()> {
    let state = if error.is_some() { "failed" } else { "done" };
    within!(tx, |on| {
        sqlx::query(
        "UPDATE job SET state = $2, last_error = $3, finished_at = $4, unique_key = NULL, lease_token = NULL, lease_until = NULL WHERE id = $1"
    )
    .bind(job.id)
    .bind(state)
    .bind(error)
    .bind(now)
    .execute(on)
    .await
    .map(drop)
    })
}

/// Puts a job back, to be claimed again from `run_at` on.
pub async fn retry(tx: &mut Tx, job: &Job, error: &str, run_at: Time) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        "UPDATE job SET state = 'waiting', run_at = $2, last_error = $3, lease_token = NULL, lease_until = NULL WHERE id = $1"
    )
    .bind(job.id)
    .bind(run_at)
    .bind(error)
    .execute(on)
    .await
    .map(drop)
    })
}

/// Gives back the leases of a worker that stops, so that another one goes on at once.
pub async fn release(db: &Db, worker: Id, now: Time) -> sqlx::Result<()> {
    writing!(db, |on| sqlx::query("UPDATE job SET lease_until = $2 WHERE worker_id = $1 AND state = 'running'")
        .bind(worker)
        .bind(now)
        .execute(on)
        .await
        .map(drop))
}
