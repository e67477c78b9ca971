//! What a unit says becomes rows: log lines, progress, the beginning, in the transaction that moves the offset up to which
//! its journal is stored. So each line is stored once, whether a worker read it or the unit sent it.

use super::{
    log,
    report::{self, By, Report},
    status::Status,
};
use crate::{
    app::App,
    engine::{Entry, Word},
    store::{self, Time, Tx, logs::Line, runs::ExecutionRun},
};

/// Characters of one log line.
const LINE_CHARS: usize = 10_000;

/// A piece of a journal.
pub struct Said {
    pub entries: Vec<Entry>,
    /// Where the next piece begins.
    pub offset: i64,
    pub by: By,
}

/// Stores a piece of the journal of a run, whose execution the caller has locked. Class and sentence of the failure that the
/// runner reported are returned: it means nothing before the end. Dates of lines never go back behind `last_line`.
pub async fn keep(
    tx: &mut Tx,
    app: &App,
    run: &mut ExecutionRun,
    said: Said,
    last_line: &mut Option<Time>,
    now: Time,
) -> anyhow::Result<Option<(String, String)>> {
    let id = run.execution_id;
    // A run may speak by `POST …/log` too, which counts in the same place.
    if let Some(stored) = store::runs::find_within(tx, id).await? {
        run.log_bytes = stored.log_bytes;
    }
    let mut lines = Vec::new();
    let mut progress = None;
    let mut running = false;
    let mut failed = None;
    for entry in said.entries {
        match entry.word {
            Word::Log { level, text } => {
                let line =
                    Line { level: level_of(&level), text: cut(text), at: date(app, run, last_line, entry.at, now) };
                lines.extend(log::keep(&mut run.log_bytes, app.config.log_max_bytes, line));
            }
            Word::Progress(value) => progress = progress_of(value).or(progress),
            Word::Phase(phase) => running |= phase == "running",
            Word::Failed { class, message } => failed = Some((class, cut(message))),
        }
    }
    store::logs::insert(tx, id, &lines).await?;
    if running || progress.is_some() {
        let report = Report { status: running.then_some(Status::Running), progress, ..Report::default() };
        report::apply(tx, app, id, &report, &said.by, now).await?;
    }
    run.journal_offset = said.offset;
    store::runs::advance_journal(tx, id, run.journal_offset, run.log_bytes).await?;
    Ok(failed)
}

fn cut(text: String) -> String {
    if text.chars().nth(LINE_CHARS).is_some() { text.chars().take(LINE_CHARS).collect() } else { text }
}

/// The unit's own time of a line, within what can be true: not in the future, and never before the line that precedes it.
fn date(app: &App, run: &ExecutionRun, last_line: &mut Option<Time>, at: f64, now: Time) -> Time {
    let claimed = app.clock.of_machine(at);
    let earliest = last_line.or(run.started_at).unwrap_or(now).min(now);
    let date = claimed.clamp(earliest, now);
    *last_line = Some(date);
    date
}

/// 0 to 100; what is no number is no progress.
fn progress_of(value: f64) -> Option<i32> {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to 0..100")]
    (!value.is_nan()).then(|| value.clamp(0.0, 100.0).round() as i32)
}

/// A known level as it is, anything else as INFO.
pub fn level_of(level: &str) -> String {
    let upper = level.to_uppercase();
    if matches!(upper.as_str(), "DEBUG" | "INFO" | "WARNING" | "WARN" | "ERROR" | "CRITICAL") {
        level.to_owned()
    } else {
        "INFO".to_owned()
    }
}
