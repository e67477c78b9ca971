//! Table `execution_daily`: runs that have ended, by day, script, owner and state. What is not rolled up yet (the newest days,
//! open runs, the first day of a period that does not begin at midnight) is counted from `execution`, by ranges of its indexes.

use chrono::{Days, NaiveTime};

use super::{Db, Id, Time, Tx, db::Unit, roll_up};
use crate::{reading, within};

const ENDED: &str = "status IN ('FINISHED', 'FAILED', 'CANCELLED')";
/// The condition of the index of open runs, word for word.
const OPEN: &str = "status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING')";

/// Runs that one person started of one script, in one state.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Group {
    pub script_id: Option<Id>,
    pub user_id: Option<Id>,
    pub status: String,
    pub n: i64,
    /// How many of them have both a beginning and an end.
    pub timed: i64,
    /// The sum of the durations of those.
    pub seconds: f64,
}

/// What happened at a time: runs of one script that came to this end, or began and are open.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Happened {
    pub at: Time,
    pub script_id: Option<Id>,
    pub status: String,
    pub n: i64,
}

/// A number of runs that began in a day or an hour.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Begun {
    pub at: Time,
    pub n: i64,
}

/// The midnight at or before a time.
pub fn midnight(time: Time) -> Time {
    time.date().and_time(NaiveTime::MIN)
}

/// The next midnight.
pub fn next_midnight(time: Time) -> Time {
    midnight(time) + Days::new(1)
}

/// The first midnight that is not before a time.
pub fn first_whole_day(time: Time) -> Time {
    if midnight(time) == time { time } else { next_midnight(time) }
}

/// Runs that began at or after `since`, all of them if that is `None`.
pub async fn groups(db: &Db, since: Option<Time>) -> sqlx::Result<Vec<Group>> {
    let seconds = db.seconds("start_date", "end_date");
    let text = begun_since(
        "script_id, user_id, status, n, n AS timed, seconds",
        &format!("script_id, user_id, status, 1, 1, {seconds}"),
        "script_id, user_id, status, 1, 0, 0.0",
    );
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT script_id, user_id, status, CAST(SUM(n) AS BIGINT) AS n, CAST(SUM(timed) AS BIGINT) AS timed,
             CAST(SUM(seconds) AS DOUBLE PRECISION) AS seconds
         FROM ({text}) AS e GROUP BY script_id, user_id, status"
    ));
    let (since, until) = (since.unwrap_or_else(roll_up::beginning), roll_up::until(db).await?);
    reading!(db, |on| sqlx::query_as(text).bind(since).bind(first_whole_day(since)).bind(until).fetch_all(on).await)
}

/// How many runs began on each day, from `since` on.
pub async fn begun_by_day(db: &Db, since: Time) -> sqlx::Result<Vec<Begun>> {
    let row = format!("{}, 1", db.floor("start_date", Unit::Day));
    let text = begun_since("started AS at, n", &row, &row);
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT at, CAST(SUM(n) AS BIGINT) AS n FROM ({text}) AS e GROUP BY at ORDER BY at"
    ));
    let until = roll_up::until(db).await?;
    reading!(db, |on| sqlx::query_as(text).bind(since).bind(first_whole_day(since)).bind(until).fetch_all(on).await)
}

/// How many runs began in each hour, from `since` on: a range of an index.
pub async fn begun_by_hour(db: &Db, since: Time) -> sqlx::Result<Vec<Begun>> {
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT {} AS at, count(*) AS n FROM execution WHERE start_date >= $1 GROUP BY 1 ORDER BY 1",
        db.floor("start_date", Unit::Hour)
    ));
    reading!(db, |on| sqlx::query_as(text).bind(since).fetch_all(on).await)
}

/// How many runs began at or after `since`.
pub async fn count_begun(db: &Db, since: Time) -> sqlx::Result<i64> {
    reading!(db, |on| sqlx::query_scalar("SELECT count(*) FROM execution WHERE start_date >= $1")
        .bind(since)
        .fetch_one(on)
        .await)
}

