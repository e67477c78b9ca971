//! Table `execution`: one run of a script with its parameters and results. Its marks stand in `execution_flag`.

pub mod export;
pub mod of_scripts;

use super::{
    Db, Id, Json, Time, Tx,
    search::{Column, Kind, Search, Value, placeholders},
};
use crate::{bind_values, execution::status::Status, reading, within, writing};

/// A row of `execution`, with what our tables say beside it. `params` and `results` are read only when asked for.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Execution {
    pub id: Id,
    pub script_id: Option<Id>,
    pub user_id: Option<Id>,
    /// When it was accepted.
    pub start_date: Option<Time>,
    pub end_date: Option<Time>,
    pub status: Status,
    pub progress: Option<i32>,
    pub params: Option<Json>,
    pub results: Option<Json>,
    pub queued_at: Option<Time>,
    pub dispatched_at: Option<Time>,
    pub deleted: Option<bool>,
    pub is_plugin_execution: Option<bool>,
    /// Where results lie that are too large for the row; read with the results.
    pub results_key: Option<String>,
    /// Why a run of ours failed; read with `Parts::run`.
    pub failure: Option<Json>,
    /// Number of the version that a run of ours is pinned to; read with `Parts::run`.
    pub script_version: Option<i32>,
}

/// What of an execution is read beside its small columns.
#[derive(Debug, Clone, Copy, Default)]
pub struct Parts {
    pub params: bool,
    pub results: bool,
    /// Failure and version of a run of ours.
    pub run: bool,
}

impl Parts {
    /// Small columns only.
    pub const FEW: Parts = Parts { params: false, results: false, run: false };
    /// Everything.
    pub const ALL: Parts = Parts { params: true, results: true, run: true };

    fn columns(self) -> String {
        let part = |read: bool, sql: &'static str| if read { sql } else { "NULL" };
        format!(
            "e.id, e.script_id, e.user_id, e.start_date, e.end_date, e.status, e.progress, {} AS params, {} AS results, {} AS results_key,
             CASE WHEN e.status = 'PENDING' THEN COALESCE(e.queued_at, r.waiting_since) ELSE e.queued_at END AS queued_at,
             e.dispatched_at, f.deleted, f.is_plugin_execution, {} AS failure, {} AS script_version",
            part(self.params, "e.params"),
            part(self.results, "e.results"),
            part(self.results, "r.results_key"),
            part(self.run, "r.failure"),
            part(self.run, "(SELECT v.number FROM script_version v WHERE v.id = r.script_version_id)"),
        )
    }
}

/// Which executions a list shows.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    pub user: Option<Id>,
    pub script: Option<Id>,
    pub status: Option<Status>,
    /// Open, or ended at or after this.
    pub changed_since: Option<Time>,
    pub include_deleted: bool,
    pub parts: Parts,
    /// (limit, offset)
    pub page: (i64, i64),
    pub search: Search,
    /// Until when a run that goes on has lasted, for a sort by duration.
    pub now: Time,
}

