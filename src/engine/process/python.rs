//! The Python that runs scripts: found once at start, asked for what it really is, and what the sandbox shows of it.
//! Shims (pyenv, conda, asdf) only work in their owner's home; the interpreter behind them works anywhere.

use std::{
    ffi::{OsStr, OsString},
    fmt, fs,
    io::Read,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{sys::signal, unistd::Pid};
use serde::Deserialize;

use super::spec::Bind;

/// The oldest version that the runner and the installer are written for.
pub const OLDEST: (u8, u8) = (3, 9);
/// The newest minor version that is looked for by name.
const NEWEST_NAMED: u8 = 14;
/// How long an interpreter may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// A Python interpreter of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interpreter {
    /// The interpreter itself: no shim, no symbolic link, no virtual environment.
    pub executable: PathBuf,
    /// Where its libraries stand (`sys.base_prefix`), without symbolic links.
    pub prefix: PathBuf,
    pub version: (u8, u8, u8),
    /// As in the names of wheels, for example `linux-x86_64`.
    pub platform: String,
    /// Whether it can make a virtual environment that has pip.
    pub venv: bool,
    /// The version of its own pip.
    pub pip: Option<String>,
    /// Folders and files that it needs if its prefix must not be shown as a whole.
    parts: Option<Vec<PathBuf>>,
}

/// No interpreter: a sentence that says what was tried and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NotFound {
    /// Each candidate and why it does not do.
    pub tried: Vec<(String, String)>,
    /// Whether the setting named the only candidate.
    pub by_setting: bool,
}

impl fmt::Display for NotFound {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let tried: Vec<String> = self.tried.iter().map(|(name, why)| format!("{name} {why}")).collect();
        let (major, minor) = OLDEST;
        if self.by_setting {
            return write!(f, "The Python of TE_PYTHON cannot be used: {}.", tried.join(", "));
        }
        write!(f, "No Python {major}.{minor} or newer was found")?;
        if !tried.is_empty() {
            write!(f, " ({})", tried.join("; "))?;
        }
        f.write_str(". Install one (`apt install python3 python3-venv`) or name it in TE_PYTHON.")
    }
}

/// Finds the interpreter: the setting's or, without one, the first of `python3`, `python3.14` … `python3.9` on `path`
/// and `/usr/bin/python3` that is new enough and answers. `home` is what shims look for their settings in.
///
/// Starts up to eight programs and waits at most five seconds for each: not for an async thread.
///
/// # Errors
/// None of them will do.
pub fn find(setting: Option<&Path>, path: &OsStr, home: Option<&OsStr>) -> Result<Interpreter, NotFound> {
    let mut tried = Vec::new();
    for candidate in setting.map_or_else(|| candidates(path), |setting| vec![setting.to_owned()]) {
        match ask(&candidate, path, home) {
            Ok(interpreter) => return Ok(interpreter),
            Err(why) => tried.push((candidate.display().to_string(), why)),
        }
    }
    Err(NotFound { tried, by_setting: setting.is_some() })
}

fn candidates(path: &OsStr) -> Vec<PathBuf> {
    let named = (OLDEST.1..=NEWEST_NAMED).rev().map(|minor| format!("python3.{minor}"));
    let mut found = Vec::new();
    for name in std::iter::once("python3".to_owned()).chain(named) {
        found.extend(on_path(&name, path));
    }
    found.push("/usr/bin/python3".into());
    found.dedup();
    found.retain(|candidate| candidate.exists());
    found
}

/// The first executable file of a name on a search path; relative folders do not count.
pub(crate) fn on_path(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0))
}

/// What an interpreter says of itself.
#[derive(Deserialize)]
struct Answer {
    executable: PathBuf,
    prefix: PathBuf,
    version: (u8, u8, u8),
    platform: String,
    venv: bool,
    pip: Option<String>,
    parts: Vec<PathBuf>,
}

const QUESTION: &str = r#"
import importlib.util, json, os, sys, sysconfig
def has(name):
    try:
        return importlib.util.find_spec(name) is not None
    except Exception:
        return False
pip = None
if has("pip"):
    try:
        from importlib.metadata import version
        pip = version("pip")
    except Exception:
        pass
