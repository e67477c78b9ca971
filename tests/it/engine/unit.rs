//! A unit for tests: its folder, its spec, and a real keeper of it.
//! Tests wait for the keeper's end or for a file that the script leaves, never for a time.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use trends_earth::engine::{
    Entry, Exit, Limits, Network, Word,
    process::spec::{EXIT, JOURNAL, LOCK, Output, RESULT, SPEC, STDOUT, STOP, Sandbox, Spec, WORK},
};
use uuid::Uuid;

const NOBODY: u32 = 65534;
pub const PYTHON: &str = "/usr/bin/python3";
/// Longer than any unit of a test may take, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The account that a keeper runs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    Own,
    Nobody,
}

/// A sandbox under an account.
#[derive(Debug, Clone)]
pub struct Variant {
    pub sandbox: Sandbox,
    pub account: Account,
}

pub fn bwrap() -> Sandbox {
    Sandbox::Bwrap("/usr/bin/bwrap".into())
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Runs a test for the sandboxes, under each account that we can take; all at the same time.
pub fn each(sandboxes: &[Sandbox], test: impl Fn(Variant) + Sync) {
    let accounts: &[Account] = if is_root() { &[Account::Own, Account::Nobody] } else { &[Account::Own] };
    thread::scope(|scope| {
        for sandbox in sandboxes {
            for account in accounts {
                let variant = Variant { sandbox: sandbox.clone(), account: *account };
                let test = &test;
                thread::Builder::new().name(format!("{variant:?}")).spawn_scoped(scope, move || test(variant)).unwrap();
            }
        }
    });
}

/// For both sandboxes that keep every promise.
pub fn both(test: impl Fn(Variant) + Sync) {
    each(&[bwrap(), Sandbox::Namespaces], test);
}

/// This program, where every account can read it.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = std::env::temp_dir().join("trends-earth-test-program");
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.join("trends-earth");
        let part = folder.join(format!("part-{}", std::process::id()));
        fs::copy(env!("CARGO_BIN_EXE_trends-earth"), &part).unwrap();
        fs::set_permissions(&part, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&part, &path).unwrap();
        path
    })
}

/// A unit that has not been started. Its folder goes with it.
pub struct Unit {
    pub folder: PathBuf,
    pub spec: Spec,
    account: Account,
    /// Stands in the arguments of every process of the unit.
    pub marker: String,
}

/// A unit whose keeper was started.
pub struct Running {
    pub unit: Unit,
    pub keeper: Child,
}

impl Unit {
    pub fn new(variant: &Variant, code: &str) -> Self {
        static NEXT_UID: AtomicU32 = AtomicU32::new(0);
        let marker = format!("unit-{}", Uuid::new_v4());
        let folder = std::env::temp_dir().join(format!("trends-earth-{marker}"));
        fs::create_dir(&folder).unwrap();
        let uid = is_root() && variant.account == Account::Own;
        let spec = Spec {
            name: marker.replace("unit", "execution"),
            sandbox: variant.sandbox.clone(),
            uid: uid.then(|| 710_000 + std::process::id() % 1000 * 100 + NEXT_UID.fetch_add(1, Ordering::Relaxed)),
            argv: [PYTHON, "-u", "-c", code, &marker].map(str::to_owned).into(),
            env: [("PATH", "/usr/bin:/bin"), ("HOME", "/work"), ("LC_ALL", "C.UTF-8"), ("OUT", "/te/out/result.json")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            binds: Vec::new(),
            cwd: "/work".into(),
            limits: Limits {
                cpu_nanos: 2_000_000_000,
                memory_bytes: 256 << 20,
                timeout_s: 30,
                max_processes: 64,
                max_file_bytes: 1 << 30,
                scratch_bytes: 64 << 20,
                network: Network::None,
            },
            gate: None,
            output: Output::File,
            journal_bytes: 20 << 20,
            output_bytes: 1 << 20,
            floor_bytes: 0,
        };
        Self { folder, spec, account: variant.account, marker }
    }

    pub fn start(self) -> Running {
        fs::set_permissions(&self.folder, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(self.folder.join(SPEC), serde_json::to_vec(&self.spec).unwrap()).unwrap();
        let lock = fs::File::create(self.folder.join(LOCK)).unwrap();
        lock.try_lock().unwrap();
        let log = fs::File::create(self.folder.join("keeper.log")).unwrap();
        let mut command = if self.account == Account::Nobody {
            for entry in
                fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path()).chain([self.folder.clone()])
            {
                std::os::unix::fs::chown(entry, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program());
            command
        } else {
            Command::new(program())
        };
        command.env_clear().env("PATH", "/usr/bin:/bin").process_group(0);
        let keeper = command
            .arg("keep")
            .arg(&self.folder)
            .stdin(Stdio::from(lock))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        Running { unit: self, keeper }
    }

    /// Runs the unit to its end.
    pub fn run(self) -> Ended {
        self.start().end()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.path("keeper.log")).unwrap_or_default();
            let out = fs::read(self.path(STDOUT)).unwrap_or_default();
            let exit = fs::read_to_string(self.path(EXIT)).unwrap_or_default();
            let out = String::from_utf8_lossy(&out[..out.len().min(3000)]).into_owned();
            eprintln!("{:?} {:?}\nlog: {log}\nexit: {exit}\nout: {out}", self.spec.sandbox, self.account);
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Running {
    /// Waits until the script has made this file in its scratch folder.
    pub fn wait_for(&mut self, name: &str) {
        let path = self.unit.path(WORK).join(name);
        let keeper = &mut self.keeper;
        wait_until(&format!("{name} is made"), || {
            assert!(path.exists() || keeper.try_wait().unwrap().is_none(), "the unit has ended");
            path.exists()
        });
    }

    pub fn stop(&self) {
        fs::write(self.unit.path(STOP), "").unwrap();
    }

    pub fn end(mut self) -> Ended {
        let mut status = None;
        let keeper = &mut self.keeper;
        wait_until("the keeper has ended", || {
            status = keeper.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        let exit = fs::read(self.unit.path(EXIT)).ok().map(|exit| serde_json::from_slice(&exit).unwrap());
        let marker = &self.unit.marker;
        let left = processes_with(marker);
        assert!(left.is_empty(), "processes are left: {left:?}");
        Ended { exit: exit.unwrap_or_else(|| panic!("no exit.json, keeper {status:?}")), status, unit: self.unit }
    }
}

/// A unit that has ended; no process of it is left.
pub struct Ended {
    pub exit: Exit,
    pub status: ExitStatus,
    pub unit: Unit,
}

impl Ended {
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.unit.path(STDOUT)).unwrap()).into_owned()
    }

    pub fn result<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&fs::read(self.unit.path(RESULT)).unwrap()).unwrap()
    }

    /// Level and text of the log entries in the journal.
    pub fn log(&self) -> Vec<(String, String)> {
        let journal = fs::read_to_string(self.unit.path(JOURNAL)).unwrap();
        let entries = journal.lines().map(|line| serde_json::from_str::<Entry>(line).unwrap());
        entries
            .filter_map(|entry| match entry.word {
                Word::Log { level, text } => Some((level, text)),
                _ => None,
            })
            .collect()
    }
}

/// Processes with a word in their arguments, but the keeper's own.
pub fn processes_with(marker: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(words) = fs::read(entry.path().join("cmdline")) else { continue };
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        if words.contains(marker) {
            found.push(format!("{} {}", entry.file_name().to_string_lossy(), words));
        }
    }
    found
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
