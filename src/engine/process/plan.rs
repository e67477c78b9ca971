//! What a keeper tells the first process inside a sandbox, and what that process answers: one JSON line each.
//! Both speak over one socket, the standard input of the first process: its end tells either side that the other is gone.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::processes::Sample;

/// The port inside at which the gate is found.
pub const PORT: u16 = 3128;

/// What the first process has to do. It holds the unit's environment, so it is never an argument:
/// arguments can be read by every account of the machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub cwd: PathBuf,
    /// The account to become; `None` to stay what we are.
    pub uid: Option<u32>,
    pub rlimits: Rlimits,
    /// Step back behind the server where no cgroup shares out the processor.
    pub nice: bool,
    /// Build the root ourselves: our own namespaces.
    pub mounts: Option<Vec<Mount>>,
    /// The network namespace is new and ours to set up.
    pub loopback: bool,
    /// The gate's socket, if there is a gate.
    pub gate: Option<PathBuf>,
    /// Whether the port of the gate is ours alone (a network of our own); else another port is taken and
    /// the environment is changed to name it.
    pub own_network: bool,
    pub landlock: Option<Fence>,
    pub seccomp: bool,
    /// Tell how much the unit uses, every tenth of a second: where no cgroup counts.
    pub sample: bool,
    /// The memory limit, for `sample`.
    pub memory_bytes: u64,
}

/// Limits of each process: the last net below the limits of the whole tree.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Rlimits {
    /// `None` without namespaces: it would count all processes of the server's account.
    pub processes: Option<u64>,
    pub cpu_s: u64,
    pub file_bytes: u64,
    pub address_bytes: Option<u64>,
}

/// What landlock lets the unit touch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fence {
    pub read: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
    /// Refuse TCP but to the gate: where there is no network namespace.
    pub tcp: bool,
    /// Nothing else holds the unit: without landlock it must not start.
    pub alone: bool,
}

/// One piece of the root that a unit sees, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mount {
    Bind { source: PathBuf, target: PathBuf, writable: bool },
    Link { target: PathBuf, to: PathBuf },
    Proc { target: PathBuf },
    Dev { target: PathBuf },
    Tmpfs { target: PathBuf, bytes: u64 },
    ReadOnly { target: PathBuf },
}

impl Mount {
    /// Where it is seen inside.
    pub fn target(&self) -> &Path {
        match self {
            Self::Bind { target, .. }
            | Self::Link { target, .. }
            | Self::Proc { target }
            | Self::Dev { target }
            | Self::Tmpfs { target, .. }
            | Self::ReadOnly { target } => target,
        }
    }
}

/// What the first process says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The command runs.
    Started,
    /// The command could not be started: a sentence.
    Failed(String),
    Sample(Sample),
    Ended {
        code: Option<i32>,
        signal: Option<i32>,
    },
}