executable = getattr(sys, "_base_executable", None) or sys.executable
parts = [executable, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
library, folder = sysconfig.get_config_var("INSTSONAME"), sysconfig.get_config_var("LIBDIR")
if sysconfig.get_config_var("Py_ENABLE_SHARED") and library and folder:
    parts.append(os.path.join(folder, library))
print(json.dumps({
    "executable": executable,
    "prefix": sys.base_prefix,
    "version": list(sys.version_info[:3]),
    "platform": sysconfig.get_platform(),
    "venv": has("venv") and has("ensurepip"),
    "pip": pip,
    "parts": parts,
}))
"#;

fn ask(candidate: &Path, path: &OsStr, home: Option<&OsStr>) -> Result<Interpreter, String> {
    let output = answer(candidate, &["-I", "-c", QUESTION], path, home)?;
    let answer: Answer = serde_json::from_slice(&output).map_err(|_| "does not answer like Python 3".to_owned())?;
    let (major, minor, _) = answer.version;
    if (major, minor) < OLDEST {
        return Err(format!("is Python {major}.{minor}, older than {}.{}", OLDEST.0, OLDEST.1));
    }
    let real = |path: &Path| fs::canonicalize(path).map_err(|error| format!("needs {}: {error}", path.display()));
    let prefix = real(&answer.prefix)?;
    let mut parts =
        answer.parts.iter().filter(|part| part.exists()).map(|part| real(part)).collect::<Result<Vec<_>, _>>()?;
    parts.dedup();
    let shared = shows_more(&prefix, home.map(Path::new));
    Ok(Interpreter {
        executable: real(&answer.executable)?,
        parts: shared.then_some(parts),
        prefix,
        version: answer.version,
        platform: answer.platform,
        venv: answer.venv,
        pip: answer.pip,
    })
}

/// Whether a prefix shows what is not Python's: a home, `~/.local`, a folder of many programs, or something above.
fn shows_more(prefix: &Path, home: Option<&Path>) -> bool {
    let home = home.and_then(|home| fs::canonicalize(home).ok());
    home.is_some_and(|home| home.starts_with(prefix) || prefix == home.join(".local"))
        || prefix.parent() == Some(Path::new("/home"))
        || ["/", "/home", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var"]
            .iter()
            .any(|shared| prefix == Path::new(shared))
}

/// What a program prints, in an environment of nothing but PATH and HOME.
pub(crate) fn answer(program: &Path, args: &[&str], path: &OsStr, home: Option<&OsStr>) -> Result<Vec<u8>, String> {
    const MOST: u64 = 64 << 10;
    let home = home.map_or_else(|| OsString::from("/nonexistent"), OsStr::to_owned);
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", path)
        .env("HOME", home)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    let (told, answered) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut text = Vec::new();
            let read = stdout.take(MOST).read_to_end(&mut text);
            // Nobody listens any more if the time is over.
            let _ = told.send(read.map(|_| text));
        });
    }
    let answer = answered.recv_timeout(ANSWER);
    if answer.is_err()
        && let Ok(group) = i32::try_from(child.id())
    {
        let _ = signal::killpg(Pid::from_raw(group), signal::Signal::SIGKILL);
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    match answer {
        Err(_) => Err(format!("does not answer within {} seconds", ANSWER.as_secs())),
        Ok(_) if !status.success() => Err(format!("ends with {status}")),
        Ok(read) => read.map_err(|error| error.to_string()),
    }
}

impl Interpreter {
    /// What the sandbox must show beside `/usr`, read-only and in its own place: the prefix, or, where that would show
    /// a home folder too, only the interpreter and its libraries.
    #[must_use]
    pub fn binds(&self) -> Vec<Bind> {
        let shown = match &self.parts {
            Some(parts) => parts.clone(),
            // Where the executable stands outside its prefix, it is needed as well.
            None if self.executable.starts_with(&self.prefix) => vec![self.prefix.clone()],
            None => vec![self.prefix.clone(), self.executable.clone()],
        };
        let outside = shown.into_iter().filter(|path| !path.starts_with("/usr"));
        outside.map(|path| Bind { source: path.clone(), target: path, writable: false }).collect()
    }

    /// `3.11`, as in the name of its library folder.
    #[must_use]
    pub fn minor(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (major, minor, micro) = self.version;
        write!(f, "Python {major}.{minor}.{micro} ({})", self.executable.display())
    }
}
