//! Table `news_item`: what people are told in their clients (contract/content-admin.md 2.9).

use super::{
    Db, Id, Time, Tx,
    search::{Column, Kind, Search, Value},
};
use crate::{bind_values, reading, within};

/// A row of `news_item`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct NewsItem {
    pub id: Id,
    pub title: String,
    /// Markdown.
    pub message: String,
    pub link_url: Option<String>,
    pub link_text: Option<String>,
    pub created_at: Time,
    pub updated_at: Time,
    pub publish_at: Time,
    pub expires_at: Option<Time>,
    /// Comma lists.
    pub target_platforms: String,
    pub target_roles: Option<String>,
    pub min_version: Option<String>,
    pub max_version: Option<String>,
    pub is_active: bool,
    pub priority: i32,
    pub news_type: String,
    pub created_by_id: Option<Id>,
}

/// Columns and what they are to hold; `None` is NULL.
pub type Fields = Vec<(&'static str, Option<Value>)>;

/// Which items a list is about: those of now, and what else somebody may see.
#[derive(Debug, Clone, Copy, Default)]
pub struct Also {
    /// What is switched off.
    pub inactive: bool,
    /// What is not published yet.
    pub scheduled: bool,
    /// What is over.
    pub expired: bool,
}

const ALL: &str =
    "id, title, message, link_url, link_text, created_at, updated_at, publish_at, expires_at, target_platforms,
    target_roles, min_version, max_version, is_active, priority, news_type, created_by_id";

/// What a list can be sorted by.
pub const COLUMNS: [Column; 17] = [
    Column::new("id", "id", Kind::Id),
    Column::new("title", "title", Kind::Text),
    Column::new("message", "message", Kind::Text),
    Column::new("link_url", "link_url", Kind::Text),
    Column::new("link_text", "link_text", Kind::Text),
    Column::new("created_at", "created_at", Kind::Time),
    Column::new("updated_at", "updated_at", Kind::Time),
    Column::new("publish_at", "publish_at", Kind::Time),
    Column::new("expires_at", "expires_at", Kind::Time),
    Column::new("target_platforms", "target_platforms", Kind::Text),
    Column::new("target_roles", "target_roles", Kind::Text),
    Column::new("min_version", "min_version", Kind::Text),
    Column::new("max_version", "max_version", Kind::Text),
    Column::new("is_active", "is_active", Kind::Flag),
    Column::new("priority", "priority", Kind::Number),
    Column::new("news_type", "news_type", Kind::Text),
    Column::new("created_by_id", "created_by_id", Kind::Id),
];

/// More items than anybody reads.
const MOST: i64 = 1_000;

/// Items of now and what else is asked for; the most important first, unless a column is named.
pub async fn list(db: &Db, also: Also, sort: Option<(Column, bool)>, now: Time) -> sqlx::Result<Vec<NewsItem>> {
    let sort = Search { sort: sort.into_iter().collect(), ..Search::default() };
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT {ALL} FROM news_item WHERE ($2 OR is_active) AND ($3 OR publish_at <= $1)
             AND ($4 OR expires_at IS NULL OR expires_at > $1) {} LIMIT $5",
        sort.order(db, "id", "priority DESC, publish_at DESC, id")
    ));
    reading!(db, |on| sqlx::query_as(text)
        .bind(now)
        .bind(also.inactive)
        .bind(also.scheduled)
        .bind(also.expired)
        .bind(MOST)
        .fetch_all(on)
        .await)
}

pub async fn find(db: &Db, id: Id) -> sqlx::Result<Option<NewsItem>> {
    let text = sqlx::AssertSqlSafe(format!("SELECT {ALL} FROM news_item WHERE id = $1"));
    reading!(db, |on| sqlx::query_as(text).bind(id).fetch_optional(on).await)
}

/// Stores a new item with these fields; every column that must not be NULL is among them.
pub async fn insert(tx: &mut Tx, id: Id, fields: &Fields, now: Time) -> sqlx::Result<NewsItem> {
    let (mut names, mut places, mut values) = (String::new(), String::new(), Vec::new());
    for (column, value) in fields {
        let Some(value) = value else { continue };
        values.push(value.clone());
        names.push_str(&format!(", {column}"));
        places.push_str(&format!(", ${}", values.len() + 2));
    }
    let text = sqlx::AssertSqlSafe(format!(
        "INSERT INTO news_item (id, created_at, updated_at{names}) VALUES ($1, $2, $2{places}) RETURNING {ALL}"
    ));
    within!(tx, |on| bind_values!(sqlx::query_as(text).bind(id).bind(now), values).fetch_one(on).await)
}

/// Sets fields; `None` if there is no such item.
pub async fn update(tx: &mut Tx, id: Id, fields: &Fields, now: Time) -> sqlx::Result<Option<NewsItem>> {
    let (mut set, mut values) = (String::new(), Vec::new());
    for (column, value) in fields {
        match value {
            Some(value) => {
                values.push(value.clone());
                set.push_str(&format!(", {column} = ${}", values.len() + 2));
            }
            None => set.push_str(&format!(", {column} = NULL")),
        }
    }
    let text = sqlx::AssertSqlSafe(format!("UPDATE news_item SET updated_at = $2{set} WHERE id = $1 RETURNING {ALL}"));
    within!(tx, |on| bind_values!(sqlx::query_as(text).bind(id).bind(now), values).fetch_optional(on).await)
}

/// Removes an item with its translations; false if there is none.
pub async fn delete(tx: &mut Tx, id: Id) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query("DELETE FROM news_item WHERE id = $1")
        .bind(id)
        .execute(on)
        .await
        .map(|r| r.rows_affected() == 1))
}
