//! The machine's processes as `/proc` tells them, and what a set of them uses.
//! `/proc/<pid>/task/<tid>/children` would be cheaper, but kernels are built without it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

/// One process.
#[derive(Debug, Clone, Copy)]
pub struct Process {
    pub pid: i32,
    pub parent: i32,
    pub threads: u64,
    /// Its first thread has ended: all of it, or the others live on without that one.
    headless: bool,
    /// Clock ticks from the machine's start to its own.
    born: u64,
    /// Clock ticks of itself and of the children that it has waited for.
    ticks: u64,
}

/// What a set of processes uses at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub memory_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
    pub cpu_s: f64,
}

impl Process {
    /// Whether all of it has ended, and nobody has waited for it yet.
    pub fn ended(&self) -> bool {
        self.headless && self.threads <= 1
    }

    /// Its folder in `/proc`. What a process uses, the kernel does not tell of a first thread that has ended, but of each
    /// of the others.
    pub fn folder(&self) -> PathBuf {
        let own = PathBuf::from(format!("/proc/{}", self.pid));
        if !self.headless || self.ended() {
            return own;
        }
        let threads = fs::read_dir(own.join("task")).into_iter().flatten().flatten();
        threads.map(|thread| thread.path()).find(|thread| !is_headless(&thread.join("stat"))).unwrap_or(own)
    }
}

/// Whether the thread of a `stat` has ended.
fn is_headless(stat: &Path) -> bool {
    let stat = fs::read_to_string(stat).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}

fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything, also parentheses.
    let rest = &stat[stat.rfind(')')? + 1..];
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    Some(Process {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        threads: number(17)?,
        born: number(19)?,
        headless: matches!(fields.first(), Some(&"Z" | &"X")),
        ticks: number(11)? + number(12)? + number(13)? + number(14)?,
    })
}

/// Every process of this pid namespace.
pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| read(entry.ok()?.file_name().to_str()?.parse().ok()?)).collect()
}

/// Every process below `root`, without itself.
pub fn below(root: i32) -> Vec<Process> {
    let all = all();
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in &all {
        children.entry(process.parent).or_default().push(*process);
    }
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut next = vec![(root, 0)];
    while let Some((pid, born)) = next.pop() {
        for process in children.get(&pid).into_iter().flatten() {
            // A pid may be given anew while we read: nobody is older than the parent, and nobody is seen twice.
            if process.born >= born && seen.insert(process.pid) {
                found.push(*process);
                next.push((process.pid, process.born));
            }
        }
    }
    found
}

/// Ends every process below `root`, as far as they can be signalled. They are stopped first: one that forks
/// faster than it is ended would not be caught otherwise. Returns when none of them lives: who returned before might be the
/// last one who knows of a process that was just given to another parent.
pub fn end_all_below(root: Pid) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock();
    let mut stopped = HashSet::new();
    for _ in 0..ROUNDS {
        let fresh: Vec<i32> =
            below(root.as_raw()).into_iter().map(|process| process.pid).filter(|pid| stopped.insert(*pid)).collect();
        if fresh.is_empty() {
            break;
        }
        for pid in fresh {
            let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
        }
    }
    for _ in 0..ROUNDS {
        let living: Vec<Process> = below(root.as_raw()).into_iter().filter(|process| !process.ended()).collect();
        if living.is_empty() {
            return;
        }
        for process in living {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        thread::sleep(ROUND);
    }
}

/// Inodes and bytes of mapped files of a device that have no name any more, from a process's map.
pub fn deleted_mappings(maps: &str, device: u64) -> Vec<(u64, u64)> {
    let major_minor = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    maps.lines()
        .filter(|line| line.ends_with(" (deleted)"))
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (from, to) = fields.next()?.split_once('-')?;
            let (major, minor) = fields.nth(2)?.split_once(':')?;
            let inode: u64 = fields.next()?.parse().ok()?;
            let hex = |text: &str| u64::from_str_radix(text, 16).ok();
            let fits = (hex(major)?, hex(minor)?) == major_minor;
            (fits && inode != 0).then_some((inode, hex(to)?.saturating_sub(hex(from)?)))
        })
        .collect()
}

/// More rounds than a tree that is being stopped can have.
const ROUNDS: usize = 100;
/// How long the kernel gets to end what was killed.
const ROUND: Duration = Duration::from_millis(5);

/// What the processes use. Memory is what cannot be dropped: anonymous and shared pages, and what `tmpfs` hold.
/// Shared pages are counted in each process first; only a sum over `limit` is worth the exact, slower count.
pub fn sample(processes: &[Process], tmpfs: &[&Path], limit: u64) -> Sample {
    let held: u64 = tmpfs.iter().map(|path| held(path)).sum();
    let (mut anonymous, mut shared) = (0, 0);
    let mut nameless: HashMap<String, u64> = HashMap::new();
    for process in processes {
        let folder = process.folder();
        let maps = fs::read_to_string(folder.join("maps")).unwrap_or_default();
        nameless_shared(&maps, &mut nameless);
        let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
        anonymous += kilobytes(&status, "RssAnon:");
        shared += kilobytes(&status, "RssShmem:");
    }
    if anonymous + shared.max(held) > limit {
        let (mut exact_anonymous, mut exact_shared) = (0, 0);
        for process in processes {
            let folder = process.folder();
            // A process may hide its map from us, its plain count it cannot.
            let (map, names) = match fs::read_to_string(folder.join("smaps_rollup")) {
                Ok(map) if !map.is_empty() => (map, ["Pss_Anon:", "Pss_Shmem:"]),
                _ => {
                    let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
                    (status, ["RssAnon:", "RssShmem:"])
                }
            };
            exact_anonymous += kilobytes(&map, names[0]);
            exact_shared += kilobytes(&map, names[1]);
        }
        (anonymous, shared) = (exact_anonymous, exact_shared);
    }
    // Pages that processes share without a name stay when none of them has them in its map any more: only the length tells.
    let nameless: u64 = nameless.values().sum();
    Sample {
        // What is mapped of a tmpfs is counted on both sides.
        memory_bytes: anonymous + shared.max(held + nameless),
        processes: processes.iter().map(|process| process.threads).sum(),
        cpu_s: processes.iter().map(|process| process.ticks).sum::<u64>() as f64 / TICKS_PER_S,
    }
}

/// `USER_HZ`, which is 100 on every architecture that we run on.
const TICKS_PER_S: f64 = 100.0;

fn kilobytes(text: &str, name: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// Bytes of a `tmpfs`, and of the kernel for each of its files.
fn held(tmpfs: &Path) -> u64 {
    const INODE_BYTES: u64 = 1_024;
    nix::sys::statvfs::statvfs(tmpfs).map_or(0, |fs| {
        (fs.blocks() - fs.blocks_free()) * fs.fragment_size() + (fs.files() - fs.files_free()) * INODE_BYTES
    })
}

/// Notes the length of every mapping that is shared and has no file: the kernel gives each a number of its own.
fn nameless_shared(maps: &str, found: &mut HashMap<String, u64>) {
    for line in maps.lines().filter(|line| line.ends_with("/dev/zero (deleted)")) {
        let mut fields = line.split_ascii_whitespace();
        let (Some((from, to)), Some(inode)) = (fields.next().and_then(|range| range.split_once('-')), fields.nth(3))
        else {
            continue;
        };
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap_or(0);
        let seen = found.entry(inode.to_owned()).or_insert(0);
        *seen = hex(to).saturating_sub(hex(from)).max(*seen);
    }
}