/// What lists of executions can be filtered and sorted by (contract/scripts-executions.md 0.2).
pub const SEARCHABLE: [Column; 10] = [
    Column::new("id", "e.id", Kind::Id),
    Column::new("status", "e.status", Kind::Text),
    Column::new("progress", "e.progress", Kind::Number),
    Column::new("start_date", "e.start_date", Kind::Time),
    Column::new("end_date", "e.end_date", Kind::Time),
    Column::new("script_id", "e.script_id", Kind::Id),
    Column::new("script_name", "(SELECT s.name FROM script s WHERE s.id = e.script_id)", Kind::Text),
    Column::new("user_id", "e.user_id", Kind::Id),
    Column::new("user_name", r#"(SELECT u.name FROM "user" u WHERE u.id = e.user_id)"#, Kind::Text),
    Column::new("user_email", r#"(SELECT u.email FROM "user" u WHERE u.id = e.user_id)"#, Kind::Text),
];

/// What they can be sorted by besides.
pub const DURATION: Column = Column::new("duration", ":duration", Kind::Number);

/// A new execution.
pub struct NewExecution<'a> {
    pub id: Id,
    pub script: Id,
    pub user: Id,
    pub params: &'a Json,
}

const JOINED: &str = "FROM execution e LEFT JOIN execution_flag f ON f.execution_id = e.id LEFT JOIN execution_run r ON r.execution_id = e.id";

/// The order of every list: what is open first, then the newest end.
const ORDER: &str = "ORDER BY COALESCE(e.end_date, '9999-12-31') DESC, e.start_date DESC, e.id";

/// The end by which lists are ordered; each index has a far day of its own, so that none is mistaken for another.
const END: &str = "COALESCE(e.end_date, '9999-12-31')";
const END_OF_USER: &str = "COALESCE(e.end_date, '9999-12-30')";
const END_OF_SCRIPT: &str = "COALESCE(e.end_date, '9999-12-29')";

/// PostgreSQL wants every bound parameter to be used; this is true whatever is bound.
const BOUND: &str = "($1 IS NULL OR TRUE) AND ($2 IS NULL OR TRUE) AND ($3 IS NULL OR TRUE) AND ($4 IS NULL OR TRUE)";

impl Wanted {
    fn end(&self) -> &'static str {
        match (self.user, self.script) {
            (Some(_), _) => END_OF_USER,
            (None, Some(_)) => END_OF_SCRIPT,
            (None, None) => END,
        }
    }

    fn conditions(&self) -> String {
        let mut text = String::from("WHERE TRUE");
        let since = format!("{} >= $4", self.end());
        for (asked, condition) in [
            (self.user.is_some(), "e.user_id = $1"),
            (self.script.is_some(), "e.script_id = $2"),
            (self.status.is_some(), "e.status = $3"),
            (self.changed_since.is_some(), since.as_str()),
        ] {
            if asked {
                text.push_str(" AND ");
                text.push_str(condition);
            }
        }
        text.push_str(" AND ");
        text.push_str(BOUND);
        text
    }

    /// `ORDER BY …`; a duration is counted to its end, or to now.
    fn order(&self, db: &Db) -> String {
        if self.search.sort.is_empty() {
            return format!("ORDER BY {} DESC, e.start_date DESC, e.id", self.end());
        }
        let now = self.now.format("'%Y-%m-%d %H:%M:%S%.6f'");
        let duration = db.between("e.start_date", &format!("COALESCE(e.end_date, {now})"));
        self.search.order(db, "e.start_date DESC, e.id", "").replace(DURATION.sql, &duration)
    }

    fn is_unfiltered(&self) -> bool {
        self.search.filter.is_empty()
            && self.user.is_none()
            && self.script.is_none()
            && self.status.is_none()
            && self.changed_since.is_none()
    }
}

/// The execution with this id, whoever asks.
pub async fn find(db: &Db, id: Id, parts: Parts) -> sqlx::Result<Option<Execution>> {
    let text = sqlx::AssertSqlSafe(format!("SELECT {} {JOINED} WHERE e.id = $1", parts.columns()));
    reading!(db, |on| sqlx::query_as(text).bind(id).fetch_optional(on).await)
}

/// The execution as this transaction sees it.
pub async fn find_within(tx: &mut Tx, id: Id) -> sqlx::Result<Option<Execution>> {
    let text = sqlx::AssertSqlSafe(format!("SELECT {} {JOINED} WHERE e.id = $1", Parts::ALL.columns()));
    within!(tx, |on| sqlx::query_as(text).bind(id).fetch_optional(on).await)
}

pub async fn list(db: &Db, wanted: &Wanted) -> sqlx::Result<Vec<Execution>> {
    let columns = wanted.parts.columns();
    let (condition, values) = wanted.search.condition(db, 5);
    let (limit, offset) = wanted.page;
    let shown = if wanted.include_deleted { "TRUE" } else { "(f.deleted IS NULL OR NOT f.deleted)" };
    // Numbers, not parameters: a plan for any number of rows would be one for a tenth of the table.
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT {columns} {JOINED} {} AND {shown} AND {condition} {} LIMIT {limit} OFFSET {offset}",
        wanted.conditions(),
        wanted.order(db)
    ));
    // The first page is asked for again and again; the plans of others are not worth keeping.
    reading!(db, |on| {
        let query = sqlx::query_as(text).persistent(offset == 0).bind(wanted.user).bind(wanted.script);
        let query = query.bind(wanted.status).bind(wanted.changed_since);
        bind_values!(query, values).fetch_all(on).await
    })
}

/// The newest executions of each of these people.
pub async fn newest_of(db: &Db, owners: &[Id], each: i64) -> sqlx::Result<Vec<Execution>> {
    let values: Vec<Value> = owners.iter().map(|id| Value::Id(*id)).collect();
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT {} FROM (SELECT x.*, ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY start_date DESC, id) AS nth
             FROM execution x WHERE user_id IN ({})) e
         LEFT JOIN execution_flag f ON f.execution_id = e.id LEFT JOIN execution_run r ON r.execution_id = e.id
         WHERE nth <= $1 {ORDER}",
        Parts::ALL.columns(),
        placeholders(2, owners.len())
    ));
    reading!(db, |on| bind_values!(sqlx::query_as(text).bind(each), values).fetch_all(on).await)
}

