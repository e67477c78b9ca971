//! Table `status_hourly`: the rows of `status_log` by hour. Hours that are not rolled up yet are counted from the rows themselves.

use super::{
    Db, Time, Tx,
    db::Unit,
    execution_daily::{first_whole_day, midnight, next_midnight},
    roll_up,
    status_log::Span,
};
use crate::{reading, within};

/// The changes of one hour, or of the part of it that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Hour {
    pub hour: Time,
    pub n: i64,
    /// Sums of the counts after each change.
    pub pending: i64,
    pub ready: i64,
    pub running: i64,
    /// How many runs came to this end.
    pub finished: i64,
    pub failed: i64,
    pub cancelled: i64,
}

/// Sums over the rows between $1 and $2, which is left out. The existing server notes a FINISHED that is repeated again; a run
/// ends once.
fn counted(db: &Db) -> String {
    let sum = |column: &str| format!("CAST(COALESCE(SUM({column}), 0) AS BIGINT)");
    let ends = |status: &str| {
        sum(&format!(
            "CASE WHEN status_to = '{status}' AND (status_from IS NULL OR status_from <> '{status}') THEN 1 ELSE 0 END"
        ))
    };
    format!(
        r#"SELECT {} AS hour, count(*) AS n, {} AS pending, {} AS ready, {} AS running, {} AS finished, {} AS failed, {} AS cancelled
           FROM status_log WHERE "timestamp" >= $1 AND "timestamp" < $2 GROUP BY 1 ORDER BY 1"#,
        db.floor(r#""timestamp""#, Unit::Hour),
        sum("executions_pending"),
        sum("executions_ready"),
        sum("executions_running"),
        ends("FINISHED"),
        ends("FAILED"),
        ends("CANCELLED"),
    )
}

const KEPT: &str = "SELECT hour, n, pending, ready, running, finished, failed, cancelled FROM status_hourly
    WHERE hour >= $1 AND hour < $2 ORDER BY hour";

/// The changes of a time by hour, in order. An hour at the edge of what is rolled up may come in two parts.
pub async fn list(db: &Db, span: Span) -> sqlx::Result<Vec<Hour>> {
    let ((from, before), until) = (span.bounds(), roll_up::until(db).await?);
    let (first, last) = rolled(from, before, until);
    let mut hours = rows(db, from, first).await?;
    hours.extend(kept(db, first, last).await?);
    hours.extend(rows(db, last, before).await?);
    Ok(hours)
}

/// How many changes there were.
pub async fn count(db: &Db, span: Span) -> sqlx::Result<i64> {
    let ((from, before), until) = (span.bounds(), roll_up::until(db).await?);
    let (first, last) = rolled(from, before, until);
    reading!(db, |on| sqlx::query_scalar(
        r#"SELECT CAST(COALESCE((SELECT SUM(n) FROM status_hourly WHERE hour >= $2 AND hour < $3), 0)
               + (SELECT count(*) FROM status_log WHERE "timestamp" >= $1 AND "timestamp" < $2)
               + (SELECT count(*) FROM status_log WHERE "timestamp" >= $3 AND "timestamp" < $4) AS BIGINT)"#
    )
    .bind(from)
    .bind(first)
    .bind(last)
    .bind(before)
    .fetch_one(on)
    .await)
}

/// The whole days of a time that are rolled up: from when, and before when. Without any both are its end.
fn rolled(from: Time, before: Time, until: Time) -> (Time, Time) {
    let (first, last) = (first_whole_day(from), midnight(before).min(until));
    if first < last { (first, last) } else { (before, before) }
}

async fn rows(db: &Db, from: Time, before: Time) -> sqlx::Result<Vec<Hour>> {
    if from >= before {
        return Ok(Vec::new());
    }
    let text = sqlx::AssertSqlSafe(counted(db));
    reading!(db, |on| sqlx::query_as(text).bind(from).bind(before).fetch_all(on).await)
}

async fn kept(db: &Db, from: Time, before: Time) -> sqlx::Result<Vec<Hour>> {
    reading!(db, |on| sqlx::query_as(KEPT).bind(from).bind(before).fetch_all(on).await)
}

/// Counts a day anew.
pub async fn fold(db: &Db, tx: &mut Tx, day: Time) -> sqlx::Result<()> {
    let next = next_midnight(day);
    within!(tx, |on| sqlx::query("DELETE FROM status_hourly WHERE hour >= $1 AND hour < $2")
        .bind(day)
        .bind(next)
        .execute(on)
        .await
        .map(drop))?;
    let text = sqlx::AssertSqlSafe(format!(
        "INSERT INTO status_hourly (hour, n, pending, ready, running, finished, failed, cancelled) {}",
        counted(db)
    ));
    within!(tx, |on| sqlx::query(text).bind(day).bind(next).execute(on).await.map(drop))
}

/// The first day from `since` on, on which anything changed.
pub async fn next_day(tx: &mut Tx, since: Time) -> sqlx::Result<Option<Time>> {
    let first: Option<Time> =
        within!(tx, |on| sqlx::query_scalar(r#"SELECT MIN("timestamp") FROM status_log WHERE "timestamp" >= $1"#)
            .bind(since)
            .fetch_one(on)
            .await)?;
    Ok(first.map(midnight))
}

/// What is rolled up of some days, and what the rows say.
pub async fn compare(db: &Db, from: Time, to: Time) -> sqlx::Result<(Vec<Hour>, Vec<Hour>)> {
    Ok((kept(db, from, to).await?, rows(db, from, to).await?))
}
