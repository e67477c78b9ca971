//! What runs executions: the trait that every engine fulfils, and what a unit is told and tells.
//! An engine never touches the database; only workers speak to engines.

pub mod docker;
pub mod process;
pub mod runtime;
pub mod state;
pub mod swarm;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::{build::configuration::Configuration, json::mend, store::Id};

/// One kind of place where executions run and versions are built.
#[async_trait::async_trait]
pub trait Engine: Send + Sync {
    /// The place that units of this engine live in, for example `process:<node id>`.
    /// Only workers of the same scope may speak about a unit.
    fn scope(&self) -> &str;

    /// What a build becomes here.
    fn makes(&self) -> Made;

    /// What the units of this place may reserve together.
    fn room(&self) -> Room {
        Room::of_this_machine()
    }

    /// How units of this place reach the API: what is lent to a run names its address there.
    fn api_url(&self) -> &str;

    /// Starts the unit of an execution. A unit that exists already is success.
    async fn start(&self, run: &Run) -> anyhow::Result<()>;

    /// Starts the unit that builds a version. One that lives already is success; the remains of a dead one go.
    async fn build(&self, build: &Build) -> anyhow::Result<()>;

    /// Takes over what a build unit that ended well has made: the name under which runs will find it,
    /// `None` if a run needs nothing but the script.
    async fn seal(&self, build: &Build) -> anyhow::Result<Option<String>>;

    /// Whether what `seal` returned can be used in this place: another machine may have built it. Who asks is about to use it.
    async fn has(&self, made: &str) -> anyhow::Result<bool>;

    /// The image that the existing server keeps under this name and tag at the registry, as runs will find it; `None` where
    /// there is none, or this server has put another one in its place.
    async fn inherited(&self, _image: &str) -> anyhow::Result<Option<String>> {
        Ok(None)
    }

    /// Removes the images of versions, here and at the registry, that are not among these, and what failed builds have left; not
    /// what is younger than this. Names are without digests.
    async fn keep_images(&self, _needed: &BTreeSet<String>, _younger: Duration) -> anyhow::Result<()> {
        Ok(())
    }

    /// What is known of a unit; `None` if this engine has no trace of it.
    async fn find(&self, unit: Unit) -> anyhow::Result<Option<Found>>;

    /// Waits (at most about a second) for news after `offset`, and returns them with the new offset.
    /// The end is told only when every entry before it has been returned. Giving up in between loses nothing.
    async fn follow(&self, unit: Unit, offset: u64) -> anyhow::Result<News>;

    /// Asks the unit to end; it ends within seconds. An unknown unit is success.
    async fn stop(&self, unit: Unit) -> anyhow::Result<()>;

    /// Removes what an ended unit has left, but for what was sealed. An unknown unit is success.
    async fn forget(&self, unit: Unit) -> anyhow::Result<()>;

    /// Whether what an ended unit has left stays for a while (`TE_KEEP_RUNS_S`), for whoever wants to look at it; else it is
    /// forgotten once its end is stored.
    fn keeps_ended(&self) -> bool {
        true
    }

    /// The last lines that a unit has printed, at most `OUTPUT_LINES`; `None` where nothing of it is left.
    async fn output(&self, unit: Unit) -> anyhow::Result<Option<String>>;

    /// The machines that this engine's own scheduler knows; `None` where each worker speaks for its own.
    async fn nodes(&self) -> anyhow::Result<Option<Vec<state::Node>>> {
        Ok(None)
    }

    /// The machine that units of this place are on.
    fn machine(&self, node: &str) -> Machine {
        Machine::this(node)
    }

    /// The units of this engine that live.
    async fn list(&self) -> anyhow::Result<Vec<Unit>>;

    /// The units of this engine that have ended and have left something.
    async fn ended(&self) -> anyhow::Result<Vec<Unit>>;
}

/// Why an engine cannot do what it is asked: a sentence for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Hindrance(pub String);

/// What an engine runs: one attempt of an execution, or the build of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unit {
    Execution(Id),
    Build(Id),
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unit::Execution(id) => write!(f, "execution-{id}"),
            Unit::Build(id) => write!(f, "build-{id}"),
        }
    }
}

/// What the build of a version becomes, by engine. A version may be built for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// A folder with Python packages.
    Environment,
    /// An image of containers.
    Image,
}

/// One machine as it is named to people.
#[derive(Debug, Clone)]
pub struct Machine {
    pub id: String,
    pub hostname: String,
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
}

impl Machine {
    /// The machine of this process, with the id of its data folder.
    pub fn this(node: &str) -> Self {
        let hostname = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        Machine {
            id: node.to_owned(),
            hostname: hostname.unwrap_or_else(|| node.to_owned()),
            cpu_nanos: crate::jobs::cpu_for_runs(),
            memory_bytes: crate::jobs::memory_bytes(),
        }
    }
}

/// What the units of a place may reserve together.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    pub cpu_nanos: u64,
    pub memory_bytes: u64,
}

