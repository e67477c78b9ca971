//! Days that are over are rolled up, one by one and in order, and once a day all kept numbers are held against the rows. By any
//! worker; a lock of the row that remembers the place keeps two from doing it at once.

use std::collections::BTreeSet;

use chrono::{Months, TimeDelta};

use crate::{
    app::App,
    store::{
        self, Time,
        execution_daily::{self, midnight, next_midnight},
        roll_up, status_hourly,
    },
};

/// How long after its end a day is rolled up: what ended in its last second has been committed by then.
const LAG: TimeDelta = TimeDelta::hours(1);
/// Days of one round; what is left of a long history comes in the next ones.
const DAYS: usize = 50;
/// How often the kept numbers are checked.
const CHECK: TimeDelta = TimeDelta::hours(24);

/// Rolls up what is over. True if there may be more.
pub async fn fold(app: &App) -> anyhow::Result<bool> {
    for _ in 0..DAYS {
        if app.stop.is_cancelled() || !fold_day(app).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Rolls up the next day on which anything happened; false if no such day is over.
async fn fold_day(app: &App) -> anyhow::Result<bool> {
    let today = midnight(app.clock.now() - LAG);
    let mut tx = app.db.begin().await?;
    let until = roll_up::lock(&mut tx).await?;
    let next = [execution_daily::next_day(&mut tx, until).await?, status_hourly::next_day(&mut tx, until).await?];
    let Some(day) = next.into_iter().flatten().min().filter(|day| *day < today) else { return Ok(false) };
    execution_daily::fold(&app.db, &mut tx, day).await?;
    status_hourly::fold(&app.db, &mut tx, day).await?;
    roll_up::advance(&mut tx, next_midnight(day)).await?;
    tx.commit().await?;
    Ok(true)
}

/// Once a day and on one node: compares every kept number with the rows, says what was wrong, and mends it. What can be wrong:
/// the existing server moves the end of a run when it is told of it again, and an administrator may write by hand.
pub async fn check(app: &App) -> anyhow::Result<()> {
    let now = app.clock.now();
    if !roll_up::begin_check(&app.db, now - CHECK, now).await? {
        return Ok(());
    }
    let wrong = store::execution_count::wrong(&app.db).await?;
    for count in &wrong {
        let (status, kept, counted) = (&count.status, count.kept, count.counted);
        tracing::warn!(status, kept, counted, "the kept number of executions was wrong; it is mended");
    }
    if !wrong.is_empty() {
        store::execution_count::repair(&app.db).await?;
    }
    let until = roll_up::until(&app.db).await?;
    let mut from = first_day(app).await?.unwrap_or(until);
    while from < until && !app.stop.is_cancelled() {
        let to = (from + Months::new(1)).min(until);
        for day in wrong_days(app, from, to).await? {
            tracing::warn!(day = %day.date(), "the kept statistics of a day were wrong; it is counted anew");
            let mut tx = app.db.begin().await?;
            roll_up::lock(&mut tx).await?;
            execution_daily::fold(&app.db, &mut tx, day).await?;
            status_hourly::fold(&app.db, &mut tx, day).await?;
            tx.commit().await?;
        }
        from = to;
    }
    Ok(())
}

/// The first day of which anything is known.
async fn first_day(app: &App) -> anyhow::Result<Option<Time>> {
    let mut tx = app.db.begin().await?;
    let since = roll_up::beginning();
    let first = [execution_daily::next_day(&mut tx, since).await?, status_hourly::next_day(&mut tx, since).await?];
    Ok(first.into_iter().flatten().min())
}

/// Days whose kept numbers are not what the rows say.
async fn wrong_days(app: &App, from: Time, to: Time) -> anyhow::Result<BTreeSet<Time>> {
    let mut days = BTreeSet::new();
    let (kept, counted) = execution_daily::compare(&app.db, from, to).await?;
    let key = |row: &execution_daily::Happened| (row.at, row.script_id, row.status.clone(), row.n);
    let (kept, counted): (BTreeSet<_>, BTreeSet<_>) =
        (kept.iter().map(key).collect(), counted.iter().map(key).collect());
    days.extend(kept.symmetric_difference(&counted).map(|row| row.0));
    let (kept, counted) = status_hourly::compare(&app.db, from, to).await?;
    days.extend(kept.iter().filter(|hour| !counted.contains(hour)).map(|hour| midnight(hour.hour)));
    days.extend(counted.iter().filter(|hour| !kept.contains(hour)).map(|hour| midnight(hour.hour)));
    Ok(days)
}
