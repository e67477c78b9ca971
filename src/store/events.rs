//! Table `execution_event`: who changed an execution's state, and why.

use super::{Db, Id, Time, Tx};
use crate::{execution::status::Status, reading, within};

/// A row of `execution_event`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Event {
    pub at: Time,
    pub status_from: Option<Status>,
    pub status_to: Status,
    pub actor: Option<String>,
    pub cause: String,
    pub message: Option<String>,
}

pub async fn insert(tx: &mut Tx, execution: Id, event: &Event) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO execution_event (execution_id, at, status_from, status_to, actor, cause, message)
         VALUES ($1, $2, $3, $4, $5, $6, $7)"
    )
    .bind(execution)
    .bind(event.at)
    .bind(event.status_from)
    .bind(event.status_to)
    .bind(&event.actor)
    .bind(&event.cause)
    .bind(&event.message)
    .execute(on)
    .await
    .map(drop))
}

/// The history of an execution, oldest first.
pub async fn list(db: &Db, execution: Id) -> sqlx::Result<Vec<Event>> {
    reading!(db, |on| {
        sqlx::query_as(
        "SELECT at, status_from, status_to, actor, cause, message FROM execution_event WHERE execution_id = $1 ORDER BY id"
    )
    .bind(execution)
    .fetch_all(on)
    .await
    })
}
