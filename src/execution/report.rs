//! Changes of an execution's state with all that follows from them, in one transaction: the guarded UPDATE, the status
//! log, the event, the end of the credential, the last log line. Only the winner of a change has effects.

use sqlx::types::Json as SqlJson;

use super::{
    failure::Failure,
    results::{self, Results},
    status::{Status, Verdict},
    webhook,
};
use crate::{
    app::App,
    jobs::cancel_tasks,
    store::{self, Id, Time, Tx, events::Event, executions::Change, logs::Line},
};

/// Seconds after its end in which a run's late words are still heard.
const LATE_WORDS_S: u64 = 600;

/// Who changes a state, and why (`cause` of the history).
#[derive(Debug, Clone)]
pub struct By {
    pub actor: String,
    pub cause: &'static str,
    pub message: Option<String>,
}

impl By {
    pub fn new(actor: impl Into<String>, cause: &'static str) -> Self {
        By { actor: actor.into(), cause, message: None }
    }
}

/// What a run, or somebody for it, reports.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub status: Option<Status>,
    /// 0 to 100.
    pub progress: Option<i32>,
    pub results: Option<Results>,
    pub failure: Option<Failure>,
    /// Of a run that speaks for itself: its attempt. What an earlier one says is heard and changes nothing.
    pub attempt: Option<i32>,
}

impl Report {
    /// The progress, if nothing else is reported.
    pub fn only_progress(&self) -> Option<i32> {
        self.progress.filter(|_| self.status.is_none() && self.results.is_none())
    }
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Applied; the state it was in before.
    Applied(Status),
    /// The execution had ended, or was there already: nothing changed.
    Absorbed(Status),
    /// There is no such execution.
    Unknown,
}

/// Applies a report to an execution. Late and repeated reports are absorbed: a container must always get its 200.
pub async fn apply(tx: &mut Tx, app: &App, id: Id, report: &Report, by: &By, now: Time) -> anyhow::Result<Outcome> {
    let Some(row) = store::runs::lock(tx, id).await? else { return Ok(Outcome::Unknown) };
    let current = row.status;
    if report.attempt.is_some() && report.attempt != row.attempt {
        return Ok(Outcome::Absorbed(current));
    }
    if current.is_terminal() {
        // The end stands. Results that come late are kept only if none are there.
        if let Some(results) = &report.results {
            results::keep(tx, id, &row, results, true).await?;
        }
        return Ok(Outcome::Absorbed(current));
    }
    let wanted = match report.status {
        // A run that dies while it is being stopped was cancelled; one that brings its result in time has finished.
        Some(Status::Failed) if current == Status::Cancelling && row.is_ours() => Some(Status::Cancelled),
        other => other,
    };
    let verdict = wanted.map(|to| if row.is_ours() { current.report(to) } else { current.report_foreign(to) });
    match (wanted, verdict) {
        (Some(to), Some(Verdict::Move)) => {
            let in_row = report.results.as_ref().map(|results| results.in_row(&row)).transpose()?;
            let change = Change { from: current, to, progress: report.progress, results: in_row.as_ref() };
            advance(tx, id, &change, by, now).await?;
            if let Some(results) = &report.results {
                results::kept(tx, id, &row, results).await?;
            }
            let mut why = None;
            if let Some(failure) = report.failure.as_ref().filter(|_| !row.is_ours()) {
                let line = Line { level: "ERROR".into(), text: failure.message.clone(), at: now };
                store::logs::insert(tx, id, &[line]).await?;
            }
            if to.is_terminal() && to != Status::Finished && row.is_ours() {
                let failure = report.failure.clone().unwrap_or_else(|| match to {
                    Status::Cancelled => Failure::new(super::failure::Class::Cancelled, "The run was cancelled."),
                    _ => Failure::new(super::failure::Class::ScriptError, "The script reported that it failed."),
                });
                fail(tx, id, to, failure.clone(), now).await?;
                why = Some(failure);
            }
            if to.is_terminal() {
                if row.is_ours() {
                    store::credentials::expire(tx, id, crate::clock::after(now, LATE_WORDS_S)).await?;
                }
                crate::mail::letters::execution_ended(tx, app, id, to, why.as_ref(), now).await?;
                if row.has_callback {
                    webhook::post(tx, app, id, now).await?;
                }
                if to == Status::Cancelled {
                    cancel_tasks::post(tx, app, id, now).await?;
                }
            }
            Ok(Outcome::Applied(current))
        }
        _ => {
            if let Some(results) = &report.results {
                results::keep(tx, id, &row, results, false).await?;
            }
            if let Some(progress) = report.progress {
                store::executions::set_progress(tx, id, progress).await?;
            }
            Ok(if report.progress.is_some() || report.results.is_some() {
                Outcome::Applied(current)
            } else {
                Outcome::Absorbed(current)
            })
        }
    }
}

/// Makes one move, of which the caller knows that it is legal: it holds the row.
pub async fn advance(tx: &mut Tx, id: Id, change: &Change<'_>, by: &By, now: Time) -> anyhow::Result<()> {
    let Change { from, to, .. } = *change;
    let won = store::executions::set_status(tx, id, change, now).await?;
    anyhow::ensure!(won, "the row of execution {id} changed while it was locked");
    store::status_log::insert(tx, id, Some(from), to, now).await?;
    let event = Event {
        at: now,
        status_from: Some(from),
        status_to: to,
        actor: Some(by.actor.clone()),
        cause: by.cause.to_owned(),
        message: by.message.clone(),
    };
    store::events::insert(tx, id, &event).await?;
    // A slot that is free, or somebody who asks for the end: what is under way changes nothing for other nodes.
    if to.is_terminal() || to == Status::Cancelling {
        tx.notify();
    }
    tracing::info!(execution.id = %id, status_from = %from, status_to = %to, cause = by.cause, "execution {id} is now {to}");
    Ok(())
}

/// Keeps the failure, and says its sentence as the last log line: old clients show nothing else.
async fn fail(tx: &mut Tx, id: Id, to: Status, failure: Failure, now: Time) -> anyhow::Result<()> {
    let failure = failure.with_tail(store::logs::tail(tx, id, 20).await?);
    let (level, text) = match to {
        Status::Cancelled => ("INFO", failure.message.clone()),
        _ => ("ERROR", failure.message.clone()),
    };
    store::logs::insert(tx, id, &[Line { level: level.into(), text, at: now }]).await?;
    let document = SqlJson(serde_json::value::to_raw_value(&failure)?);
    store::runs::set_failure(tx, id, &document).await?;
    Ok(())
}
