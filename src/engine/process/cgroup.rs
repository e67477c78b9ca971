//! A cgroup of a unit's own, where one can be made: the kernel counts and limits, also for root.
//! Version 1 with one folder for each controller, version 2 where the folder was delegated to us.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::sandbox::{Counted, OWN_PROCESSES};
use crate::engine::Limits;

/// The folder of all units, within the cgroup of the keeper.
const PARENT: &str = "trends-earth";
/// The folder that the server itself moves into on version 2, which allows processes only in leaves.
const SERVER: &str = "trends-earth-server";
/// An empty cgroup that a killed keeper left is removed after this time.
const LEFT_OVER: Duration = Duration::from_secs(60);
const PERIOD_US: u64 = 100_000;

/// The cgroups of one unit.
pub struct Cgroup {
    /// By controller: `memory`, `pids`, `cpu`, `cpuacct`. On version 2 all the same folder.
    folders: BTreeMap<&'static str, PathBuf>,
    /// Where the keeper itself is, by the unit's folder.
    homes: Vec<(PathBuf, PathBuf)>,
    version: u8,
}

impl Cgroup {
    /// Makes the cgroups of a unit, as many as can be made; `None` if none.
    pub fn make(name: &str, limits: &Limits) -> Option<Self> {
        let own = Own::find();
        let mut made = Self { folders: BTreeMap::new(), homes: Vec::new(), version: own.version };
        for (controller, home) in own.homes {
            let parent = if home.file_name().is_some_and(|name| name == SERVER) {
                home.parent().unwrap_or(&home).join(PARENT)
            } else {
                home.join(PARENT)
            };
            let folder = parent.join(name);
            if made.folders.values().any(|other| *other == folder) {
                made.folders.insert(controller, folder);
            } else if make_folder(&parent, &folder, own.version).is_ok() {
                made.homes.push((folder.clone(), home));
                made.folders.insert(controller, folder);
            }
        }
        made.limit(limits);
        (!made.folders.is_empty()).then_some(made)
    }

    /// Writes the limits; a controller whose limit cannot be written counts as absent.
    fn limit(&mut self, limits: &Limits) {
        let quota = (limits.cpu_nanos / (1_000_000_000 / PERIOD_US)).max(1_000);
        let pids = (limits.max_processes + OWN_PROCESSES).to_string();
        let memory = limits.memory_bytes.to_string();
        let lines: &[(&str, &str, String)] = if self.version == 1 {
            &[
                ("memory", "memory.limit_in_bytes", memory.clone()),
                ("pids", "pids.max", pids),
                ("cpu", "cpu.cfs_period_us", PERIOD_US.to_string()),
                ("cpu", "cpu.cfs_quota_us", quota.to_string()),
            ]
        } else {
            &[
                ("memory", "memory.max", memory.clone()),
                ("pids", "pids.max", pids),
                ("cpu", "cpu.max", format!("{quota} {PERIOD_US}")),
            ]
        };
        for (controller, file, value) in lines {
            if let Some(folder) = self.folders.get(controller)
                && fs::write(folder.join(file), value).is_err()
            {
                self.folders.remove(controller);
            }
        }
        if let Some(folder) = self.folders.get("memory") {
            // Swap is memory, too, and one process out of memory ends them all. Not every kernel has these.
            let [swap, all] = if self.version == 1 {
                [("memory.memsw.limit_in_bytes", memory.as_str()), ("memory.swappiness", "0")]
            } else {
                [("memory.swap.max", "0"), ("memory.oom.group", "1")]
            };
            for (file, value) in [swap, all] {
                let _ = fs::write(folder.join(file), value);
            }
        }
    }

    /// What is in force.
    pub fn counted(&self) -> Counted {
        Counted {
            memory: self.folders.contains_key("memory"),
            processes: self.folders.contains_key("pids"),
            cpu: self.folders.contains_key("cpu"),
        }
    }

    /// Runs `spawn` with this process in the unit's cgroups, so that the child is in them from its first moment.
    /// There must be no other thread.
    pub fn within<T>(&self, spawn: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let moved = self.homes.iter().try_for_each(|(folder, _)| fs::write(folder.join("cgroup.procs"), "0"));
        let spawned = moved.and_then(|()| spawn());
        for (_, home) in &self.homes {
            fs::write(home.join("cgroup.procs"), "0")?;
        }
        spawned
    }

    /// Whether the kernel had to end a process for memory.
    pub fn out_of_memory(&self) -> bool {
        let file = if self.version == 1 { "memory.oom_control" } else { "memory.events" };
        self.named("memory", file, "oom_kill").is_some_and(|count| count > 0)
    }

    /// Bytes that cannot be dropped: without what was only read from files.
    pub fn memory_bytes(&self) -> Option<u64> {
        let names = if self.version == 1 { ["total_rss", "total_shmem"] } else { ["anon", "shmem"] };
        Some(
            self.named("memory", "memory.stat", names[0])? + self.named("memory", "memory.stat", names[1]).unwrap_or(0),
        )
    }

