//! Why a run waits, and how many are before it.

use std::collections::HashMap;

use serde::Serialize;

use crate::{
    app::App,
    store::{self, Id, jobs::Position},
};

/// Waiting runs that are counted.
const MOST: i64 = 1_000;

/// `queue` of an execution that is PENDING.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Queue {
    /// Waiting runs that come before it, at most 1,000.
    pub ahead: i64,
    pub position: i64,
    /// user_limit, no_capacity, maintenance or engine_unreachable.
    pub reason: &'static str,
    pub message: String,
    pub waiting_since: Option<chrono::NaiveDateTime>,
}

/// Explains those of these runs that wait; `waiting` are their ids, and since when.
pub async fn explain(
    app: &App,
    waiting: &HashMap<Id, Option<chrono::NaiveDateTime>>,
) -> sqlx::Result<HashMap<Id, Queue>> {
    let ids: Vec<Id> = waiting.keys().copied().collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let positions = store::jobs::positions(&app.db, &ids, app.config.max_runs_per_user).await?;
    let since = crate::clock::before(app.clock.now(), app.config.lease_s);
    let has_worker = store::workers::any_since(&app.db, since).await?;
    let rests = store::maintenance::get(&app.db).await?.is_some();
    Ok(positions
        .into_iter()
        .map(|p| (p.execution, of(&p, waiting.get(&p.execution).copied().flatten(), has_worker, rests)))
        .collect())
}

fn of(place: &Position, waiting_since: Option<chrono::NaiveDateTime>, has_worker: bool, rests: bool) -> Queue {
    let Position { active, own, .. } = *place;
    let (reason, message) = match place.slots {
        _ if rests => ("maintenance", "The system is being maintained; the run starts when that has ended.".to_owned()),
        _ if !has_worker => {
            ("engine_unreachable", "No worker is there at present; the run starts when one is back.".to_owned())
        }
        Some(limit) if active + own >= limit => {
            let before = if active < limit { format!(" and {own} wait before this one") } else { String::new() };
            (
                "user_limit",
                format!("{active} of your {limit} runs are active{before}; the next one starts when one ends."),
            )
        }
        _ => ("no_capacity", "It starts as soon as a machine has room for it.".to_owned()),
    };
    let ahead = place.ahead.min(MOST);
    Queue { ahead, position: ahead + 1, reason, message, waiting_since }
}
