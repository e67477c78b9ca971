//! Table `rate_limit_event`: who has reached a limit, and until when it holds.

use serde::Serialize;

use super::{
    Db, Id, Time, Tx,
    search::{Column, Kind, Search},
};
use crate::{bind_values, reading, within, writing};

/// A limit that has been reached.
pub struct NewEvent {
    pub user: Option<Id>,
    pub user_role: Option<String>,
    pub user_email: Option<String>,
    /// `AUTH`, `USER` or `IP`.
    pub kind: &'static str,
    pub endpoint: String,
    pub method: String,
    pub definition: String,
    pub count: i32,
    pub window_s: i32,
    pub key: String,
    pub address: Option<String>,
    pub user_agent: String,
    pub expires_at: Time,
}

/// A row, as administrators see it (contract/auth-users.md 12).
#[derive(Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Event {
    pub id: Id,
    pub occurred_at: chrono::NaiveDateTime,
    pub expires_at: Option<chrono::NaiveDateTime>,
    pub user_id: Option<Id>,
    pub user_role: Option<String>,
    pub user_email: Option<String>,
    pub rate_limit_type: String,
    pub endpoint: String,
    pub method: Option<String>,
    pub limit_definition: Option<String>,
    pub limit_count: Option<i32>,
    pub time_window_seconds: Option<i32>,
    pub retry_after_seconds: Option<i32>,
    pub limit_key: Option<String>,
    pub ip_address: Option<String>,
    pub user_agent: Option<String>,
    /// Not shown in lists.
    #[serde(skip)]
    pub user_name: Option<String>,
}

const SELECT: &str = r#"SELECT e.id, e.occurred_at, e.expires_at, e.user_id, e.user_role, e.user_email, e.rate_limit_type, e.endpoint,
    e.method, e.limit_definition, e.limit_count, e.time_window_seconds, e.retry_after_seconds, e.limit_key, e.ip_address,
    e.user_agent, u.name AS user_name FROM rate_limit_event e LEFT JOIN "user" u ON u.id = e.user_id"#;

/// What events can be filtered and sorted by.
pub const COLUMNS: [Column; 10] = [
    Column::new("occurred_at", "e.occurred_at", Kind::Time),
    Column::new("expires_at", "e.expires_at", Kind::Time),
    Column::new("user_id", "e.user_id", Kind::Id),
    Column::new("user_email", "e.user_email", Kind::Text),
    Column::new("user_role", "e.user_role", Kind::Text),
    Column::new("endpoint", "e.endpoint", Kind::Text),
    Column::new("method", "e.method", Kind::Text),
    Column::new("limit_key", "e.limit_key", Kind::Text),
    Column::new("rate_limit_type", "e.rate_limit_type", Kind::Text),
    Column::new("ip_address", "e.ip_address", Kind::Text),
];

/// Notes a refusal; of one caller at one endpoint the first one within a window.
pub async fn insert(db: &Db, new: &NewEvent, now: Time) -> sqlx::Result<()> {
    writing!(db, |on| {
        sqlx::query(
        "INSERT INTO rate_limit_event (id, occurred_at, expires_at, user_id, user_role, user_email, rate_limit_type, endpoint,
             method, limit_definition, limit_count, time_window_seconds, limit_key, ip_address, user_agent)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15
         WHERE NOT EXISTS (SELECT 1 FROM rate_limit_event WHERE expires_at > $2 AND endpoint = $8
             AND (limit_key = $13 OR user_id = $4 OR ($4 IS NULL AND ip_address = $14)))"
    )
    .bind(Id::random())
    .bind(now)
    .bind(new.expires_at)
    .bind(new.user)
    .bind(&new.user_role)
    .bind(&new.user_email)
    .bind(new.kind)
    .bind(&new.endpoint)
    .bind(&new.method)
    .bind(&new.definition)
    .bind(new.count)
    .bind(new.window_s)
    .bind(&new.key)
    .bind(&new.address)
    .bind(&new.user_agent)
    .execute(on)
    .await
    .map(drop)
    })
}

/// Events that a search finds, newest first if it does not say; `page` is (limit, offset).
pub async fn search(db: &Db, search: &Search, page: (i64, i64)) -> sqlx::Result<Vec<Event>> {
    let (condition, values) = search.condition(db, 3);
    let order = search.order(db, "e.id", "e.occurred_at DESC, e.id");
    let text = sqlx::AssertSqlSafe(format!("{SELECT} WHERE {condition} {order} LIMIT $1 OFFSET $2"));
    reading!(db, |on| bind_values!(sqlx::query_as(text).bind(page.0).bind(page.1), values).fetch_all(on).await)
}

/// How many events a search finds.
pub async fn count(db: &Db, search: &Search) -> sqlx::Result<i64> {
    let (condition, values) = search.condition(db, 1);
    let text = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM rate_limit_event e WHERE {condition}"));
    reading!(db, |on| bind_values!(sqlx::query_scalar(text), values).fetch_one(on).await)
}

/// Ends what still holds for the keys that begin so (all, if empty); how many.
pub async fn end(tx: &mut Tx, prefix: &str, now: Time) -> sqlx::Result<u64> {
    within!(tx, |on| sqlx::query(
        "UPDATE rate_limit_event SET expires_at = $1 WHERE expires_at > $1 AND substr(limit_key, 1, length($2)) = $2"
    )
    .bind(now)
    .bind(prefix)
    .execute(on)
    .await
    .map(|done| done.rows_affected()))
}
