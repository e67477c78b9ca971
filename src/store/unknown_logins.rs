//! Table `unknown_login`: failed sign-ins of addresses that no account has.

use super::{Db, Time, Tx};
use crate::{
    auth::lockout::{self, Failures},
    reading, within,
};

/// Counts a failure as `users::count_failure` does; `None` if the address is locked already.
pub async fn count_failure(tx: &mut Tx, email_sha256: &str, now: Time) -> sqlx::Result<Option<Failures>> {
    let [first, second, last] = lockout::STEPS.map(|(n, minutes)| (n, now + chrono::TimeDelta::minutes(minutes)));
    within!(tx, |on| sqlx::query_as(
        "INSERT INTO unknown_login AS u (email_sha256, failed_count, last_at) VALUES ($1, 1, $2)
         ON CONFLICT (email_sha256) DO UPDATE SET failed_count = u.failed_count + 1, last_at = $2, locked_until =
             CASE WHEN u.failed_count + 1 >= $7 THEN $8 WHEN u.failed_count + 1 >= $5 THEN $6
                  WHEN u.failed_count + 1 >= $3 THEN $4 END
         WHERE u.locked_until IS NULL OR u.locked_until <= $2 RETURNING failed_count, locked_until"
    )
    .bind(email_sha256)
    .bind(now)
    .bind(first.0)
    .bind(first.1)
    .bind(second.0)
    .bind(second.1)
    .bind(last.0)
    .bind(last.1)
    .fetch_optional(on)
    .await)
}

/// Until when the address is locked.
pub async fn locked_until(db: &Db, email_sha256: &str) -> sqlx::Result<Option<Time>> {
    let row: Option<Option<Time>> =
        reading!(db, |on| sqlx::query_scalar("SELECT locked_until FROM unknown_login WHERE email_sha256 = $1")
            .bind(email_sha256)
            .fetch_optional(on)
            .await)?;
    Ok(row.flatten())
}
