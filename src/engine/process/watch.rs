//! Whether a unit may go on: its time, memory, number of processes, scratch space, and the file that asks it to stop.
//! A cgroup counts where there is one; else the first process inside tells, or the keeper reads `/proc`.

use std::{
    collections::HashSet,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{task::JoinHandle, time::Instant};

use super::{
    cgroup::Cgroup,
    processes::{self, Sample},
    sandbox::{Counted, OWN_PROCESSES},
    spec::{JOURNAL, OUT, STOP, Sandbox, Spec, WORK},
};
use crate::engine::grouped;

/// How often the keeper looks.
pub const TICK: Duration = Duration::from_millis(100);
/// How often what a cgroup counts, or all of `/proc`, is read.
const COUNT_EVERY: Duration = Duration::from_millis(250);
/// How often the scratch folder is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(2);
/// Files of a scratch folder that can be measured in that time.
const MAX_FILES: u64 = 200_000;
/// Levels of folders; deeper ones would have paths that no program can open by name.
const MAX_DEPTH: usize = 100;
/// How far a tree may be over its number of processes before it is ended; at the limit itself `fork` fails.
const SLACK: u64 = 16;

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
    measuring: Option<JoinHandle<Result<(), String>>>,
    /// Processor time of processes that are gone, as far as it was seen.
    pub cpu_s: f64,
    pub peak_memory_bytes: u64,
}

impl Watch {
    pub fn new(spec: &Spec, folder: &Path, counted: Counted) -> Self {
        let now = Instant::now();
        Self {
            spec: spec.clone(),
            folder: folder.to_owned(),
            // The greatest wait that a clock can add to now is far beyond every setting.
            ends_at: now + Duration::from_secs(spec.limits.timeout_s.min(u64::from(u32::MAX))),
            counted,
            last_count: now,
            last_measure: now,
            measuring: None,
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

    /// Measures the scratch folder on another thread, and says what the last measure found.
    async fn measure(&mut self, now: Instant) -> Option<Cause> {
        if let Some(measuring) = self.measuring.take_if(|measuring| measuring.is_finished()) {
            self.last_measure = now;
            if let Ok(Err(sentence)) = measuring.await {
                return Some(Cause::Broke(sentence));
            }
        } else if self.measuring.is_none() && now - self.last_measure >= MEASURE_EVERY {
            let (folder, limit, journal) =
                (self.folder.clone(), self.spec.limits.scratch_bytes, self.spec.journal_bytes);
            let bound: Vec<PathBuf> =
                self.spec.binds.iter().filter(|bind| bind.writable).map(|bind| bind.source.clone()).collect();
            self.measuring = Some(tokio::task::spawn_blocking(move || scratch_within(&folder, &bound, limit, journal)));
        }
        None
    }
}

/// Whether all that a unit has written to disk is within the limit: a sentence if it is not.
fn scratch_within(folder: &Path, bound: &[PathBuf], limit: u64, journal_bytes: u64) -> Result<(), String> {
    let mut sum = Sum { bytes: 0, files: 0, limit };
    // A journal is not read beyond its limit, but it fills the disk all the same.
    let journal = fs::metadata(folder.join(JOURNAL)).map_or(0, |meta| meta.len());
    sum.add(journal.saturating_sub(journal_bytes))?;
    for root in [WORK, OUT].map(|name| folder.join(name)).iter().chain(bound) {
        sum.folder(root, 0)?;
    }
    sum.deleted(folder)
}

struct Sum {
    bytes: u64,
    files: u64,
    limit: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) -> Result<(), String> {
        self.bytes += bytes;
        self.files += 1;
        if self.bytes > self.limit {
            return Err(format!("The scratch folder holds more than {} bytes.", grouped(self.limit)));
        }
        if self.files > MAX_FILES {
            return Err(format!("The scratch folder holds more than {} files.", grouped(MAX_FILES)));
        }
        Ok(())
    }

    fn folder(&mut self, path: &Path, depth: usize) -> Result<(), String> {
        let unmeasured = |error: &io::Error| format!("The scratch folder cannot be measured: {error}.");
        if depth > MAX_DEPTH {
            return Err(format!("The scratch folder holds more than {MAX_DEPTH} levels of folders."));
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            // It was removed meanwhile, or was replaced by something else: the next measure sees that.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(());
            }
            Err(error) => return Err(unmeasured(&error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| unmeasured(&error))?;
            // Not of what a link points to.
            match entry.metadata() {
                Ok(meta) => {
                    self.add(meta.blocks() * 512)?;
                    if meta.is_dir() {
                        self.folder(&entry.path(), depth + 1)?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unmeasured(&error)),
            }
        }
        Ok(())
    }

    /// Files that have no name any more and are still open: they fill the disk, and no folder shows them.
    fn deleted(&mut self, folder: &Path) -> Result<(), String> {
        let device = fs::metadata(folder).map_or(0, |meta| meta.dev());
        let mut seen = HashSet::new();
        for process in processes::below(std::process::id().cast_signed()) {
            let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", process.pid)) else { continue };
            for entry in entries.flatten() {
                let Ok(meta) = fs::metadata(entry.path()) else { continue };
                if meta.nlink() == 0 && meta.dev() == device && seen.insert(meta.ino()) {
                    self.add(meta.blocks() * 512)?;
                }
            }
        }
        Ok(())
    }
}
