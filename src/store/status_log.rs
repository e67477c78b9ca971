//! Table `status_log`: one row per change of status, with the counts after it; the status pages read it.

use super::{Id, Time, Tx};
use crate::{execution::status::Status, within};

/// Notes a change that this transaction has made; the counts come from the sums that the triggers keep.
pub async fn insert(tx: &mut Tx, execution: Id, from: Option<Status>, to: Status, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        r#"INSERT INTO status_log ("timestamp", executions_pending, executions_ready, executions_running, executions_finished,
               executions_failed, executions_cancelled, status_from, status_to, execution_id)
           SELECT $1,
               COALESCE(SUM(CASE WHEN status = 'PENDING' THEN n END), 0),
               COALESCE(SUM(CASE WHEN status = 'READY' THEN n END), 0),
               COALESCE(SUM(CASE WHEN status IN ('RUNNING', 'CANCELLING') THEN n END), 0),
               COALESCE(SUM(CASE WHEN status = 'FINISHED' THEN n END), 0),
               COALESCE(SUM(CASE WHEN status = 'FAILED' THEN n END), 0),
               COALESCE(SUM(CASE WHEN status = 'CANCELLED' THEN n END), 0), $2, $3, $4
           FROM execution_count"#
    )
    .bind(now)
    .bind(from)
    .bind(to)
    .bind(execution.to_string())
    .execute(on)
    .await
    .map(drop)
    })
}
