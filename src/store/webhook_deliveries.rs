//! Table `webhook_delivery`: calls to the addresses that callers gave, made and to be made.

use super::{Db, Id, Time, Tx};
use crate::{reading, within};

/// A call that is to be made.
#[derive(Debug, sqlx::FromRow)]
pub struct Delivery {
    pub id: Id,
    pub execution_id: Id,
    pub event: String,
    pub url: String,
    pub attempts: i32,
    /// Whose secret signs it.
    pub user_id: Option<Id>,
}

/// Notes that somebody is to be called, if a run has an address for it. False if it has none.
pub async fn insert(tx: &mut Tx, id: Id, execution: Id, event: &str, now: Time) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO webhook_delivery (id, execution_id, event, url, next_at)
         SELECT $1, execution_id, $3, callback_url, $4 FROM execution_run
         WHERE execution_id = $2 AND callback_url IS NOT NULL"
    )
    .bind(id)
    .bind(execution)
    .bind(event)
    .bind(now)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1))
}

/// The call, if it is still to be made.
pub async fn due(db: &Db, id: Id) -> sqlx::Result<Option<Delivery>> {
    reading!(db, |on| sqlx::query_as(
        "SELECT w.id, w.execution_id, w.event, w.url, w.attempts, e.user_id
         FROM webhook_delivery w JOIN execution e ON e.id = w.execution_id WHERE w.id = $1 AND w.next_at IS NOT NULL"
    )
    .bind(id)
    .fetch_optional(on)
    .await)
}

/// Notes an attempt: the status that was answered (`None`: no answer), whether that was the delivery, and when the next
/// attempt is to be made, if one is.
pub async fn attempted(
    tx: &mut Tx,
    id: Id,
    status: Option<i32>,
    delivered_at: Option<Time>,
    next_at: Option<Time>,
) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        "UPDATE webhook_delivery SET attempts = attempts + 1, last_status = $2, delivered_at = $3, next_at = $4 WHERE id = $1"
    )
    .bind(id)
    .bind(status)
    .bind(delivered_at)
    .bind(next_at)
    .execute(on)
    .await
    .map(drop)
    })
}
