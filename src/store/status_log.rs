//! Table `status_log`: one row per change of status, with the counts after it; the status pages read it.

use chrono::TimeDelta;
use serde::Serialize;

use super::{
    Db, Id, Time, Tx, roll_up,
    search::{Column, Kind, Search},
};
use crate::{execution::status::Status, reading, within};

/// Notes a change that this transaction has made; the counts come from the sums that the triggers keep.
pub async fn insert(tx: &mut Tx, execution: Id, from: Option<Status>, to: Status, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        r#"INSERT INTO status_log ("timestamp", executions_pending, executions_ready, executions_running, executions_finished,
               executions_failed, executions_cancelled, status_from, status_to, execution_id)
           SELECT $1,
               COALESCE(SUM(CASE WHEN status = 'PENDING' THEN n END), 0),
               COALESCE(SUM(CASE WHEN status = 'READY' THEN n END), 0),
               COALESCE(SUM(CASE WHEN status IN ('RUNNING', 'CANCELLING') THEN n END), 0),
               COALESCE(SUM(CASE WHEN status = 'FINISHED' THEN n END), 0),
               COALESCE(SUM(CASE WHEN status = 'FAILED' THEN n END), 0),
               COALESCE(SUM(CASE WHEN status = 'CANCELLED' THEN n END), 0), $2, $3, $4
           FROM execution_count"#
    )
    .bind(now)
    .bind(from)
    .bind(to)
    .bind(execution.to_string())
    .execute(on)
    .await
    .map(drop)
    })
}

/// A row of `status_log`, as clients see it.
#[derive(Debug, Clone, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct StatusLog {
    pub id: i64,
    pub timestamp: Option<chrono::NaiveDateTime>,
    pub executions_pending: Option<i32>,
    pub executions_ready: Option<i32>,
    /// RUNNING and CANCELLING.
    pub executions_running: Option<i32>,
    pub executions_finished: Option<i32>,
    pub executions_failed: Option<i32>,
    pub executions_cancelled: Option<i32>,
    pub status_from: Option<String>,
    pub status_to: Option<String>,
    pub execution_id: Option<String>,
}

/// From and to when, both included; absent is without a bound.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    pub from: Option<Time>,
    pub to: Option<Time>,
}

/// What the list can be sorted by.
pub const COLUMNS: [Column; 11] = [
    Column::new("id", "id", Kind::Number),
    Column::new("timestamp", r#""timestamp""#, Kind::Time),
    Column::new("executions_pending", "executions_pending", Kind::Number),
    Column::new("executions_ready", "executions_ready", Kind::Number),
    Column::new("executions_running", "executions_running", Kind::Number),
    Column::new("executions_finished", "executions_finished", Kind::Number),
    Column::new("executions_failed", "executions_failed", Kind::Number),
    Column::new("executions_cancelled", "executions_cancelled", Kind::Number),
    Column::new("status_from", "status_from", Kind::Text),
    Column::new("status_to", "status_to", Kind::Text),
    Column::new("execution_id", "execution_id", Kind::Text),
];

/// A page of changes; without an order by id, as the existing server lists them. `page` is (limit, offset).
pub async fn list(db: &Db, span: Span, search: &Search, page: (i64, i64)) -> sqlx::Result<Vec<StatusLog>> {
    let text = sqlx::AssertSqlSafe(format!(
        r#"SELECT CAST(id AS BIGINT) AS id, "timestamp", executions_pending, executions_ready, executions_running,
               executions_finished, executions_failed, executions_cancelled, status_from, status_to, execution_id
           FROM status_log WHERE "timestamp" >= $1 AND "timestamp" < $2 {} LIMIT $3 OFFSET $4"#,
        search.order(db, "id DESC", "id")
    ));
    let (from, before) = span.bounds();
    reading!(db, |on| sqlx::query_as(text).bind(from).bind(before).bind(page.0).bind(page.1).fetch_all(on).await)
}

impl Span {
    /// From when, and before when.
    pub fn bounds(self) -> (Time, Time) {
        let before = self.to.map(|to| to + TimeDelta::microseconds(1));
        (self.from.unwrap_or_else(roll_up::beginning), before.unwrap_or_else(roll_up::end))
    }
}