/// How many there are beyond the page. Unfiltered it is a sum over the kept counts, else counted exactly: by an index alone,
/// without those that are hidden, which are few and have an index of their own.
pub async fn count(db: &Db, wanted: &Wanted) -> sqlx::Result<i64> {
    let (condition, values) = wanted.search.condition(db, 5);
    let conditions = format!("{} AND {condition}", wanted.conditions());
    let all = if wanted.is_unfiltered() {
        format!("SELECT COALESCE(CAST(SUM(n) AS BIGINT), 0) FROM execution_count WHERE {BOUND}")
    } else {
        format!("SELECT count(*) FROM execution e {conditions}")
    };
    let hidden = if wanted.include_deleted {
        "0".to_owned()
    } else {
        format!(
            "(SELECT count(*) FROM execution_flag f JOIN execution e ON e.id = f.execution_id {conditions} AND f.deleted)"
        )
    };
    let text = sqlx::AssertSqlSafe(format!("SELECT ({all}) - {hidden}"));
    reading!(db, |on| {
        let query = sqlx::query_scalar(text).bind(wanted.user).bind(wanted.script).bind(wanted.status);
        bind_values!(query.bind(wanted.changed_since), values).fetch_one(on).await
    })
}

pub async fn insert(tx: &mut Tx, new: &NewExecution<'_>, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO execution (id, start_date, status, progress, params, results, script_id, user_id)
         VALUES ($1, $2, 'PENDING', 0, $3, '{}', $4, $5)"
    )
    .bind(new.id)
    .bind(now)
    .bind(new.params)
    .bind(new.script)
    .bind(new.user)
    .execute(on)
    .await
    .map(drop))
}

/// Locks the row until the transaction ends, and says in which state it is.
pub async fn lock(tx: &mut Tx, id: Id) -> sqlx::Result<Option<Status>> {
    let text = sqlx::AssertSqlSafe(format!("SELECT status FROM execution WHERE id = $1 {}", tx.for_update()));
    within!(tx, |on| sqlx::query_scalar(text).bind(id).fetch_optional(on).await)
}

/// A change of an execution's state, with what is written beside it.
#[derive(Debug, Clone, Copy)]
pub struct Change<'a> {
    pub from: Status,
    pub to: Status,
    /// 0 to 100; an end without one is full.
    pub progress: Option<i32>,
    /// What stands in the row; `None` leaves what is there.
    pub results: Option<&'a Json>,
}

impl Change<'_> {
    /// Nothing but the state.
    pub fn to(from: Status, to: Status) -> Self {
        Change { from, to, progress: None, results: None }
    }
}

/// Changes the state; an end also has its time. Only a run of ours is dispatched: what somebody says of the other server's is no
/// dispatch. False if somebody was first.
pub async fn set_status(tx: &mut Tx, id: Id, change: &Change<'_>, now: Time) -> sqlx::Result<bool> {
    let Change { from, to, progress, results } = *change;
    let (end, full) = if to.is_terminal() { (Some(now), progress.or(Some(100))) } else { (None, progress) };
    let dispatched = (to == Status::Ready).then_some(now);
    within!(tx, |on| sqlx::query(
        "UPDATE execution SET status = $3, end_date = COALESCE($4, end_date), progress = COALESCE($5, progress),
             results = COALESCE($7, results), dispatched_at = COALESCE(dispatched_at,
                 CASE WHEN EXISTS (SELECT 1 FROM execution_run r WHERE r.execution_id = execution.id) THEN $6 END)
         WHERE id = $1 AND status = $2"
    )
    .bind(id)
    .bind(from)
    .bind(to)
    .bind(end)
    .bind(full)
    .bind(dispatched)
    .bind(results)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1))
}

pub async fn set_progress(tx: &mut Tx, id: Id, progress: i32) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query("UPDATE execution SET progress = $2 WHERE id = $1")
        .bind(id)
        .bind(progress)
        .execute(on)
        .await
        .map(drop))
}

