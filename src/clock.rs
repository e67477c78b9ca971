//! The time: naive UTC with microseconds. Every row's time comes from here, never from SQL. On SQLite it is the machine's; on
//! PostgreSQL the database's, which all nodes share, carried on by the machine's monotonic clock.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Instant,
};

use crate::store::Time;

/// Until a database has told its time, the machine's own counts.
const NOT_TOLD: i64 = i64::MIN;

/// Tells the time; tests move it.
#[derive(Debug)]
pub struct Clock {
    /// Where the monotonic clock counts from.
    begun: Instant,
    /// The database's time at `begun`, as far as is known; microseconds since 1970.
    base_us: AtomicI64,
    /// The latest time of the database that was told here.
    latest_us: AtomicI64,
    /// How far tests have moved it.
    moved_us: AtomicI64,
    /// How far the machine's clock is taken to be wrong.
    skew_us: i64,
}

impl Clock {
    /// A clock of a machine whose own goes wrong by so many seconds, which only tests want.
    pub fn new(skew_s: i64) -> Self {
        Clock {
            begun: Instant::now(),
            base_us: AtomicI64::new(NOT_TOLD),
            latest_us: AtomicI64::new(NOT_TOLD),
            moved_us: AtomicI64::default(),
            skew_us: skew_s * 1_000_000,
        }
    }

    /// Now, as columns and wire have it. With the time of a database it never goes back, whatever that one does. It is never a
    /// whole millisecond: on the wire a time has six digits behind the second, and such a one would be written with three.
    pub fn now(&self) -> Time {
        let us = self.us(machine_us());
        time(us + i64::from(us % 1_000 == 0))
    }

    /// A moment of the machine's own clock, in seconds since 1970, by this one.
    pub fn of_machine(&self, at_s: f64) -> Time {
        let machine = machine_us();
        #[expect(clippy::cast_possible_truncation, reason = "a float beyond i64 saturates, and is no time then")]
        let at = (at_s * 1e6) as i64;
        time(at.saturating_add(self.us(machine) - machine))
    }

    fn us(&self, machine_us: i64) -> i64 {
        let base = self.base_us.load(Ordering::Relaxed);
        let now = if base == NOT_TOLD {
            machine_us + self.skew_us
        } else {
            let now = base + self.begun_us(Instant::now());
            self.latest_us.fetch_max(now, Ordering::Relaxed).max(now)
        };
        now + self.moved_us.load(Ordering::Relaxed)
    }

    /// The database, asked at `sent` and heard now, says that it is this time (microseconds since 1970). Tells by how many
    /// microseconds its clock has gone ahead of this one.
    pub fn heard(&self, database_us: i64, sent: Instant) -> i64 {
        let half_way = i64::midpoint(self.begun_us(sent), self.begun_us(Instant::now()));
        let base = database_us - half_way;
        match self.base_us.swap(base, Ordering::Relaxed) {
            NOT_TOLD => 0,
            before => base - before,
        }
    }

    fn begun_us(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.begun).as_micros()).unwrap_or(i64::MAX)
    }

    /// The next whole second: tokens count in those, and one made in this second is older.
    pub fn next_second(&self) -> Time {
        let second = self.now().and_utc().timestamp() + 1;
        chrono::DateTime::from_timestamp(second, 0).unwrap_or_default().naive_utc()
    }

    /// Moves the clock forward (seconds), for tests.
    pub fn advance(&self, seconds: i64) {
        self.moved_us.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that asks the system for the time")]
fn machine_us() -> i64 {
    chrono::Utc::now().timestamp_micros()
}

fn time(us: i64) -> Time {
    chrono::DateTime::from_timestamp_micros(us).unwrap_or_default().naive_utc()
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
