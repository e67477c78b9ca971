//! What a unit has written to disk: its folders, files without a name, and the room that is left for everybody.
//! A script may replace a folder by a link while it is measured; nothing here follows one.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    sys::{
        stat::{FileStat, Mode, SFlag, fstatat},
        statvfs::statvfs,
    },
};

use super::{
    processes::{self, Process},
    spec::{JOURNAL, OUT, Spec, WORK},
};
use crate::engine::grouped;

/// Files of a scratch folder that can be measured in the time between two measures.
const MAX_FILES: u64 = 200_000;
/// Levels of folders; deeper ones would have paths that no program can open by name.
const MAX_DEPTH: usize = 100;
/// The sandbox's own processes are at most so far below the keeper. They hide what they have open, which is nothing of the unit.
const OWN_DEPTH: usize = 2;

/// What is measured, and within which bounds.
#[derive(Debug, Clone)]
pub struct Scratch {
    folder: PathBuf,
    roots: Vec<PathBuf>,
    limit: u64,
    journal_bytes: u64,
    /// Whether the unit's processes are another account's, so that what they hide from us breaks the limit.
    strict: bool,
}

/// What a unit has on the disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct Held {
    pub bytes: u64,
    /// Files are under way in sockets: how large they are, nothing tells.
    pub in_flight: bool,
}

impl Scratch {
    pub fn new(spec: &Spec, folder: &Path) -> Self {
        let own = [WORK, OUT].map(|name| folder.join(name));
        let bound = spec.binds.iter().filter(|bind| bind.writable).map(|bind| bind.source.clone());
        Self {
            folder: folder.to_owned(),
            roots: own.into_iter().chain(bound).collect(),
            limit: spec.limits.scratch_bytes,
            journal_bytes: spec.journal_bytes,
            strict: super::sandbox::has_namespaces(&spec.sandbox),
        }
    }

    /// Bytes that are left on the disk of the unit's folder.
    pub fn free(&self) -> Option<u64> {
        statvfs(&self.folder).ok().map(|disk| disk.blocks_available() * disk.fragment_size())
    }

    /// What the unit holds, or a sentence if that is more than it may.
    pub fn measure(&self) -> Result<Held, String> {
        let mut sum = Sum { bytes: 0, files: 0, limit: self.limit };
        // A journal is not read beyond its limit, but it fills the disk all the same.
        let journal = fs::metadata(self.folder.join(JOURNAL)).map_or(0, |meta| meta.len());
        sum.add(journal.saturating_sub(self.journal_bytes))?;
        for root in &self.roots {
            match nix::fcntl::open(root, FOLDER, Mode::empty()) {
                Ok(folder) => sum.folder(folder, 0)?,
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                Err(error) => return Err(unmeasured(error)),
            }
        }
        let in_flight = self.nameless(&mut sum)?;
        Ok(Held { bytes: sum.bytes, in_flight })
    }

    /// Files that have no name any more and are still open or mapped: they fill the disk, and no folder shows them.
    /// Says whether there are others that only a socket holds.
    fn nameless(&self, sum: &mut Sum) -> Result<bool, String> {
        let device = fs::metadata(&self.folder).map_or(0, |meta| meta.dev());
        let tree = processes::below(std::process::id().cast_signed());
        let parents: HashMap<i32, i32> = tree.iter().map(|process| (process.pid, process.parent)).collect();
        let (mut open, mut mapped) = (HashSet::new(), HashMap::new());
        let mut in_flight = false;
        for process in &tree {
            let of_process = process.folder();
            match fs::read_dir(of_process.join("fd")) {
                Ok(entries) => {
                    for entry in entries.flatten() {
                        let Ok(meta) = fs::metadata(entry.path()) else { continue };
                        if meta.nlink() == 0 && meta.dev() == device && open.insert(meta.ino()) {
                            sum.add(meta.blocks() * 512)?;
                        }
                        in_flight |= meta.file_type().is_socket()
                            && holds_files(&of_process.join("fdinfo").join(entry.file_name()));
                    }
                }
                Err(error)
                    if error.kind() == std::io::ErrorKind::PermissionDenied
                        && self.strict
                        && depth(process, &parents) > OWN_DEPTH
                        && Path::new(&format!("/proc/{}", process.pid)).exists() =>
                {
                    return Err(
                        "The script hides what it has open, so that its scratch space cannot be measured.".into()
                    );
                }
                Err(_) => {}
            }
            let maps = fs::read_to_string(of_process.join("maps")).unwrap_or_default();
            for (inode, bytes) in processes::deleted_mappings(&maps, device) {
                let seen = mapped.entry(inode).or_insert(0);
                *seen = bytes.max(*seen);
            }
        }
        for bytes in mapped.iter().filter(|(inode, _)| !open.contains(*inode)).map(|(_, bytes)| *bytes) {
            sum.add(bytes)?;
        }
        Ok(in_flight)
    }
}

/// Whether a socket has open files in its queue, which no process needs to have open any more.
fn holds_files(info: &Path) -> bool {
    let info = fs::read_to_string(info).unwrap_or_default();
    info.lines().filter_map(|line| line.strip_prefix("scm_fds:")).any(|count| count.trim() != "0")
}

/// How far a process is below the keeper.
fn depth(process: &Process, parents: &HashMap<i32, i32>) -> usize {
    let (mut depth, mut pid) = (1, process.parent);
    while let Some(parent) = parents.get(&pid).filter(|_| depth < MAX_DEPTH) {
        (depth, pid) = (depth + 1, *parent);
    }
    depth
}

const FOLDER: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_NONBLOCK);

fn unmeasured(error: Errno) -> String {
    format!("The scratch folder cannot be measured: {}.", std::io::Error::from(error))
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

    fn folder(&mut self, folder: OwnedFd, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("The scratch folder holds more than {MAX_DEPTH} levels of folders."));
        }
        let own = folder.as_fd().try_clone_to_owned().map_err(|_| unmeasured(Errno::EMFILE))?;
        let mut entries = Dir::from_fd(folder).map_err(unmeasured)?;
        for entry in entries.iter() {
            let entry = entry.map_err(unmeasured)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            // It may be removed meanwhile, or be replaced by something else: the next measure sees that.
            let meta: FileStat = match fstatat(&own, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(meta) => meta,
                Err(Errno::ENOENT) => continue,
                Err(error) => return Err(unmeasured(error)),
            };
            self.add(u64::try_from(meta.st_blocks).unwrap_or(0) * 512)?;
            if SFlag::from_bits_truncate(meta.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR {
                match openat(&own, name, FOLDER, Mode::empty()) {
                    Ok(below) => self.folder(below, depth + 1)?,
                    Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
                    Err(error) => return Err(unmeasured(error)),
                }
            }
        }
        Ok(())
    }
}
