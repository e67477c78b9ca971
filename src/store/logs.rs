//! Table `execution_log`: what an execution says; the cursor is the id.

use serde::Serialize;

use super::{
    Db, Id, Time, Tx,
    script_logs::After,
    search::{Value, placeholders},
};
use crate::{bind_values, reading, within, writing};

/// A row of `execution_log`, as clients see it.
#[derive(Debug, Clone, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct ExecutionLog {
    pub id: i64,
    pub execution_id: Id,
    pub level: String,
    pub register_date: Option<chrono::NaiveDateTime>,
    pub text: Option<String>,
}

/// A line to be stored.
#[derive(Debug, Clone)]
pub struct Line {
    pub level: String,
    pub text: String,
    pub at: Time,
}

/// Rows of one INSERT.
const CHUNK: usize = 500;

/// Adds lines in their order and returns the id of the last one; `None` if the execution is gone. The caller's transaction
/// has locked the execution's row (`executions::lock`): so ids of one execution are committed in order, and a reader that
/// goes on after an id never skips a line.
pub async fn insert(tx: &mut Tx, execution: Id, lines: &[Line]) -> sqlx::Result<Option<i64>> {
    let mut last = None;
    for chunk in lines.chunks(CHUNK) {
        let ids: Vec<i64> = within!(tx, |on| sqlx::QueryBuilder::new(
            "INSERT INTO execution_log (text, level, register_date, execution_id) "
        )
        .push_values(chunk, |mut row, line| {
            row.push_bind(&line.text).push_bind(&line.level).push_bind(line.at).push_bind(execution);
        })
        .push(" RETURNING CAST(id AS BIGINT)")
        .build_query_scalar()
        .fetch_all(on)
        .await)?;
        last = ids.into_iter().max();
    }
    Ok(last)
}

/// Adds one line in one statement, under the lock of the execution's row; `None` if the execution is gone.
pub async fn add(db: &Db, execution: Id, line: &Line) -> sqlx::Result<Option<i64>> {
    // The id is drawn for the row that the inner query has locked, so ids of one execution are committed in order.
    let text = sqlx::AssertSqlSafe(format!(
        "INSERT INTO execution_log (text, level, register_date, execution_id)
         SELECT $2, $3, $4, e.id FROM (SELECT id FROM execution WHERE id = $1 {}) e WHERE TRUE RETURNING CAST(id AS BIGINT)",
        db.for_update()
    ));
    writing!(db, |on| sqlx::query_scalar(text)
        .bind(execution)
        .bind(&line.text)
        .bind(&line.level)
        .bind(line.at)
        .fetch_optional(on)
        .await)
}

/// Lines of an execution in the order in which they came, at most `limit`.
pub async fn list(db: &Db, execution: Id, after: After, limit: i64) -> sqlx::Result<Vec<ExecutionLog>> {
    reading!(db, |on| sqlx::query_as(
        "SELECT CAST(id AS BIGINT) AS id, execution_id, level, register_date, text FROM execution_log
         WHERE execution_id = $1 AND id > $2 AND ($3 IS NULL OR register_date > $3) ORDER BY id LIMIT $4"
    )
    .bind(execution)
    .bind(after.id)
    .bind(after.start)
    .bind(limit)
    .fetch_all(on)
    .await)
}

/// The logs of several executions, each in its order; at most `limit` lines in all.
pub async fn of_all(db: &Db, executions: &[Id], limit: i64) -> sqlx::Result<Vec<ExecutionLog>> {
    let values: Vec<Value> = executions.iter().map(|id| Value::Id(*id)).collect();
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT CAST(id AS BIGINT) AS id, execution_id, level, register_date, text FROM execution_log
         WHERE execution_id IN ({}) ORDER BY execution_id, execution_log.id LIMIT $1",
        placeholders(2, executions.len())
    ));
    reading!(db, |on| bind_values!(sqlx::query_as(text).bind(limit), values).fetch_all(on).await)
}

/// The last lines of an execution, oldest first.
pub async fn tail(tx: &mut Tx, execution: Id, limit: i64) -> sqlx::Result<Vec<String>> {
    let mut lines: Vec<Option<String>> = within!(tx, |on| sqlx::query_scalar(
        "SELECT text FROM execution_log WHERE execution_id = $1 ORDER BY id DESC LIMIT $2"
    )
    .bind(execution)
    .bind(limit)
    .fetch_all(on)
    .await)?;
    lines.reverse();
    Ok(lines.into_iter().flatten().collect())
}

/// Id of the newest line, 0 if there is none.
pub async fn newest(db: &Db, execution: Id) -> sqlx::Result<i64> {
    let id: Option<i64> = reading!(db, |on| sqlx::query_scalar(
        "SELECT CAST(id AS BIGINT) FROM execution_log WHERE execution_id = $1 ORDER BY id DESC LIMIT 1"
    )
    .bind(execution)
    .fetch_optional(on)
    .await)?;
    Ok(id.unwrap_or(0))
}

/// Lines of a run that may name a task, in their order.
pub async fn naming_tasks(db: &Db, execution: Id) -> sqlx::Result<Vec<String>> {
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT text FROM execution_log WHERE execution_id = $1 AND text {} '%task%' ORDER BY id LIMIT 10000",
        db.like()
    ));
    reading!(db, |on| sqlx::query_scalar(text).bind(execution).fetch_all(on).await)
}
