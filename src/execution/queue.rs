//! Why a run waits, and how many are before it.

use serde::Serialize;

use crate::{
    app::App,
    store::{self, executions::Execution, users::Role},
};

/// `queue` of an execution that is PENDING.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Queue {
    /// Waiting runs that come before it, at most 1,000.
    pub ahead: i64,
    pub position: i64,
    /// user_limit, no_capacity or engine_unreachable.
    pub reason: &'static str,
    pub message: String,
    pub waiting_since: Option<chrono::NaiveDateTime>,
}

/// Explains a waiting run of ours.
pub async fn explain(app: &App, execution: &Execution) -> sqlx::Result<Option<Queue>> {
    let (Some(user), Some(start)) = (execution.user_id, execution.start_date) else { return Ok(None) };
    let (ahead, own, active) = store::jobs::ahead(&app.db, user, start).await?;
    let profile = store::users::profile(&app.db, user).await?;
    let role = Role::of(profile.as_ref().and_then(|p| p.role.as_deref()));
    let limit = profile.and_then(|p| p.max_concurrent_executions).map_or(app.config.max_runs_per_user, i64::from);
    let since =
        app.clock.now() - chrono::TimeDelta::seconds(i64::try_from(app.config.lease_s).unwrap_or(i64::MAX / 1_000));
    let (reason, message) = if !store::workers::any_since(&app.db, since).await? {
        ("engine_unreachable", "No worker is there at present; the run starts when one is back.".to_owned())
    } else if role < Role::Admin && active + own >= limit {
        let before = if own > 0 { format!(" and {own} wait before this one") } else { String::new() };
        ("user_limit", format!("{active} of your {limit} runs are active{before}; the next one starts when one ends."))
    } else {
        ("no_capacity", "It starts as soon as a machine has room for it.".to_owned())
    };
    Ok(Some(Queue { ahead, position: ahead + 1, reason, message, waiting_since: execution.queued_at.or(Some(start)) }))
}
