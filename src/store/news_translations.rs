//! Table `news_item_translation`: news in other languages (contract/content-admin.md 2.8).

use std::collections::BTreeMap;

use super::{Db, Id, Time, Tx};
use crate::{reading, within};

/// An item in another language.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Translation {
    pub id: Id,
    pub news_item_id: Id,
    pub language_code: String,
    pub title: String,
    pub message: String,
    pub link_text: Option<String>,
    pub is_machine_translated: bool,
    pub created_at: Time,
    pub updated_at: Time,
}

/// What a translation is to say.
pub struct NewTranslation<'a> {
    pub language: &'a str,
    pub title: &'a str,
    pub message: &'a str,
    pub link_text: Option<&'a str>,
    pub is_machine_translated: bool,
}

/// All translations into a language, by their items.
pub async fn into_language(db: &Db, language: &str) -> sqlx::Result<BTreeMap<Id, Translation>> {
    let rows: Vec<Translation> = reading!(db, |on| {
        sqlx::query_as(
        "SELECT id, news_item_id, language_code, title, message, link_text, is_machine_translated, created_at, updated_at
         FROM news_item_translation WHERE language_code = $1"
    )
    .bind(language)
    .fetch_all(on)
    .await
    })?;
    Ok(rows.into_iter().map(|row| (row.news_item_id, row)).collect())
}

/// The translations of an item, by language.
pub async fn of_item(db: &Db, item: Id) -> sqlx::Result<Vec<Translation>> {
    reading!(db, |on| {
        sqlx::query_as(
        "SELECT id, news_item_id, language_code, title, message, link_text, is_machine_translated, created_at, updated_at
         FROM news_item_translation WHERE news_item_id = $1 ORDER BY language_code"
    )
    .bind(item)
    .fetch_all(on)
    .await
    })
}

/// Stores a translation, in the place of the one that there was.
pub async fn put(tx: &mut Tx, item: Id, new: &NewTranslation<'_>, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO news_item_translation
             (id, news_item_id, language_code, title, message, link_text, is_machine_translated, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
         ON CONFLICT (news_item_id, language_code) DO UPDATE SET title = EXCLUDED.title, message = EXCLUDED.message,
             link_text = EXCLUDED.link_text, is_machine_translated = EXCLUDED.is_machine_translated,
             updated_at = EXCLUDED.updated_at"
    )
    .bind(Id::random())
    .bind(item)
    .bind(new.language)
    .bind(new.title)
    .bind(new.message)
    .bind(new.link_text)
    .bind(new.is_machine_translated)
    .bind(now)
    .execute(on)
    .await
    .map(drop))
}

/// Removes a translation; false if there is none.
pub async fn delete(tx: &mut Tx, item: Id, language: &str) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query("DELETE FROM news_item_translation WHERE news_item_id = $1 AND language_code = $2")
        .bind(item)
        .bind(language)
        .execute(on)
        .await
        .map(|r| r.rows_affected() == 1))
}
