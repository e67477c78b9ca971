//! Table `bulk_email_recipient_list`: who mails to many go to, as criteria (contract/content-admin.md 3.1).

use super::{Db, Id, Json, Time, Tx};
use crate::{reading, within};

/// A list, with the address of who made it.
#[derive(Debug, sqlx::FromRow)]
pub struct RecipientList {
    pub id: Id,
    pub name: String,
    pub description: Option<String>,
    pub filter_criteria: Json,
    pub estimated_count: Option<i32>,
    pub created_by: Option<String>,
    pub created_at: Option<Time>,
}

/// What a list says.
pub struct NewList<'a> {
    pub name: &'a str,
    pub description: Option<&'a str>,
    pub criteria: &'a Json,
    pub count: i64,
}

const SELECT: &str = r#"SELECT l.id, l.name, l.description, l.filter_criteria, l.estimated_count, u.email AS created_by, l.created_at
    FROM bulk_email_recipient_list l LEFT JOIN "user" u ON u.id = l.created_by_id"#;

/// All lists, the newest first.
pub async fn list(db: &Db) -> sqlx::Result<Vec<RecipientList>> {
    let text = sqlx::AssertSqlSafe(format!("{SELECT} ORDER BY l.created_at DESC, l.id LIMIT 1000"));
    reading!(db, |on| sqlx::query_as(text).fetch_all(on).await)
}

pub async fn find(db: &Db, id: Id) -> sqlx::Result<Option<RecipientList>> {
    let text = sqlx::AssertSqlSafe(format!("{SELECT} WHERE l.id = $1"));
    reading!(db, |on| sqlx::query_as(text).bind(id).fetch_optional(on).await)
}

pub async fn insert(tx: &mut Tx, id: Id, new: &NewList<'_>, by: Id, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO bulk_email_recipient_list
             (id, name, description, filter_criteria, estimated_count, created_by_id, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $7)"
    )
    .bind(id)
    .bind(new.name)
    .bind(new.description)
    .bind(new.criteria)
    .bind(i32::try_from(new.count).unwrap_or(i32::MAX))
    .bind(by)
    .bind(now)
    .execute(on)
    .await
    .map(drop))
}

/// Writes a list anew; false if it is gone.
pub async fn update(tx: &mut Tx, id: Id, new: &NewList<'_>, now: Time) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query(
        "UPDATE bulk_email_recipient_list SET name = $2, description = $3, filter_criteria = $4, estimated_count = $5,
             updated_at = $6 WHERE id = $1"
    )
    .bind(id)
    .bind(new.name)
    .bind(new.description)
    .bind(new.criteria)
    .bind(i32::try_from(new.count).unwrap_or(i32::MAX))
    .bind(now)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1))
}

/// Removes a list; mails that name it go to nobody. False if there is none.
pub async fn delete(tx: &mut Tx, id: Id) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query("DELETE FROM bulk_email_recipient_list WHERE id = $1")
        .bind(id)
        .execute(on)
        .await
        .map(|r| r.rows_affected() == 1))
}
