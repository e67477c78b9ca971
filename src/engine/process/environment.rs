//! The Python environment of a script: which installer makes it, the build unit that runs it in a sandbox, the key by
//! which environments are shared, and how a finished one is put into place. What the unit does is `runtime/install.py`.

mod index;
mod tree;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt,
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    python::{Interpreter, answer, on_path},
    spec::{Bind, Gate, Output, Sandbox, Spec},
};
use crate::{
    build::requirements::{Requirements, Source},
    engine::{Limits, Network},
    store::Id,
};
pub use index::Index;
pub use tree::{remove_tree, seal};

/// Limits of a build, for its whole tree of processes.
const MEMORY_BYTES: u64 = 2 << 30;
const PROCESSES: u64 = 256;
const DISK_BYTES: u64 = 4 << 30;
const CPU_NANOS: u64 = 2_000_000_000;
/// What a build may print.
const OUTPUT_BYTES: u64 = 10 << 20;
/// pip that can fill another environment: `--python` came with 22.3.
const PIP_FOR_OTHERS: (u32, u32) = (22, 3);
/// Where the gate answers inside, which is known to the keeper.
pub const PROXY: &str = "http://127.0.0.1:3128";
/// The machine's bundle of certificates, and the variables by which programs inside find it.
pub fn certificates(bundle: &Path) -> (Bind, impl Iterator<Item = (String, String)>) {
    const INSIDE: &str = "/certificates/bundle.pem";
    let names = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO"];
    (bind(bundle, INSIDE, false), names.into_iter().map(|name| (name.to_owned(), INSIDE.to_owned())))
}

/// Variables that lead a program inside to the gate; programs read them in either spelling.
pub fn proxies() -> impl Iterator<Item = (String, String)> {
    let names = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"].into_iter();
    names.flat_map(|name| [name.to_owned(), name.to_ascii_lowercase()]).map(|name| (name, PROXY.to_owned()))
}

/// Packages of one environment that are written down, and characters of each line.
const MAX_FROZEN: usize = 5_000;
const MAX_LINE: usize = 500;
const MAX_RESULT_BYTES: u64 = 4 << 20;

/// How the sentence of a build ends for which no package index could be reached.
pub const NO_ANSWER: &str = "does not answer.";

/// Exit codes of the build unit beside 0, with 1 and all others for failures of this machine.
pub mod exit {
    /// The author's mistake: `src/main.py` or `requirements.txt`; the last printed line says it.
    pub const AUTHOR: i32 = 3;
    /// The index or the network does not answer: worth another try later.
    pub const NETWORK: i32 = 4;
    /// A package has no wheel: plan again with [`Policy::Sources`](super::Policy::Sources).
    pub const NO_WHEEL: i32 = crate::engine::NEEDS_SOURCES;
}

/// Which installers this machine has, best first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ladder {
    /// uv itself, no shim.
    pub uv: Option<PathBuf>,
    /// The interpreter makes environments with pip.
    pub venv: bool,
    /// The interpreter's own pip fills environments without pip.
    pub pip: bool,
}

/// There is no installer: a sentence that says what to install.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "This machine has no installer for Python packages: neither uv, nor venv with pip, nor pip 22.3 for {0}. On Debian and Ubuntu: apt install python3-venv"
)]
pub struct NoInstaller(pub String);

impl Ladder {
    /// Looks for installers. Starts at most three programs and waits five seconds for each: not for an async thread.
    #[must_use]
    pub fn find(interpreter: &Interpreter, path: &OsStr, home: Option<&OsStr>) -> Self {
        let version = interpreter.pip.as_deref().unwrap_or_default();
        let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
        let pip = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Self { uv: find_uv(interpreter, path, home), venv: interpreter.venv, pip: pip >= PIP_FOR_OTHERS }
    }

    /// The rungs by the names that `install.py` knows.
    ///
    /// # Errors
    /// There is none.
    pub fn rungs(&self, interpreter: &Interpreter) -> Result<Vec<&'static str>, NoInstaller> {
        let all = [(self.uv.is_some(), "uv"), (self.venv, "venv"), (self.pip, "pip")];
        let rungs: Vec<_> = all.into_iter().filter(|(there, _)| *there).map(|(_, name)| name).collect();
        if rungs.is_empty() { Err(NoInstaller(interpreter.to_string())) } else { Ok(rungs) }
    }
}

