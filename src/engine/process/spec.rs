//! What a keeper is told: `spec.json` of a unit's folder, and the names of the other files there.
//! The worker writes it, the keeper reads it; both are this program, of one or two releases.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::engine::Limits;

/// This file.
pub const SPEC: &str = "spec.json";
/// Parameters of the run, read by the runner.
pub const PARAMS: &str = "params.json";
/// Environment variables that nobody else may read; the keeper takes the file away as it reads it.
pub const SECRETS: &str = "secrets.json";
/// One JSON line per log record, progress or phase (`engine::Entry`).
pub const JOURNAL: &str = "journal.ndjson";
/// What the unit printed: at most `output_bytes`, the head and the tail.
pub const STDOUT: &str = "stdout.log";
/// The result, checked by the keeper to be a regular file of at most 64 MiB.
pub const RESULT: &str = "result.json";
/// How the unit ended (`engine::Exit`), written by rename as the keeper's last act.
pub const EXIT: &str = "exit.json";
/// Locked (flock) as long as the keeper lives. The worker locks it before it starts the keeper and hands the
/// open file down as standard input, so there is no moment between the two.
pub const LOCK: &str = "alive.lock";
/// Its presence asks the keeper to end the unit.
pub const STOP: &str = "stop";
/// The scratch folder, `/work` inside.
pub const WORK: &str = "work";
/// The folder in which the runner leaves `result.json`, `/te/out` inside.
pub const OUT: &str = "out";
/// The folder of the gate's socket, `/run/te` inside.
pub const GATE: &str = "gate";

/// The task of one keeper.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    /// `execution-<uuid>` or `build-<uuid>`: name of the cgroup, and what logs say.
    pub name: String,
    pub sandbox: Sandbox,
    /// The host account that the unit runs under; only if the server is root.
    pub uid: Option<u32>,
    /// The command inside the sandbox.
    pub argv: Vec<String>,
    /// The whole environment of the command; nothing else is handed down.
    pub env: BTreeMap<String, String>,
    /// What is seen inside beside the base system (`/usr`, libraries, certificates, `/proc`, `/dev`, `/tmp`).
    pub binds: Vec<Bind>,
    /// Folder inside in which the command starts.
    pub cwd: PathBuf,
    pub limits: Limits,
    pub gate: Option<Gate>,
    pub output: Output,
    /// Bytes of the journal that a unit may fill; what it writes beyond counts as scratch space.
    pub journal_bytes: u64,
    /// Bytes of `stdout.log`.
    pub output_bytes: u64,
    /// Bytes of free disk below which a unit that holds much of it is ended, to save the server and the others.
    #[serde(default)]
    pub floor_bytes: u64,
}

/// A file or folder of the host, seen inside.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Bind {
    pub source: PathBuf,
    pub target: PathBuf,
    pub writable: bool,
}

/// What keeps a unit in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sandbox {
    /// bubblewrap at this path.
    Bwrap(PathBuf),
    /// Namespaces of our own, landlock and seccomp.
    Namespaces,
    /// Landlock and seccomp alone; by the operator's word.
    Landlock,
    /// Nothing; by the operator's word.
    None,
}

/// The one way out of a unit: a CONNECT proxy that the keeper serves on a socket of the unit.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Gate {
    /// Ports that may be reached, 443 and more by setting.
    pub ports: Vec<u16>,
    /// If set, only these hosts (exact names, or `.example.org` for a domain and all below).
    pub hosts: Option<Vec<String>>,
    /// `host:port` that may be reached by TLS whatever its address: the package index of the operator's setting.
    pub trusted: Vec<String>,
    /// The same for an index that is read without TLS: by GET and HEAD, never by a tunnel.
    #[serde(default)]
    pub plain: Vec<String>,
    /// `host:port` of the server to which runs in containers report: any request passes, whatever its address.
    #[serde(default)]
    pub api: Option<String>,
    /// The one address of the server that may be reached without TLS, by POST.
    #[serde(default)]
    pub lender: Option<Lender>,
    /// `http://host:port` of the machine's own proxy, through which the gate itself goes out.
    pub upstream: Option<String>,
}

/// An address as a unit knows it, and what is asked in its place.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Lender {
    pub inside: String,
    pub outside: String,
}

/// Where what the unit prints goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Output {
    /// `stdout.log`.
    File,
    /// The journal, a log entry a line: builds.
    Journal,
}
