//! Why a run waits, and how many are before it.

use std::collections::HashMap;

use serde::Serialize;

use super::order::{self, Place};
use crate::{app::App, store::Id};

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
    let mut explained = HashMap::new();
    if waiting.is_empty() {
        return Ok(explained);
    }
    let order = order::current(app).await?;
    let held = if app.config.rehearse {
        Some("This is a rehearsal on a copy of the database; no run is started in it.")
    } else if order.rests {
        Some("The system is being maintained; the run starts when that has ended.")
    } else {
        None
    };
    for (id, since) in waiting {
        if let Some(place) = order.place(app, *id).await? {
            explained.insert(*id, of(&place, *since, order.has_worker(place.wanted), held));
        }
    }
    Ok(explained)
}

fn of(
    place: &Place,
    waiting_since: Option<chrono::NaiveDateTime>,
    has_worker: bool,
    held: Option<&'static str>,
) -> Queue {
    let Place { active, own, .. } = *place;
    let (reason, message) = match (held, place.slots) {
        (Some(sentence), _) => ("maintenance", sentence.to_owned()),
        (None, _) if !has_worker => {
            let with = place.wanted.map_or_else(String::new, |kind| format!(" with the engine {}", kind.name()));
            ("engine_unreachable", format!("No worker{with} is there at present; the run starts when one is back."))
        }
        (None, Some(limit)) if active + own >= limit => {
            let before = if active < limit { format!(" and {own} wait before this one") } else { String::new() };
            (
                "user_limit",
                format!("{active} of your {limit} runs are active{before}; the next one starts when one ends."),
            )
        }
        _ => ("no_capacity", "It starts as soon as a machine has room for it.".to_owned()),
    };
    let ahead = i64::try_from(place.ahead).map_or(MOST, |ahead| ahead.min(MOST));
    Queue { ahead, position: ahead + 1, reason, message, waiting_since }
}