fn find_uv(interpreter: &Interpreter, path: &OsStr, home: Option<&OsStr>) -> Option<PathBuf> {
    let elf = |file: &PathBuf| fs::File::open(file).is_ok_and(|mut file| starts_like_elf(&mut file));
    let real = |file: PathBuf| fs::canonicalize(file).ok().filter(elf);
    let works = |file: &PathBuf| answer(file, &["--version"], path, home).is_ok_and(|text| text.starts_with(b"uv "));
    let module = || {
        let told =
            answer(&interpreter.executable, &["-I", "-c", "import uv; print(uv.find_uv_bin())"], path, home).ok()?;
        real(PathBuf::from(String::from_utf8(told).ok()?.trim()))
    };
    on_path("uv", path).and_then(real).or_else(module).filter(works)
}

fn starts_like_elf(file: &mut impl io::Read) -> bool {
    let mut head = [0; 4];
    file.read_exact(&mut head).is_ok() && head == *b"\x7fELF"
}

/// From what packages may be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Wheels of the index alone: no package's code runs, and the environment may be shared between authors.
    Wheels,
    /// Source packages and direct references too: their code runs, so the environment is its author's alone.
    Sources,
}

impl Policy {
    /// The policies to try, in this order; none if nothing is required.
    #[must_use]
    pub fn of(requirements: &Requirements) -> &'static [Self] {
        match (requirements.is_empty(), requirements.only_index()) {
            (true, _) => &[],
            (false, true) => &[Self::Wheels, Self::Sources],
            (false, false) => &[Self::Sources],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Wheels => "wheels",
            Self::Sources => "sources",
        }
    }
}

/// The name of an environment's folder: 64 hexadecimal digits over all that decides what is in it.
#[must_use]
pub fn key(
    requirements: &Requirements,
    interpreter: &Interpreter,
    index: &Index,
    policy: Policy,
    author: Id,
) -> String {
    let mut text = format!(
        "2\n{}\n{}\n{:?}\n{}\n{}\n{}\n",
        requirements.digest(),
        interpreter.executable.display(),
        interpreter.version,
        interpreter.platform,
        index.identity(),
        policy.name(),
    );
    if policy == Policy::Sources {
        text.push_str(&format!("{author}\n"));
    }
    Sha256::digest(text).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// One build: what it reads, where it writes, and with what.
#[derive(Debug)]
pub struct Build<'a> {
    pub id: Id,
    /// The unpacked archive.
    pub script: &'a Path,
    pub requirements: &'a Requirements,
    pub policy: Policy,
    /// A fresh folder that becomes the environment; a neighbour of its final place, so that one rename is enough.
    /// Not used if nothing is required.
    pub environment: &'a Path,
    /// A fresh folder of the unit, in which what the unit reads is written.
    pub inputs: &'a Path,
    /// Our `runtime/` folder, with `install.py`.
    pub runtime: &'a Path,
    pub interpreter: &'a Interpreter,
    pub ladder: &'a Ladder,
    pub index: &'a Index,
    pub sandbox: Sandbox,
    pub uid: Option<u32>,
    /// `TE_BUILD_TIMEOUT_S`.
    pub timeout_s: u64,
    /// As in a unit's spec.
    pub floor_bytes: u64,
}

/// Why a build could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    NoInstaller(#[from] NoInstaller),
    #[error("the build could not be prepared: {0}")]
    Io(#[from] io::Error),
}

