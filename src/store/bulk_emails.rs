//! Table `bulk_email`: mails to many (contract/content-admin.md 3.3).

use super::{Db, Id, Json, Time, Tx};
use crate::{reading, within};

/// A mail, with the addresses of who made and who sent it.
#[derive(Debug, sqlx::FromRow)]
pub struct BulkEmail {
    pub id: Id,
    pub name: String,
    pub subject: String,
    pub html_content: String,
    /// DRAFT, SENDING, SENT or FAILED.
    pub status: String,
    pub recipient_list_id: Option<Id>,
    pub recipient_count: Option<i32>,
    pub created_by: Option<String>,
    pub sent_by: Option<String>,
    pub created_at: Option<Time>,
    pub updated_at: Option<Time>,
    pub sent_at: Option<Time>,
    pub subscription_type: Option<String>,
    pub fields_data: Option<Json>,
}

/// What a draft says.
pub struct Draft<'a> {
    pub name: &'a str,
    pub subject: &'a str,
    pub html: &'a str,
    pub recipient_list: Option<Id>,
    pub subscription: Option<&'a str>,
    pub fields: Option<&'a Json>,
}

const SELECT: &str = r#"SELECT b.id, b.name, b.subject, b.html_content, b.status, b.recipient_list_id, b.recipient_count,
    c.email AS created_by, s.email AS sent_by, b.created_at, b.updated_at, b.sent_at, b.subscription_type, b.fields_data
    FROM bulk_email b LEFT JOIN "user" c ON c.id = b.created_by_id LEFT JOIN "user" s ON s.id = b.sent_by_id"#;

/// All mails, or those in a state, the newest first.
pub async fn list(db: &Db, status: Option<&str>) -> sqlx::Result<Vec<BulkEmail>> {
    let text = sqlx::AssertSqlSafe(format!(
        "{SELECT} WHERE CAST($1 AS TEXT) IS NULL OR b.status = $1 ORDER BY b.created_at DESC, b.id LIMIT 1000"
    ));
    reading!(db, |on| sqlx::query_as(text).bind(status).fetch_all(on).await)
}

pub async fn find(db: &Db, id: Id) -> sqlx::Result<Option<BulkEmail>> {
    let text = sqlx::AssertSqlSafe(format!("{SELECT} WHERE b.id = $1"));
    reading!(db, |on| sqlx::query_as(text).bind(id).fetch_optional(on).await)
}

/// The mail, which nobody else changes before this transaction has ended.
pub async fn lock(tx: &mut Tx, id: Id) -> sqlx::Result<Option<BulkEmail>> {
    let text = sqlx::AssertSqlSafe(format!("{SELECT} WHERE b.id = $1 {}", tx.for_update_of("b")));
    within!(tx, |on| sqlx::query_as(text).bind(id).fetch_optional(on).await)
}

pub async fn insert(tx: &mut Tx, id: Id, draft: &Draft<'_>, by: Id, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO bulk_email (id, name, subject, html_content, status, recipient_list_id, created_by_id, created_at,
             updated_at, subscription_type, fields_data)
         VALUES ($1, $2, $3, $4, 'DRAFT', $5, $6, $7, $7, $8, $9)"
    )
    .bind(id)
    .bind(draft.name)
    .bind(draft.subject)
    .bind(draft.html)
    .bind(draft.recipient_list)
    .bind(by)
    .bind(now)
    .bind(draft.subscription)
    .bind(draft.fields)
    .execute(on)
    .await
    .map(drop))
}

/// Writes a draft anew.
pub async fn update(tx: &mut Tx, id: Id, draft: &Draft<'_>, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "UPDATE bulk_email SET name = $2, subject = $3, html_content = $4, recipient_list_id = $5, updated_at = $6,
             subscription_type = $7, fields_data = $8 WHERE id = $1"
    )
    .bind(id)
    .bind(draft.name)
    .bind(draft.subject)
    .bind(draft.html)
    .bind(draft.recipient_list)
    .bind(now)
    .bind(draft.subscription)
    .bind(draft.fields)
    .execute(on)
    .await
    .map(drop))
}

/// Notes to whom a mail goes.
pub async fn set_list(tx: &mut Tx, id: Id, list: Id, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query("UPDATE bulk_email SET recipient_list_id = $2, updated_at = $3 WHERE id = $1")
        .bind(id)
        .bind(list)
        .bind(now)
        .execute(on)
        .await
        .map(drop))
}

/// A draft, or a mail that failed, begins to be sent; false if somebody was first.
pub async fn begin(tx: &mut Tx, id: Id, by: Id, now: Time) -> sqlx::Result<bool> {
    within!(tx, |on| {
        sqlx::query(
        "UPDATE bulk_email SET status = 'SENDING', sent_by_id = $2, updated_at = $3 WHERE id = $1 AND status IN ('DRAFT', 'FAILED')"
    )
    .bind(id)
    .bind(by)
    .bind(now)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1)
    })
}

/// A mail that is being sent has been sent, or has failed.
pub async fn end(tx: &mut Tx, id: Id, status: &str, recipients: i64, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        "UPDATE bulk_email SET status = $2, recipient_count = $3, sent_at = $4, updated_at = $4 WHERE id = $1 AND status = 'SENDING'"
    )
    .bind(id)
    .bind(status)
    .bind(i32::try_from(recipients).unwrap_or(i32::MAX))
    .bind(now)
    .execute(on)
    .await
    .map(drop)
    })
}

/// Removes a draft; false if it is none any more.
pub async fn delete_draft(tx: &mut Tx, id: Id) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query("DELETE FROM bulk_email WHERE id = $1 AND status = 'DRAFT'")
        .bind(id)
        .execute(on)
        .await
        .map(|r| r.rows_affected() == 1))
}