/// The arms of a query over runs that began at or after $1; $2 is the first midnight from there on, $3 the end of what is
/// rolled up. No run is in two arms.
fn begun_since(rolled: &str, with_end: &str, without: &str) -> String {
    format!(
        "SELECT {rolled} FROM execution_daily WHERE started >= $2 AND ended < $3
         UNION ALL SELECT {with_end} FROM execution WHERE start_date >= $1 AND start_date < $2 AND {ENDED} AND end_date < $3
         UNION ALL SELECT {with_end} FROM execution WHERE end_date >= $3 AND {ENDED} AND start_date >= $1
         UNION ALL SELECT {without} FROM execution WHERE {ENDED} AND end_date IS NULL AND start_date >= $1
         UNION ALL SELECT {without} FROM execution WHERE {OPEN} AND start_date >= $1"
    )
}

/// What happened at or after `since`, or ever: ended runs count when they ended, all others when they began. What is
/// less than a day is known by the rows themselves alone.
pub async fn happened(db: &Db, since: Option<Time>, unit: Unit) -> sqlx::Result<Vec<Happened>> {
    let (end, start) = (db.floor("end_date", unit), db.floor("start_date", unit));
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT at, script_id, status, CAST(SUM(n) AS BIGINT) AS n FROM (
             SELECT ended AS at, script_id, status, n FROM execution_daily WHERE ended >= $2 AND ended < $3
             UNION ALL SELECT {end}, script_id, status, 1 FROM execution
                 WHERE end_date >= $1 AND end_date < $2 AND end_date < $3 AND {ENDED} AND start_date IS NOT NULL
             UNION ALL SELECT {end}, script_id, status, 1 FROM execution
                 WHERE end_date >= $3 AND end_date >= $1 AND {ENDED} AND start_date IS NOT NULL
             UNION ALL SELECT {start}, script_id, status, 1 FROM execution
                 WHERE {ENDED} AND end_date IS NULL AND start_date >= $1
             UNION ALL SELECT {start}, script_id, status, 1 FROM execution WHERE {OPEN} AND start_date >= $1
         ) AS e GROUP BY at, script_id, status"
    ));
    let since = since.unwrap_or_else(roll_up::beginning);
    let until = if unit == Unit::Day { roll_up::until(db).await? } else { roll_up::beginning() };
    reading!(db, |on| sqlx::query_as(text).bind(since).bind(first_whole_day(since)).bind(until).fetch_all(on).await)
}

/// Counts a day anew.
pub async fn fold(db: &Db, tx: &mut Tx, day: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query("DELETE FROM execution_daily WHERE ended = $1")
        .bind(day)
        .execute(on)
        .await
        .map(drop))?;
    let text = sqlx::AssertSqlSafe(format!(
        "INSERT INTO execution_daily (ended, started, script_id, user_id, status, n, seconds)
         SELECT {}, {}, script_id, user_id, status, count(*), COALESCE(SUM({}), 0)
         FROM execution WHERE end_date >= $1 AND end_date < $2 AND {ENDED} AND start_date IS NOT NULL
         GROUP BY 1, 2, 3, 4, 5",
        db.floor("end_date", Unit::Day),
        db.floor("start_date", Unit::Day),
        db.seconds("start_date", "end_date"),
    ));
    within!(tx, |on| sqlx::query(text).bind(day).bind(next_midnight(day)).execute(on).await.map(drop))
}

/// The first day from `since` on, on which anything ended.
pub async fn next_day(tx: &mut Tx, since: Time) -> sqlx::Result<Option<Time>> {
    let first: Option<Time> =
        within!(tx, |on| sqlx::query_scalar("SELECT MIN(end_date) FROM execution WHERE end_date >= $1")
            .bind(since)
            .fetch_one(on)
            .await)?;
    Ok(first.map(midnight))
}

/// What is rolled up of some days, and what the rows say.
pub async fn compare(db: &Db, from: Time, to: Time) -> sqlx::Result<(Vec<Happened>, Vec<Happened>)> {
    const KEPT: &str = "SELECT ended AS at, script_id, status, CAST(SUM(n) AS BIGINT) AS n FROM execution_daily
        WHERE ended >= $1 AND ended < $2 GROUP BY ended, script_id, status ORDER BY 1, 2, 3";
    let counted = sqlx::AssertSqlSafe(format!(
        "SELECT {} AS at, script_id, status, count(*) AS n FROM execution
         WHERE end_date >= $1 AND end_date < $2 AND {ENDED} AND start_date IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        db.floor("end_date", Unit::Day)
    ));
    let kept = reading!(db, |on| sqlx::query_as(KEPT).bind(from).bind(to).fetch_all(on).await)?;
    let counted = reading!(db, |on| sqlx::query_as(counted).bind(from).bind(to).fetch_all(on).await)?;
    Ok((kept, counted))
}