impl Build<'_> {
    /// Writes what the unit reads, makes its folders, and says what its keeper has to do.
    ///
    /// # Errors
    /// No installer although something is required, or the disk's.
    pub fn prepare(&self) -> Result<Spec, PrepareError> {
        let needed = !self.requirements.is_empty();
        let rungs = if needed { self.ladder.rungs(self.interpreter)? } else { Vec::new() };
        fs::create_dir_all(self.inputs)?;
        // The unit may have an account of its own.
        fs::set_permissions(self.inputs, Permissions::from_mode(0o755))?;
        self.input("requirements.txt", &self.requirements.canonical())?;
        let plan = json!({
            "policy": self.policy.name(),
            "rungs": rungs,
            "indexes": self.index.urls,
            "pages": self.index.pages,
            "insecure": self.index.insecure,
            "notes": self.index.notes,
        });
        self.input("plan.json", &plan.to_string())?;

        // Paths stand in arguments and in the environment, where a keeper without namespaces can exchange them.
        let mut binds = vec![
            bind(self.runtime, "/te/runtime", false),
            bind(self.inputs, "/build", false),
            bind(self.script, "/script", false),
        ];
        binds.extend(self.interpreter.binds());
        let mut argv: Vec<String> = [
            &*self.interpreter.executable.to_string_lossy(),
            "-I",
            "-B",
            "-X",
            "utf8",
            "/te/runtime/install.py",
            "--plan=/build/plan.json",
            "--script=/script",
            "--out=/te/out",
            "--work=/work",
        ]
        .map(str::to_owned)
        .into();
        let mut env: BTreeMap<String, String> = [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", "/work"),
            ("TMPDIR", "/work/tmp"),
            ("LANG", "C.UTF-8"),
            ("TZ", "UTC"),
            ("TERM", "dumb"),
            ("NO_COLOR", "1"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        if needed {
            fs::create_dir_all(self.environment)?;
            binds.push(bind(self.environment, "/env", true));
            argv.extend(["--environment=/env".to_owned(), "--requirements=/build/requirements.txt".to_owned()]);
            if let Some(uv) = &self.ladder.uv {
                binds.push(bind(uv, "/tools/uv", false));
                argv.push("--uv=/tools/uv".to_owned());
            }
            for (n, folder) in self.index.folders.iter().enumerate() {
                binds.push(bind(folder, format!("/links/{n}"), false));
                argv.push(format!("--links=/links/{n}"));
            }
            if let Some(bundle) = &self.index.bundle {
                let (bind, names) = certificates(bundle);
                binds.push(bind);
                env.extend(names);
            }
            env.extend(proxies());
        }
        Ok(Spec {
            name: format!("build-{}", self.id),
            sandbox: self.sandbox.clone(),
            uid: self.uid,
            argv,
            env,
            binds,
            cwd: "/work".into(),
            limits: Limits {
                cpu_nanos: CPU_NANOS,
                memory_bytes: MEMORY_BYTES,
                timeout_s: self.timeout_s,
                max_processes: PROCESSES,
                max_file_bytes: DISK_BYTES,
                scratch_bytes: DISK_BYTES,
                network: if needed { Network::Https } else { Network::None },
            },
            gate: needed.then(|| self.gate()),
            output: Output::Journal,
            journal_bytes: OUTPUT_BYTES,
            output_bytes: OUTPUT_BYTES,
            floor_bytes: self.floor_bytes,
        })
    }

    fn input(&self, name: &str, text: &str) -> io::Result<()> {
        let path = self.inputs.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))
    }

    /// The index and, where the policy has them, the hosts of direct references; nothing else.
    fn gate(&self) -> Gate {
        let mut hosts = self.index.hosts();
        if self.policy == Policy::Sources {
            hosts.extend(self.requirements.hosts());
        }
        Gate {
            ports: vec![443],
            hosts: Some(hosts),
            trusted: self.index.trusted("https"),
            plain: self.index.trusted("http"),
            upstream: self.index.upstream.clone(),
            ..Gate::default()
        }
    }
}

fn bind(source: &Path, target: impl Into<PathBuf>, writable: bool) -> Bind {
    Bind { source: source.to_owned(), target: target.into(), writable }
}

/// What a build left as its `result.json`. Packages' own code may have written it, so it is for people to read
/// and decides nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Installed {
    /// `name==version` or `name @ URL`, sorted.
    pub frozen: Vec<String>,
    /// `uv`, `venv` or `pip`; `None` if nothing was required.
    pub rung: Option<String>,
}

impl Installed {
    /// Reads `result.json` from a folder (the unit's, where its keeper puts it), cut to a size and cleared of control
    /// characters.
    ///
    /// # Errors
    /// It is not there, no regular file, too large, or not what `install.py` writes.
    pub fn read(folder: &Path) -> io::Result<Self> {
        let path = folder.join(super::spec::RESULT);
        let meta = fs::symlink_metadata(&path)?;
        if !meta.is_file() || meta.len() > MAX_RESULT_BYTES {
            return Err(io::Error::other("the build's result is not a small file"));
        }
        let Self { mut frozen, rung } = serde_json::from_slice(&fs::read(&path)?)?;
        let clean = |text: String| text.chars().filter(|c| !c.is_control()).take(MAX_LINE).collect::<String>();
        frozen.truncate(MAX_FROZEN);
        Ok(Self {
            frozen: frozen.into_iter().map(clean).collect(),
            rung: rung.filter(|rung| ["uv", "venv", "pip"].contains(&rung.as_str())),
        })
    }
}

/// For the build log: what is about to be done.
impl fmt::Display for Build<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if self.requirements.is_empty() {
            return write!(f, "Checking src/main.py with {}; no packages are required.", self.interpreter);
        }
        let direct = self.requirements.lines.iter().filter(|line| !matches!(line.source, Source::Index(_))).count();
        write!(f, "Installing {} requirements for {}", self.requirements.lines.len(), self.interpreter)?;
        match (self.policy, direct) {
            (Policy::Wheels, _) => f.write_str(", from wheels."),
            (Policy::Sources, 0) => f.write_str(", source packages allowed."),
            (Policy::Sources, n) => write!(f, ", source packages allowed, {n} of them by direct reference."),
        }
    }
}
