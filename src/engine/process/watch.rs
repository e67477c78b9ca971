//! Whether a unit may go on: its time, memory, number of processes, scratch space, and the file that asks it to stop.
//! A cgroup counts where there is one; else the first process inside tells, or the keeper reads `/proc`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};

use super::{
    cgroup::Cgroup,
    processes::{self, Sample},
    sandbox::{Counted, OWN_PROCESSES, has_namespaces},
    scratch::{Held, Scratch},
    spec::{STOP, Sandbox, Spec},
};
use crate::engine::grouped;

/// How often the keeper looks.
pub const TICK: Duration = Duration::from_millis(100);
/// How often what a cgroup counts, or all of `/proc`, is read.
const COUNT_EVERY: Duration = Duration::from_millis(250);
/// How often the scratch folder is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(2);
/// Measures, one after the other, at which files may be on their way through a socket.
const IN_FLIGHT_MEASURES: u32 = 5;
/// Bytes on a full disk that nobody is ended for.
const INNOCENT_BYTES: u64 = 64 << 20;
/// Looks without a word of the first process after which a unit is ended: it tells every tenth of a second.
const BLIND_TICKS: u32 = 50;
/// Words about no process at all, one after the other, that a unit which lives may give.
const EMPTY_SAMPLES: u32 = 5;
/// How far a tree may be over its number of processes before it is ended; at the limit itself `fork` fails.
const SLACK: u64 = 16;

const HIDDEN: &str = "The script keeps open files in sockets, so that its scratch space cannot be measured.";
const UNWATCHED: &str = "What the script uses could not be watched any more.";

/// Why a unit is ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    Stopped,
    TimedOut,
    OutOfMemory,
    Broke(String),
}

/// The watch over one unit.
pub struct Watch {
    spec: Spec,
    folder: PathBuf,
    ends_at: Instant,
    counted: Counted,
    last_count: Instant,
    last_measure: Instant,
    /// Measures, one after the other, at which files were in flight.
    in_flight: u32,
    measuring: Option<JoinHandle<Result<Held, String>>>,
    scratch: Scratch,
    /// What the last measure found, and what was free on the disk when it began, and when the unit did.
    held: Held,
    free_at_measure: Option<u64>,
    free_at_start: Option<u64>,
    /// Whether the first process inside has to tell what is used.
    sampled: bool,
    silent_ticks: u32,
    empty_samples: u32,
    /// Processor time of processes that are gone, as far as it was seen.
    pub cpu_s: f64,
    pub peak_memory_bytes: u64,
}

impl Watch {
    pub fn new(spec: &Spec, folder: &Path, counted: Counted) -> Self {
        let now = Instant::now();
        let scratch = Scratch::new(spec, folder);
        Self {
            spec: spec.clone(),
            folder: folder.to_owned(),
            // The greatest wait that a clock can add to now is far beyond every setting.
            ends_at: now + Duration::from_secs(spec.limits.timeout_s.min(u64::from(u32::MAX))),
            counted,
            last_count: now,
            last_measure: now,
            measuring: None,
            in_flight: 0,
            held: Held::default(),
            free_at_measure: None,
            free_at_start: scratch.free(),
            scratch,
            sampled: has_namespaces(&spec.sandbox) && !(counted.memory && counted.processes),
            silent_ticks: 0,
            empty_samples: 0,
            cpu_s: 0.0,
            peak_memory_bytes: 0,
        }
    }

    /// Looks whether the unit has to end. Called every `TICK`.
    pub async fn look(&mut self, cgroup: Option<&Cgroup>) -> Option<Cause> {
        if self.folder.join(STOP).exists() {
            return Some(Cause::Stopped);
        }
        let now = Instant::now();
        if now >= self.ends_at {
            return Some(Cause::TimedOut);
        }
        if self.counted.memory && cgroup.is_some_and(Cgroup::out_of_memory) {
            self.peak_memory_bytes = self.peak_memory_bytes.max(self.spec.limits.memory_bytes);
            return Some(Cause::OutOfMemory);
        }
        if self.is_blind() {
            return Some(Cause::Broke(UNWATCHED.to_owned()));
        }
        if now - self.last_count >= COUNT_EVERY {
            self.last_count = now;
            self.count(cgroup);
            if matches!(self.spec.sandbox, Sandbox::Landlock | Sandbox::None) {
                let limit = self.spec.limits.memory_bytes;
                let tree = processes::below(std::process::id().cast_signed());
                if let Some(cause) = self.judge(processes::sample(&tree, &[], limit)) {
                    return Some(cause);
                }
            }
        }
        self.measure(now).await
    }