impl Room {
    /// Every core of this machine, and 80 % of its memory.
    pub fn of_this_machine() -> Self {
        Room { cpu_nanos: crate::jobs::cpu_for_runs(), memory_bytes: crate::jobs::memory_for_runs() }
    }
}

/// What an engine needs to build a version.
#[derive(Debug, Clone)]
pub struct Build {
    pub version: Id,
    /// `sha256:<hex>` of the archive.
    pub digest: String,
    pub configuration: Configuration,
    /// Whose environment it is, if it cannot be shared with other authors.
    pub author: Id,
    /// Folder that holds the unpacked archive.
    pub script: PathBuf,
    /// `requirements.txt` as uploaded; empty if there is none.
    pub requirements: String,
    /// Whether the existing server shall find it, too, as the newest of its script.
    pub is_shared: bool,
    /// The second try: packages that have no wheel may be built from their sources, for this author alone.
    pub sources: bool,
}

/// Lines of what a unit has printed, and bytes, that are shown of it.
pub const OUTPUT_LINES: usize = 1_000;
pub const OUTPUT_BYTES: u64 = 256 << 10;

/// The exit code of a build unit whose packages are not all to be had as wheels.
pub const NEEDS_SOURCES: i32 = 5;

/// What an engine needs to start a unit.
#[derive(Debug, Clone)]
pub struct Run {
    pub execution: Id,
    pub script_id: Id,
    pub attempt: i32,
    /// Folder that holds the unpacked archive of the pinned version.
    pub script: PathBuf,
    /// What `seal` returned for the version.
    pub made: Option<String>,
    /// The parameters, a JSON document.
    pub params: String,
    pub limits: Limits,
    /// Nano-CPUs and bytes that are kept free for it, where an engine chooses among machines.
    pub reservation: Room,
    /// Whether the script declares that it uses Earth Engine (`uses_gee` of its configuration).
    pub uses_gee: bool,
    /// What an administrator granted to the script, and what the run is lent: environment variables of this run alone.
    pub secrets: BTreeMap<String, SecretString>,
    /// With which the run speaks for itself, where it speaks to the API at all.
    pub credential: SecretString,
    /// With which it signs what it asks of the objects.
    pub objects_secret: SecretString,
}

/// The limits of one unit, for its whole tree of processes.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Limits {
    /// Nano-CPUs: 1,000,000,000 is one core.
    pub cpu_nanos: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Seconds of wall time, by the monotonic clock.
    pub timeout_s: u64,
    /// Processes and threads at one time.
    pub max_processes: u64,
    /// Bytes of one file.
    pub max_file_bytes: u64,
    /// Bytes of the scratch folder, and of `/tmp`.
    pub scratch_bytes: u64,
    pub network: Network,
}

/// How far a unit may reach.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// Nowhere.
    None,
    /// Public hosts by HTTPS, through the gate.
    Https,
    /// Everywhere; only an administrator may grant it.
    Full,
}

/// What is known of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It lives, or its end has not been fetched yet.
    Living,
    /// It is gone and has left no word of its end.
    Lost,
}

/// What a unit said after an offset.
#[derive(Debug, Default)]
pub struct News {
    pub entries: Vec<Entry>,
    /// Where the next call goes on: bytes of the journal.
    pub offset: u64,
    pub end: Option<End>,
}

/// One word of a unit, a line of its journal. What a script writes is hostile until checked.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub struct Entry {
    /// Seconds since 1970 in UTC, by the unit's clock.
    #[serde(default)]
    pub at: f64,
    #[serde(flatten)]
    pub word: Word,
}

impl Entry {
    /// Reads a line; `None` if it is no word of the runner.
    pub fn read(line: &[u8]) -> Option<Self> {
        if line.is_empty() || line.len() > LINE {
            return None;
        }
        serde_json::from_str(&mend::mend(line, mend::MAX_VALUES).ok()?).ok()
    }
}

/// Bytes of one line of a journal; a longer one is no word of the runner.
pub const LINE: usize = 64 << 10;

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    Log {
        level: String,
        text: String,
    },
    /// 0 to 100.
    Progress(f64),
    /// `"running"`: the script's own code begins.
    Phase(String),
    /// The runner saw the script fail: the class of the failure and a sentence for people.
    Failed {
        class: String,
        message: String,
    },
}

/// How a unit ended.
#[derive(Debug, Clone)]
pub struct End {
    /// What the keeper saw; `None` if the unit is gone without a word (a lost unit).
    pub exit: Option<Exit>,
    /// The result document as the script left it, at most 64 MiB, not checked.
    pub result: Option<Vec<u8>>,
}

/// The end of a unit as its keeper saw it: `exit.json`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, PartialEq)]
pub struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// Ended because it used more than its memory.
    pub oom: bool,
    /// Ended because its wall time had passed.
    pub timed_out: bool,
    /// Ended because it was asked to.
    pub stopped: bool,
    /// The unit could not be started, or broke a limit other than memory and time: a sentence for people.
    pub error: Option<String>,
    pub peak_memory_bytes: u64,
    pub cpu_s: f64,
    /// Naive UTC, ISO 8601.
    pub ended_at: String,
}

/// A number for people: 1000000 as `1,000,000`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
