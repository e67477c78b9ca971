//! Somebody asks for the end of an execution. It always goes through CANCELLING, also while it waits; its job ends it.

use super::{
    report::{self, By},
    status::Status,
};
use crate::{
    app::App,
    auth::User,
    error::{Error, Result},
    jobs,
    store::{
        self, Id,
        executions::{Change, Execution},
        jobs::NewJob,
        logs::Line,
    },
};

/// Asks for the end; returns the execution and the state that it was in before.
pub async fn request(app: &App, user: &User, id: Id) -> Result<(Execution, Status)> {
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    // An execution of the existing server has no job of ours yet, nor has a run that somebody reported on before it was
    // given to a worker; this one ends it. A job that is there already stays the only one. It comes before the execution is
    // locked: a worker holds its job first too, and two who lock in opposite orders wait for each other.
    let job = NewJob { kind: jobs::RUN_EXECUTION, subject: id, unique_key: Some(format!("run:{id}")) };
    store::jobs::insert(&mut tx, &job, now).await?;
    let current = store::executions::lock(&mut tx, id).await?.ok_or_else(|| Error::not_found("Ticket Not Found"))?;
    if current == Status::Cancelling {
        return Err(Error::Conflict("Cancellation already in progress for this execution".into()));
    }
    if current.is_terminal() {
        return Err(Error::invalid(format!("Cannot cancel execution in {current} state")));
    }
    let change = Change::to(current, Status::Cancelling);
    report::advance(&mut tx, id, &change, &By::new(user.actor(), "cancel_requested"), now).await?;
    let line = Line { level: "INFO".into(), text: "Cancellation requested by user".into(), at: now };
    store::logs::insert(&mut tx, id, &[line]).await?;
    if user.is_admin() && store::executions::owner(&mut tx, id).await? != Some(user.id) {
        let act = user.caller.did("execution.cancelled_by_admin", "execution", &id);
        store::audit::insert(&mut tx, &act, now).await?;
    }
    let execution =
        store::executions::find_within(&mut tx, id).await?.ok_or_else(|| Error::not_found("Ticket Not Found"))?;
    tx.commit().await?;
    app.wake();
    Ok((execution, current))
}
