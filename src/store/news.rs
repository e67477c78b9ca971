//! Tables `news_item` and `news_item_translation`: what people are told in their clients (contract/content-admin.md 2.9).

use std::collections::BTreeMap;

use super::{Db, Id, Time};
use crate::reading;

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

/// An item in another language.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Translation {
    pub news_item_id: Id,
    pub title: String,
    pub message: String,
    pub link_text: Option<String>,
}

/// More items than anybody reads.
const MOST: i64 = 1_000;

/// What is shown now, the most important first.
pub async fn current(db: &Db, now: Time) -> sqlx::Result<Vec<NewsItem>> {
    reading!(db, |on| {
        sqlx::query_as(
        "SELECT id, title, message, link_url, link_text, created_at, updated_at, publish_at, expires_at, target_platforms,
             target_roles, min_version, max_version, is_active, priority, news_type, created_by_id
         FROM news_item WHERE is_active = $1 AND publish_at <= $2 AND (expires_at IS NULL OR expires_at > $2)
         ORDER BY priority DESC, publish_at DESC, id LIMIT $3"
    )
    .bind(true)
    .bind(now)
    .bind(MOST)
    .fetch_all(on)
    .await
    })
}

/// All translations into a language, by their items.
pub async fn translations(db: &Db, language: &str) -> sqlx::Result<BTreeMap<Id, Translation>> {
    let rows: Vec<Translation> = reading!(db, |on| sqlx::query_as(
        "SELECT news_item_id, title, message, link_text FROM news_item_translation WHERE language_code = $1"
    )
    .bind(language)
    .fetch_all(on)
    .await)?;
    Ok(rows.into_iter().map(|row| (row.news_item_id, row)).collect())
}
