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

/// The history of an execution of the existing server, which notes only its changes; who and why is known of those made here.
pub async fn list_foreign(db: &Db, execution: Id) -> sqlx::Result<Vec<Event>> {
    reading!(db, |on| {
        sqlx::query_as(
        r#"SELECT s."timestamp" AS at, s.status_from, s.status_to, e.actor,
               COALESCE(e.cause, CASE s.status_to WHEN 'CANCELLING' THEN 'cancel_requested' WHEN 'CANCELLED' THEN 'cancelled'
                   WHEN 'READY' THEN 'dispatched' ELSE 'reported' END) AS cause, e.message
           FROM status_log s LEFT JOIN execution_event e
               ON e.execution_id = $1 AND e.at = s."timestamp" AND e.status_to = s.status_to
           WHERE s.execution_id = $2 AND s.status_to IS NOT NULL ORDER BY s.id"#
    )
    .bind(execution)
    .bind(execution.to_string())
    .fetch_all(on)
    .await
    })
}

/// The history of an execution of ours, oldest first.
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
