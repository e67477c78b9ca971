//! What of people and tokens is of no use any more: expired and idle sessions, links and codes, revocations of tokens that have
//! ended, failures of addresses that nobody has, letters that were sent. In small batches, by any worker, every hour.

use chrono::TimeDelta;

use crate::{app::App, execution::idempotency::KEY_S, store};

/// Rows of one kind that are deleted at one time.
const BATCH: i64 = 1_000;

/// Deletes it all.
pub async fn sweep(app: &App) -> anyhow::Result<()> {
    let now = app.clock.now();
    let limits = [
        (store::sweep::EXPIRED_SESSIONS, now),
        (store::sweep::DEAD_LINKS, now - TimeDelta::days(30)),
        (store::sweep::DEAD_CODES, now - TimeDelta::days(30)),
        (store::sweep::ENDED_REVOCATIONS, now),
        (store::sweep::UNKNOWN_LOGINS, now - TimeDelta::days(1)),
        (store::sweep::SENT_LETTERS, now - TimeDelta::days(30)),
        (store::sweep::LIMIT_EVENTS, now - TimeDelta::days(90)),
        (store::sweep::OLD_KEYS, crate::clock::before(now, KEY_S)),
        (store::sweep::OLD_AUDIT, now - TimeDelta::days(401)),
    ];
    let idle = app.config.inactive_token_days;
    let idle = (idle > 0).then(|| (store::sweep::IDLE_SESSIONS, now - TimeDelta::days(idle)));
    for (what, before) in limits.into_iter().chain(idle) {
        while store::sweep::batch(&app.db, what, before, BATCH).await? == BATCH.unsigned_abs() {
            if app.stop.is_cancelled() {
                return Ok(());
            }
        }
    }
    Ok(())
}
