//! Pythons with what a test needs: one that is there, else an environment of its own outside the clone, made once.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use nix::fcntl::{Flock, FlockArg};

/// The first python that can do this import, else one made with these calls of `pip install`; `Err` says why there is none.
pub fn python(name: &str, import: &str, installs: &[&[&str]]) -> Result<PathBuf, String> {
    let found = PathBuf::from("python3");
    if imports(&found, import) { Ok(found) } else { environment(name, import, installs) }
}

/// An environment of this name for all runs of the suite.
pub fn environment(name: &str, import: &str, installs: &[&[&str]]) -> Result<PathBuf, String> {
    let folder = std::env::temp_dir().join(format!("trends-earth-test-{name}"));
    let lock = std::fs::File::create(folder.with_extension("lock")).map_err(|error| error.to_string())?;
    // Two tests, or two runs of the suite, must not make it at one time.
    let _held = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error.to_string())?;
    let python = folder.join("bin/python");
    if imports(&python, import) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    for packages in installs {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"];
        run(Command::new(&python).args(pip).args(*packages))?;
    }
    if imports(&python, import) { Ok(python) } else { Err(format!("{} cannot {import}", python.display())) }
}

fn imports(python: &Path, import: &str) -> bool {
    Command::new(python).args(["-c", import]).output().is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?}: {}", said.lines().last().unwrap_or("")))
}
