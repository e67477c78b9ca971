//! Table `audit_event`: acts that matter, insert-only.

use serde::Serialize;

use super::{
    Db, Id, Json, Time, Tx,
    search::{Column, Kind, Search},
};
use crate::{bind_values, reading, within};

/// One act, as `decisions` names them: `user.created`, `script.uploaded`, …
pub struct NewAudit<'a> {
    pub actor: Option<Id>,
    pub action: &'a str,
    pub target_type: &'a str,
    pub target_id: String,
    pub ip_address: Option<String>,
    pub request_id: Option<String>,
    pub detail: Option<Json>,
}

/// A row of the audit trail.
#[derive(Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Audit {
    pub id: i64,
    pub at: chrono::NaiveDateTime,
    pub actor_id: Option<Id>,
    pub actor_email: Option<String>,
    pub action: String,
    pub target_type: Option<String>,
    pub target_id: Option<String>,
    pub ip_address: Option<String>,
    pub request_id: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub detail: Option<Json>,
}

const SELECT: &str = r#"SELECT a.id, a.at, a.actor_id, u.email AS actor_email, a.action, a.target_type, a.target_id, a.ip_address,
    a.request_id, a.detail FROM audit_event a LEFT JOIN "user" u ON u.id = a.actor_id"#;

/// What the trail can be filtered and sorted by.
pub const COLUMNS: [Column; 9] = [
    Column::new("id", "a.id", Kind::Number),
    Column::new("at", "a.at", Kind::Time),
    Column::new("actor_id", "a.actor_id", Kind::Id),
    Column::new("actor_email", "u.email", Kind::Text),
    Column::new("action", "a.action", Kind::Text),
    Column::new("target_type", "a.target_type", Kind::Text),
    Column::new("target_id", "a.target_id", Kind::Text),
    Column::new("ip_address", "a.ip_address", Kind::Text),
    Column::new("request_id", "a.request_id", Kind::Text),
];

/// Acts that a search finds, newest first if it does not say; `page` is (limit, offset).
pub async fn search(db: &Db, search: &Search, page: (i64, i64)) -> sqlx::Result<Vec<Audit>> {
    let (condition, values) = search.condition(db, 3);
    let order = search.order(db, "a.id", "a.id DESC");
    let text = sqlx::AssertSqlSafe(format!("{SELECT} WHERE {condition} {order} LIMIT $1 OFFSET $2"));
    reading!(db, |on| bind_values!(sqlx::query_as(text).bind(page.0).bind(page.1), values).fetch_all(on).await)
}

/// How many acts a search finds.
pub async fn count(db: &Db, search: &Search) -> sqlx::Result<i64> {
    let (condition, values) = search.condition(db, 1);
    let text = sqlx::AssertSqlSafe(format!(
        r#"SELECT count(*) FROM audit_event a LEFT JOIN "user" u ON u.id = a.actor_id WHERE {condition}"#
    ));
    reading!(db, |on| bind_values!(sqlx::query_scalar(text), values).fetch_one(on).await)
}

/// Acts of a person, and acts on the account.
pub async fn of(db: &Db, user: Id) -> sqlx::Result<Vec<Audit>> {
    let text = sqlx::AssertSqlSafe(format!(
        "{SELECT} WHERE a.actor_id = $1 OR (a.target_type = 'user' AND a.target_id = $2) ORDER BY a.id DESC LIMIT 10000"
    ));
    reading!(db, |on| sqlx::query_as(text).bind(user).bind(user.to_string()).fetch_all(on).await)
}

impl NewAudit<'_> {
    /// The same row with more about the act.
    pub fn with(mut self, detail: &serde_json::Value) -> Self {
        self.detail = serde_json::value::to_raw_value(detail).ok().map(sqlx::types::Json);
        self
    }
}

pub async fn insert(tx: &mut Tx, new: &NewAudit<'_>, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO audit_event (at, actor_id, action, target_type, target_id, ip_address, request_id, detail)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
    )
    .bind(now)
    .bind(new.actor)
    .bind(new.action)
    .bind(new.target_type)
    .bind(&new.target_id)
    .bind(&new.ip_address)
    .bind(&new.request_id)
    .bind(&new.detail)
    .execute(on)
    .await
    .map(drop))
}
