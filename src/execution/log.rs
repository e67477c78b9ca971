//! How much a run may say: its lines are kept within one limit, whether they come by the journal or by `POST …/log`.
//! The count is `execution_run.log_bytes`, which is read and written under the lock of the execution.

use crate::{engine::grouped, store::logs::Line};

/// Bytes that a line counts beside its text: a flood of empty ones has an end too.
const LINE_BYTES: usize = 64;

/// Counts a line, in bytes, and says what is kept: itself, one line that says that the limit is reached, or nothing.
pub fn keep(log_bytes: &mut i64, limit: u64, line: Line) -> Option<Line> {
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    if *log_bytes > most {
        return None;
    }
    *log_bytes += i64::try_from(line.text.len() + LINE_BYTES).unwrap_or(0);
    if *log_bytes <= most {
        return Some(line);
    }
    let text = format!("The log has reached its limit of {} bytes; later lines are not kept.", grouped(limit));
    Some(Line { level: "WARNING".into(), text, at: line.at })
}
