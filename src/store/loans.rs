//! Table `execution_loan`: what a run was lent of somebody's credentials.

use super::{Db, Id, Tx};
use crate::{reading, within};

/// A loan: whose it is, and what was made for the run, sealed.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Loan {
    /// `user` or `default`.
    pub source: String,
    pub sealed: String,
    /// The owner of the run.
    pub user_id: Option<Id>,
}

/// Lends; what an earlier attempt had is replaced.
pub async fn replace(tx: &mut Tx, execution: Id, attempt: i32, source: &str, sealed: &str) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        "INSERT INTO execution_loan (execution_id, attempt, source, sealed) VALUES ($1, $2, $3, $4)
         ON CONFLICT (execution_id) DO UPDATE SET attempt = EXCLUDED.attempt, source = EXCLUDED.source, sealed = EXCLUDED.sealed"
    )
    .bind(execution)
    .bind(attempt)
    .bind(source)
    .bind(sealed)
    .execute(on)
    .await
    .map(drop)
    })
}

/// What a run was lent, whatever has become of it.
pub async fn of(db: &Db, execution: Id) -> sqlx::Result<Option<Loan>> {
    reading!(db, |on| {
        sqlx::query_as(
        "SELECT l.source, l.sealed, e.user_id FROM execution_loan l JOIN execution e ON e.id = l.execution_id WHERE e.id = $1"
    )
    .bind(execution)
    .fetch_optional(on)
    .await
    })
}

/// The same while the run lives and nobody has asked for its end.
pub async fn living(db: &Db, execution: Id) -> sqlx::Result<Option<Loan>> {
    reading!(db, |on| sqlx::query_as(
        "SELECT l.source, l.sealed, e.user_id FROM execution_loan l JOIN execution e ON e.id = l.execution_id
         JOIN execution_run r ON r.execution_id = e.id
         WHERE e.id = $1 AND r.attempt = l.attempt AND e.status IN ('READY', 'SUBMITTED', 'RUNNING')"
    )
    .bind(execution)
    .fetch_optional(on)
    .await)
}
