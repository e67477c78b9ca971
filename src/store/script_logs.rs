//! Table `script_log`: what a build says; the cursor is the id.

use serde::Serialize;

use super::{
    Db, Id, Time, Tx,
    search::{Value, placeholders},
};
use crate::{bind_values, reading, within};

/// A row of `script_log`, as clients see it.
#[derive(Debug, Clone, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct ScriptLog {
    pub id: i64,
    pub script_id: Id,
    pub register_date: Option<chrono::NaiveDateTime>,
    pub text: Option<String>,
}

/// Where a reader goes on.
#[derive(Debug, Clone, Copy, Default)]
pub struct After {
    /// Only lines registered later than this.
    pub start: Option<Time>,
    /// Only lines with a greater id.
    pub id: i64,
}

/// Rows of one INSERT.
const CHUNK: usize = 500;

/// Adds lines in their order.
pub async fn insert(tx: &mut Tx, script: Id, lines: &[String], now: Time) -> sqlx::Result<()> {
    for chunk in lines.chunks(CHUNK) {
        within!(tx, |on| sqlx::QueryBuilder::new("INSERT INTO script_log (text, register_date, script_id) ")
            .push_values(chunk, |mut row, text| {
                row.push_bind(text).push_bind(now).push_bind(script);
            })
            .build()
            .execute(on)
            .await
            .map(drop))?;
    }
    Ok(())
}

/// Lines of a script in the order in which they came, at most `limit`.
pub async fn list(db: &Db, script: Id, after: After, limit: i64) -> sqlx::Result<Vec<ScriptLog>> {
    reading!(db, |on| sqlx::query_as(
        "SELECT CAST(id AS BIGINT) AS id, script_id, register_date, text FROM script_log
         WHERE script_id = $1 AND id > $2 AND ($3 IS NULL OR register_date > $3) ORDER BY id LIMIT $4"
    )
    .bind(script)
    .bind(after.id)
    .bind(after.start)
    .bind(limit)
    .fetch_all(on)
    .await)
}

/// All lines of these scripts, each script's in the order in which they came.
pub async fn list_of(db: &Db, scripts: &[Id]) -> sqlx::Result<Vec<ScriptLog>> {
    let values: Vec<Value> = scripts.iter().map(|id| Value::Id(*id)).collect();
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT CAST(id AS BIGINT) AS id, script_id, register_date, text FROM script_log WHERE script_id IN ({}) ORDER BY id",
        placeholders(1, scripts.len())
    ));
    reading!(db, |on| bind_values!(sqlx::query_as(text), values).fetch_all(on).await)
}

/// Id of the newest line, 0 if there is none.
pub async fn newest(db: &Db, script: Id) -> sqlx::Result<i64> {
    let id: Option<i64> = reading!(db, |on| sqlx::query_scalar(
        "SELECT CAST(id AS BIGINT) FROM script_log WHERE script_id = $1 ORDER BY id DESC LIMIT 1"
    )
    .bind(script)
    .fetch_optional(on)
    .await)?;
    Ok(id.unwrap_or(0))
}
