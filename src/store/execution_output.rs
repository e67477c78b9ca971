//! Table `execution_output`: the last lines that the unit of an execution printed.

use super::{Db, Id, Time, Tx};
use crate::{reading, within};

/// A row of `execution_output`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct ExecutionOutput {
    pub text: String,
    pub collected_at: Time,
}

/// Replaces what was kept; an execution that is gone keeps nothing.
pub async fn put(tx: &mut Tx, execution: Id, text: &str, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO execution_output (execution_id, text, collected_at) SELECT id, $2, $3 FROM execution WHERE id = $1
         ON CONFLICT (execution_id) DO UPDATE SET text = EXCLUDED.text, collected_at = EXCLUDED.collected_at"
    )
    .bind(execution)
    .bind(text)
    .bind(now)
    .execute(on)
    .await
    .map(drop))
}

pub async fn find(db: &Db, execution: Id) -> sqlx::Result<Option<ExecutionOutput>> {
    reading!(db, |on| sqlx::query_as("SELECT text, collected_at FROM execution_output WHERE execution_id = $1")
        .bind(execution)
        .fetch_optional(on)
        .await)
}
