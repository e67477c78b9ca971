//! Table `roll_up`: how far `execution_daily` and `status_hourly` reach. Days before `until` stand in them. Rows of other names
//! remember when something that one node does now and then was begun last.

use super::{Db, Time, Tx};
use crate::{reading, within, writing};

/// The one row: both tables are filled day by day, together.
const NAME: &str = "statistics";

/// Before all days.
pub fn beginning() -> Time {
    chrono::NaiveDate::from_ymd_opt(1, 1, 1).unwrap_or_default().and_time(chrono::NaiveTime::MIN)
}

/// After all days.
pub fn end() -> Time {
    chrono::NaiveDate::from_ymd_opt(9999, 1, 1).unwrap_or_default().and_time(chrono::NaiveTime::MIN)
}

/// Until when days are rolled up; the beginning if none is.
pub async fn until(db: &Db) -> sqlx::Result<Time> {
    let until: Option<Time> = reading!(db, |on| sqlx::query_scalar("SELECT until FROM roll_up WHERE name = $1")
        .bind(NAME)
        .fetch_optional(on)
        .await)?;
    Ok(until.unwrap_or_else(beginning))
}

/// The same, and nobody else rolls up before this transaction has ended.
pub async fn lock(tx: &mut Tx) -> sqlx::Result<Time> {
    within!(tx, |on| sqlx::query("INSERT INTO roll_up (name, until) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
        .bind(NAME)
        .bind(beginning())
        .execute(on)
        .await
        .map(drop))?;
    let text = sqlx::AssertSqlSafe(format!("SELECT until FROM roll_up WHERE name = $1 {}", tx.for_update()));
    within!(tx, |on| sqlx::query_scalar(text).bind(NAME).fetch_one(on).await)
}

/// Moves on.
pub async fn advance(tx: &mut Tx, until: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query("UPDATE roll_up SET until = $2 WHERE name = $1")
        .bind(NAME)
        .bind(until)
        .execute(on)
        .await
        .map(drop))
}

/// Takes a turn at something, `$1`, if none has begun since `$2`.
const TURN: &str = "INSERT INTO roll_up (name, until, checked_at) VALUES ($1, $4, $3)
     ON CONFLICT (name) DO UPDATE SET checked_at = EXCLUDED.checked_at
     WHERE roll_up.checked_at IS NULL OR roll_up.checked_at < $2";

/// Takes on the check if none has begun since; false if another node has it.
pub async fn begin_check(db: &Db, since: Time, now: Time) -> sqlx::Result<bool> {
    let rows = writing!(db, |on| sqlx::query(TURN)
        .bind(NAME)
        .bind(since)
        .bind(now)
        .bind(beginning())
        .execute(on)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(rows > 0)
}

/// Takes on something else that is done now and then, if it has not begun since; false if another node has it.
pub async fn begin(tx: &mut Tx, name: &str, since: Time, now: Time) -> sqlx::Result<bool> {
    let rows = within!(tx, |on| sqlx::query(TURN)
        .bind(name)
        .bind(since)
        .bind(now)
        .bind(beginning())
        .execute(on)
        .await
        .map(|done| done.rows_affected()))?;
    Ok(rows > 0)
}
