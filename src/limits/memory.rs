//! Counters of fixed windows, in this process. A window begins with its first request.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{
    Limit,
    counters::{Count, Window as Which},
};

/// Counters that are kept at most; beyond them those that end first go.
const MOST: usize = 100_000;
/// What a whole request counts: tenths, for an answer without news counts one.
pub const WHOLE: u32 = 10;

#[derive(Debug)]
struct Window {
    /// Seconds since 1970.
    ends: i64,
    /// Tenths of requests.
    used: u32,
    /// Whether somebody has been refused in it.
    refused: bool,
}

#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<String, Window>>);

impl Memory {
    /// Counts one request, if it fits.
    pub fn take(&self, key: &str, limit: Limit, now: i64) -> Count {
        let mut windows = self.windows();
        if !windows.contains_key(key) {
            if windows.len() >= MOST {
                make_room(&mut windows, now);
            }
            windows.insert(key.to_owned(), Window { ends: now + limit.seconds(), used: 0, refused: false });
        }
        let most = limit.count.saturating_mul(WHOLE);
        let Some(window) = windows.get_mut(key) else {
            let window = Which::Here(now);
            return Count { fits: true, remaining: limit.count, ends: now, first_refusal: false, window };
        };
        if window.ends <= now {
            *window = Window { ends: now + limit.seconds(), used: 0, refused: false };
        }
        let fits = window.used.saturating_add(WHOLE) <= most;
        if fits {
            window.used += WHOLE;
        }
        let first_refusal = !fits && !window.refused;
        window.refused |= !fits;
        let remaining = most.saturating_sub(window.used) / WHOLE;
        Count { fits, remaining, ends: window.ends, first_refusal, window: Which::Here(window.ends) }
    }

    /// Takes back some tenths of what was counted until `ends`; a window that has begun since is left alone.
    pub fn give_back(&self, key: &str, tenths: u32, ends: i64) {
        if let Some(window) = self.windows().get_mut(key).filter(|window| window.ends == ends) {
            window.used = window.used.saturating_sub(tenths);
        }
    }

    /// Forgets every counter whose key begins so; whether there was one.
    pub fn forget(&self, prefix: &str) -> bool {
        let mut windows = self.windows();
        let before = windows.len();
        windows.retain(|key, _| !key.starts_with(prefix));
        windows.len() < before
    }

    fn windows(&self) -> MutexGuard<'_, HashMap<String, Window>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has ended goes, or a tenth of all if that is not enough: many at one time, so that it is rarely needed.
fn make_room(windows: &mut HashMap<String, Window>, now: i64) {
    windows.retain(|_, window| window.ends > now);
    if windows.len() > MOST - MOST / 10 {
        let mut ends: Vec<i64> = windows.values().map(|window| window.ends).collect();
        let (_, last, _) = ends.select_nth_unstable(MOST / 10);
        let last = *last;
        let mut surplus = MOST / 10;
        windows.retain(|_, window| {
            let goes = window.ends <= last && surplus > 0;
            surplus -= usize::from(goes);
            !goes
        });
    }
}