    /// Reads what the cgroup has counted.
    pub fn count(&mut self, cgroup: Option<&Cgroup>) {
        let Some(cgroup) = cgroup else { return };
        self.peak_memory_bytes = self.peak_memory_bytes.max(cgroup.memory_bytes().unwrap_or(0));
        self.cpu_s = self.cpu_s.max(cgroup.cpu_s().unwrap_or(0.0));
    }

    /// Judges what the tree uses, as counted by itself or from `/proc`.
    pub fn judge(&mut self, sample: Sample) -> Option<Cause> {
        self.silent_ticks = 0;
        self.empty_samples = if sample.processes == 0 { self.empty_samples + 1 } else { 0 };
        if self.empty_samples > EMPTY_SAMPLES {
            return Some(Cause::Broke(UNWATCHED.to_owned()));
        }
        let limits = &self.spec.limits;
        self.peak_memory_bytes = self.peak_memory_bytes.max(sample.memory_bytes);
        self.cpu_s = self.cpu_s.max(sample.cpu_s);
        if sample.memory_bytes > limits.memory_bytes {
            return Some(Cause::OutOfMemory);
        }
        (sample.processes > limits.max_processes + OWN_PROCESSES + SLACK).then(|| {
            Cause::Broke(format!("The script had more than {} processes at one time.", grouped(limits.max_processes)))
        })
    }

    /// Measures the scratch folder on another thread, and says what the last measure found. The disk tells when somebody
    /// writes fast: then it is measured at once, so that a unit is caught before it has gone far beyond its limit.
    async fn measure(&mut self, now: Instant) -> Option<Cause> {
        let free = self.scratch.free();
        if let Some(measuring) = self.measuring.take_if(|measuring| measuring.is_finished()) {
            self.last_measure = now;
            match measuring.await {
                Ok(Ok(held)) => {
                    // Who passes files on has them there for a moment, and not at two measures. What the disk has lost is
                    // hidden by others who give some back; then the time tells.
                    self.in_flight = if held.in_flight { self.in_flight + 1 } else { 0 };
                    self.held = held;
                    let much = lost(self.free_at_start, free) > self.spec.limits.scratch_bytes;
                    if self.in_flight > IN_FLIGHT_MEASURES || (self.in_flight > 1 && much) {
                        return Some(Cause::Broke(HIDDEN.to_owned()));
                    }
                }
                Ok(Err(sentence)) => return Some(Cause::Broke(sentence)),
                Err(_) => {}
            }
        }
        let guilty = self.held.bytes > INNOCENT_BYTES || self.held.in_flight;
        if guilty && free.is_some_and(|free| free < self.spec.floor_bytes) {
            let held = grouped(self.held.bytes);
            return Some(Cause::Broke(format!(
                "The machine's disk is almost full, and the script holds {held} bytes of it."
            )));
        }
        let fast = lost(self.free_at_measure, free) > (self.spec.limits.scratch_bytes / 8).max(INNOCENT_BYTES / 16);
        if self.measuring.is_none() && (fast || now - self.last_measure >= MEASURE_EVERY) {
            self.free_at_measure = free;
            let scratch = self.scratch.clone();
            self.measuring = Some(tokio::task::spawn_blocking(move || scratch.measure()));
        }
        None
    }

    /// Measures once more what is there when all processes have ended: a sentence if it is too much.
    pub fn last_measure(&self) -> Option<Cause> {
        self.scratch.measure().err().map(Cause::Broke)
    }

    /// Whether the first process inside still tells what the unit uses, where nothing else does.
    fn is_blind(&mut self) -> bool {
        self.silent_ticks += 1;
        self.sampled && self.silent_ticks > BLIND_TICKS
    }
}

/// Bytes that were free on the disk and are not any more.
fn lost(before: Option<u64>, now: Option<u64>) -> u64 {
    before.unwrap_or(0).saturating_sub(now.unwrap_or(u64::MAX))
}