    /// Seconds of processor time since the unit began.
    pub fn cpu_s(&self) -> Option<f64> {
        if self.version == 1 {
            let text = fs::read_to_string(self.folders.get("cpuacct")?.join("cpuacct.usage")).ok()?;
            return text.trim().parse::<u64>().ok().map(|nanos| nanos as f64 / 1e9);
        }
        self.named("cpu", "cpu.stat", "usage_usec").map(|micros| micros as f64 / 1e6)
    }

    /// Processes that are left, by pid.
    pub fn processes(&self) -> Vec<i32> {
        let mut pids: Vec<i32> = self
            .homes
            .iter()
            .filter_map(|(folder, _)| fs::read_to_string(folder.join("cgroup.procs")).ok())
            .flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>())
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Removes the cgroups; they must be empty.
    pub fn remove(&self) {
        for (folder, _) in &self.homes {
            let _ = fs::remove_dir(folder);
        }
    }

    fn named(&self, controller: &str, file: &str, name: &str) -> Option<u64> {
        let text = fs::read_to_string(self.folders.get(controller)?.join(file)).ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

/// In words, what a unit started now would have; empty if nothing.
pub fn describe() -> Option<String> {
    let limits = Limits {
        cpu_nanos: 1_000_000_000,
        memory_bytes: 64 << 20,
        timeout_s: 1,
        max_processes: 8,
        max_file_bytes: 1,
        scratch_bytes: 1,
        network: crate::engine::Network::None,
    };
    let group = Cgroup::make(&format!("probe-{}", std::process::id()), &limits)?;
    let names: Vec<&str> = group.folders.keys().copied().collect();
    let text = format!("cgroup version {} limits {}", group.version, names.join(", "));
    group.remove();
    Some(text)
}

/// Where this process is.
struct Own {
    version: u8,
    homes: Vec<(&'static str, PathBuf)>,
}

impl Own {
    fn find() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut homes = Vec::new();
        for controller in ["memory", "pids", "cpu", "cpuacct"] {
            let path = groups.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                parts.next()?.split(',').any(|name| name == controller).then(|| parts.next())?
            });
            if let Some(home) = path.and_then(|path| place(&mounts, "cgroup", Some(controller), path)) {
                homes.push((controller, home));
            }
        }
        if !homes.is_empty() {
            return Self { version: 1, homes };
        }
        let unified = groups.lines().find_map(|line| line.strip_prefix("0::"));
        if let Some(home) = unified.and_then(|path| place(&mounts, "cgroup2", None, path)) {
            let has = fs::read_to_string(home.join("cgroup.controllers")).unwrap_or_default();
            for controller in ["memory", "pids", "cpu"] {
                if has.split_ascii_whitespace().any(|name| name == controller) {
                    homes.push((controller, home.clone()));
                }
            }
        }
        Self { version: 2, homes }
    }
}

/// The folder of a cgroup, by the mount that shows it; a container sees only a part of the tree.
fn place(mounts: &str, kind: &str, controller: Option<&str>, path: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let mut right = right.split(' ');
        if right.next()? != kind {
            return None;
        }
        if let Some(controller) = controller
            && !right.nth(1)?.split(',').any(|option| option == controller)
        {
            return None;
        }
        let left: Vec<&str> = left.split(' ').collect();
        let below = Path::new(path).strip_prefix(left.get(3)?).ok()?;
        Some(Path::new(left.get(4)?).join(below))
    })
}

fn make_folder(parent: &Path, folder: &Path, version: u8) -> io::Result<()> {
    make_one(parent)?;
    if version == 2 {
        // Each level must pass the controllers on, and may then hold no process itself.
        // One that is missing must not cost the others.
        for level in [parent.parent().unwrap_or(parent), parent] {
            for controller in ["+memory", "+pids", "+cpu"] {
                let _ = fs::write(level.join("cgroup.subtree_control"), controller);
            }
        }
    }
    sweep(parent);
    // A unit of this name whose keeper was killed: its processes are gone, or are of a sandbox that could not
    // hold them.
    let left = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in left.lines().filter_map(|line| line.parse().ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let _ = fs::remove_dir(folder);
    make_one(folder)
}

fn make_one(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Removes what killed keepers left. One with processes in it cannot be removed.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let old = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .is_ok_and(|made| made.elapsed().is_ok_and(|age| age > LEFT_OVER));
        if old {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// On version 2, lets a server that was given its cgroup make others below it: it moves into a leaf itself.
/// To be called once, before the first keeper; does nothing where it is not needed or not allowed.
pub fn make_room() {
    let own = Own::find();
    let Some((_, home)) = own.homes.first().filter(|_| own.version == 2) else { return };
    // Only a cgroup that holds nobody but this process is ours to divide.
    let alone = fs::read_to_string(home.join("cgroup.procs"))
        .is_ok_and(|text| text.lines().all(|line| line == std::process::id().to_string()));
    if alone && make_one(&home.join(SERVER)).is_ok() {
        let _ = fs::write(home.join(SERVER).join("cgroup.procs"), "0");
    }
}