/// Sets the progress of an execution that goes on; for a run, only if `attempt` is the one that counts.
pub async fn report_progress(db: &Db, id: Id, progress: i32, attempt: Option<i32>) -> sqlx::Result<()> {
    writing!(db, |on| {
        sqlx::query(
        "UPDATE execution SET progress = $2 WHERE id = $1 AND status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING')
             AND ($3 IS NULL OR EXISTS (SELECT 1 FROM execution_run r WHERE r.execution_id = execution.id AND r.attempt = $3))"
    )
    .bind(id)
    .bind(progress)
    .bind(attempt)
    .execute(on)
    .await
    .map(drop)
    })
}

/// Stores results. With `only_if_none`, only where none are stored yet; false if they were not stored.
pub async fn set_results(tx: &mut Tx, id: Id, results: &Json, only_if_none: bool) -> sqlx::Result<bool> {
    let text = if only_if_none {
        "UPDATE execution SET results = $2 WHERE id = $1 AND (results IS NULL OR CAST(results AS TEXT) IN ('{}', 'null'))
             AND NOT EXISTS (SELECT 1 FROM execution_run r WHERE r.execution_id = execution.id AND r.results_key IS NOT NULL)"
    } else {
        "UPDATE execution SET results = $2 WHERE id = $1"
    };
    within!(tx, |on| sqlx::query(text).bind(id).bind(results).execute(on).await.map(|r| r.rows_affected() == 1))
}

/// Marks or unmarks an execution as deleted: hidden from lists.
pub async fn set_deleted(db: &Db, id: Id, deleted: bool) -> sqlx::Result<()> {
    writing!(db, |on| sqlx::query(
        "INSERT INTO execution_flag (execution_id, deleted) VALUES ($1, $2)
         ON CONFLICT (execution_id) DO UPDATE SET deleted = excluded.deleted"
    )
    .bind(id)
    .bind(deleted)
    .execute(on)
    .await
    .map(drop))
}

/// Notes whether the QGIS plugin started it.
pub async fn insert_flag(tx: &mut Tx, id: Id, is_plugin_execution: bool) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO execution_flag (execution_id, deleted, is_plugin_execution) VALUES ($1, $2, $3)"
    )
    .bind(id)
    .bind(false)
    .bind(is_plugin_execution)
    .execute(on)
    .await
    .map(drop))
}

/// Runs of a user that hold a slot, counted to `most`. The list of states is the condition of the index of open executions,
/// word for word.
pub async fn active(tx: &mut Tx, user: Id, most: i64) -> sqlx::Result<i64> {
    within!(tx, |on| {
        sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT 1 FROM execution WHERE user_id = $1
             AND status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING') AND status <> 'PENDING' LIMIT $2) few"
    )
    .bind(user)
    .bind(most)
    .fetch_one(on)
    .await
    })
}

/// Whose execution it is.
pub async fn owner(tx: &mut Tx, id: Id) -> sqlx::Result<Option<Id>> {
    let row: Option<Option<Id>> = within!(tx, |on| sqlx::query_scalar("SELECT user_id FROM execution WHERE id = $1")
        .bind(id)
        .fetch_optional(on)
        .await)?;
    Ok(row.flatten())
}

/// Whose an execution is; `None` if that is nobody, or it is gone.
pub async fn user_of(db: &Db, id: Id) -> sqlx::Result<Option<Id>> {
    let row: Option<Option<Id>> = reading!(db, |on| sqlx::query_scalar("SELECT user_id FROM execution WHERE id = $1")
        .bind(id)
        .fetch_optional(on)
        .await)?;
    Ok(row.flatten())
}

/// State and progress of an execution.
pub async fn glance(db: &Db, id: Id) -> sqlx::Result<Option<(Status, Option<i32>)>> {
    reading!(db, |on| sqlx::query_as("SELECT status, progress FROM execution WHERE id = $1")
        .bind(id)
        .fetch_optional(on)
        .await)
}

/// Of each of these executions the id of its newest line (0 if there is none), its state and progress, for readers of live logs.
pub async fn glances(db: &Db, ids: &[Id]) -> sqlx::Result<Vec<(Id, i64, Status, Option<i32>)>> {
    let values: Vec<Value> = ids.iter().map(|id| Value::Id(*id)).collect();
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT e.id, COALESCE((SELECT CAST(l.id AS BIGINT) FROM execution_log l WHERE l.execution_id = e.id ORDER BY l.id DESC LIMIT 1), 0),
             e.status, e.progress FROM execution e WHERE e.id IN ({})",
        placeholders(1, ids.len())
    ));
    reading!(db, |on| bind_values!(sqlx::query_as(text), values).fetch_all(on).await)
}
