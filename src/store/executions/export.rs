//! Table `execution`: rows of a file, newest first.

use super::JOINED;
use crate::{
    bind_values, reading,
    store::{
        Db, Id, Time,
        search::{Search, Value, placeholders},
    },
};

/// A row of the file.
#[derive(Debug, sqlx::FromRow)]
pub struct Exported {
    pub id: Id,
    pub script_id: Option<Id>,
    pub script_name: Option<String>,
    pub user_id: Option<Id>,
    pub user_name: Option<String>,
    pub user_email: Option<String>,
    pub status: String,
    pub progress: Option<i32>,
    pub start_date: Option<Time>,
    pub end_date: Option<Time>,
    pub queued_at: Option<Time>,
    pub dispatched_at: Option<Time>,
}

const ORDER: &str = "ORDER BY e.start_date DESC, e.id";

/// How many executions a search finds, hidden ones too.
pub async fn count(db: &Db, search: &Search) -> sqlx::Result<i64> {
    let (condition, values) = search.condition(db, 1);
    let text = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM execution e WHERE {condition}"));
    reading!(db, |on| bind_values!(sqlx::query_scalar(text), values).fetch_one(on).await)
}

/// Which they are, in the order of the file: it is sorted once, and what is accepted meanwhile moves no row.
pub async fn ids(db: &Db, search: &Search, most: i64) -> sqlx::Result<Vec<Id>> {
    let (condition, values) = search.condition(db, 2);
    let text = sqlx::AssertSqlSafe(format!("SELECT e.id FROM execution e WHERE {condition} {ORDER} LIMIT $1"));
    reading!(db, |on| bind_values!(sqlx::query_scalar(text).bind(most), values).fetch_all(on).await)
}

/// The rows of these ids.
pub async fn rows(db: &Db, ids: &[Id]) -> sqlx::Result<Vec<Exported>> {
    let values: Vec<Value> = ids.iter().map(|id| Value::Id(*id)).collect();
    let text = sqlx::AssertSqlSafe(format!(
        r#"SELECT e.id, e.script_id, s.name AS script_name, e.user_id, u.name AS user_name, u.email AS user_email, e.status, e.progress,
             e.start_date, e.end_date,
             CASE WHEN e.status = 'PENDING' THEN COALESCE(e.queued_at, r.waiting_since) ELSE e.queued_at END AS queued_at, e.dispatched_at
         {JOINED} LEFT JOIN script s ON s.id = e.script_id LEFT JOIN "user" u ON u.id = e.user_id
         WHERE e.id IN ({}) {ORDER}"#,
        placeholders(1, ids.len())
    ));
    reading!(db, |on| bind_values!(sqlx::query_as(text), values).fetch_all(on).await)
}
