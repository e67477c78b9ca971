//! Table `maintenance`: whether the whole system is at rest. A row says so; there is one at most.

use serde::Serialize;

use super::{Db, Id, Tx};
use crate::{reading, within};

/// The row.
#[derive(Debug, Clone, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Maintenance {
    /// What callers are told, a sentence.
    pub message: Option<String>,
    pub begun_by: Option<Id>,
    pub begun_at: chrono::NaiveDateTime,
}

pub async fn get(db: &Db) -> sqlx::Result<Option<Maintenance>> {
    reading!(db, |on| sqlx::query_as("SELECT message, begun_by, begun_at FROM maintenance WHERE id = 1")
        .fetch_optional(on)
        .await)
}

/// Begins, or changes what callers are told; true if it has begun now.
pub async fn begin(tx: &mut Tx, new: &Maintenance) -> sqlx::Result<bool> {
    let begun = within!(tx, |on| {
        sqlx::query(
        "INSERT INTO maintenance (id, message, begun_by, begun_at) VALUES (1, $1, $2, $3) ON CONFLICT (id) DO NOTHING"
    )
    .bind(&new.message)
    .bind(new.begun_by)
    .bind(new.begun_at)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1)
    })?;
    if !begun {
        within!(tx, |on| sqlx::query("UPDATE maintenance SET message = $1 WHERE id = 1")
            .bind(&new.message)
            .execute(on)
            .await
            .map(drop))?;
    }
    Ok(begun)
}

/// Ends it; false if there was none.
pub async fn end(tx: &mut Tx) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query("DELETE FROM maintenance").execute(on).await.map(|r| r.rows_affected() > 0))
}
