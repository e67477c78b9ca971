//! The server's clock: naive UTC with microseconds. Every row's time comes from here, never from SQL.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::store::Time;

/// System time and an offset; tests move the offset.
#[derive(Debug, Default)]
pub struct Clock {
    offset_us: AtomicI64,
}

impl Clock {
    /// Now, as columns and wire have it.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
    pub fn now(&self) -> Time {
        let us = chrono::Utc::now().timestamp_micros() + self.offset_us.load(Ordering::Relaxed);
        chrono::DateTime::from_timestamp_micros(us).unwrap_or_default().naive_utc()
    }

    /// The next whole second: tokens count in those, and one made in this second is older.
    pub fn next_second(&self) -> Time {
        let second = self.now().and_utc().timestamp() + 1;
        chrono::DateTime::from_timestamp(second, 0).unwrap_or_default().naive_utc()
    }

    /// Moves the clock forward (seconds), for tests.
    pub fn advance(&self, seconds: i64) {
        self.offset_us.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }
}

/// `time` and so many seconds more.
pub fn after(time: Time, seconds: u64) -> Time {
    time + chrono::TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::MAX / 1_000_000))
}

/// `time` and so many seconds less.
pub fn before(time: Time, seconds: u64) -> Time {
    time - chrono::TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::MAX / 1_000_000))
}

/// Reads a time as clients send it: ISO 8601, naive (meaning UTC) or with an offset, a date alone, and a blank where a
/// `+` was not encoded (contract/clients.md 1).
pub fn parse(text: &str) -> Option<Time> {
    let text = text.trim();
    let mended = match text.rfind(' ') {
        // A blank before HH:MM at the end, after a time, was a plus sign; any other one parts date and time.
        Some(at) if text[..at].contains(':') => format!("{}+{}", &text[..at], &text[at + 1..]),
        _ => text.to_owned(),
    };
    let mended = mended.replacen(' ', "T", 1);
    if let Ok(with_offset) = chrono::DateTime::parse_from_rfc3339(&mended) {
        return Some(with_offset.naive_utc());
    }
    ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M%z"]
        .iter()
        .find_map(|format| chrono::DateTime::parse_from_str(&mended, format).ok().map(|t| t.naive_utc()))
        .or_else(|| {
            ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M"]
                .iter()
                .find_map(|format| Time::parse_from_str(&mended, format).ok())
        })
        .or_else(|| chrono::NaiveDate::parse_from_str(&mended, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))
}
