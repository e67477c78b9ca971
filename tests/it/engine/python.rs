//! Finding the interpreter: past shims, past old ones, never a whole home.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use trends_earth::engine::process::python::{Interpreter, NotFound, find};

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("te-python-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A program of this name that runs these lines of shell.
    fn program(&self, name: &str, lines: &str) -> PathBuf {
        let path = self.0.join(name);
        // Written by another process: what this one has open for writing, a fork of another test may hold open too,
        // and then it cannot be started.
        let mut writer = Command::new("/bin/sh")
            .args(["-c", "/bin/cat > \"$0\" && /bin/chmod 755 \"$0\""])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writer.stdin.take().unwrap().write_all(format!("#!/bin/sh\n{lines}\n").as_bytes()).unwrap();
        assert!(writer.wait().unwrap().success());
        path
    }

    fn find(&self, setting: Option<&Path>) -> Result<Interpreter, NotFound> {
        find(setting, self.0.as_os_str(), Some(self.0.as_os_str()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn path() -> OsString {
    std::env::var_os("PATH").unwrap()
}

fn home() -> OsString {
    std::env::var_os("HOME").unwrap()
}

#[test]
fn the_interpreter_of_this_machine_is_found_behind_its_shim() {
    let found = find(None, &path(), Some(&home())).unwrap();
    assert!(found.version >= (3, 9, 0), "{found}");
    assert!(found.executable.starts_with(&found.prefix) || found.prefix == Path::new("/usr"), "{found:?}");
    assert!(!fs::symlink_metadata(&found.executable).unwrap().is_symlink());
    let head = fs::read(&found.executable).unwrap();
    assert!(head.starts_with(b"\x7fELF"), "an interpreter, no script");
    for bind in found.binds() {
        assert!(!bind.writable && bind.source == bind.target);
        assert!(!Path::new(&home()).starts_with(&bind.source), "{bind:?} holds the home");
    }
}

#[test]
fn the_system_s_interpreter_needs_no_bind() {
    let found = find(Some(Path::new("/usr/bin/python3")), &path(), None).unwrap();
    assert!(found.binds().is_empty() && found.platform.starts_with("linux-"), "{found:?}");
}

#[test]
fn a_virtual_environment_is_seen_through() {
    let folder = Folder::new();
    let system = find(Some(Path::new("/usr/bin/python3")), &path(), None).unwrap();
    fs::create_dir(folder.0.join("bin")).unwrap();
    symlink(&system.executable, folder.0.join("bin/python3")).unwrap();
    fs::write(folder.0.join("pyvenv.cfg"), format!("home = {}\n", system.executable.parent().unwrap().display()))
        .unwrap();
    let found = folder.find(Some(&folder.0.join("bin/python3"))).unwrap();
    assert_eq!((found.executable, found.prefix), (system.executable, system.prefix));
}

#[test]
fn candidates_that_will_not_do_are_passed_over_and_named() {
    let folder = Folder::new();
    folder.program("python3", "echo 'pyenv: python3: command not found' >&2; exit 127");
    folder.program("python3.12", "echo rubbish");
    folder.program("python3.11", r#"echo '{"executable":"/bin/sh","prefix":"/usr","version":[3,8,1],"platform":"x","venv":true,"pip":null,"parts":[]}'"#);
    fs::write(folder.0.join("python3.10"), "not executable").unwrap();
    let found = folder.find(None).unwrap();
    assert_eq!(found.prefix, Path::new("/usr"), "the system's is the last");

    let refused = folder.find(Some(&folder.0.join("python3.11"))).unwrap_err().to_string();
    assert!(
        refused.starts_with("The Python of TE_PYTHON cannot be used:")
            && refused.contains("is Python 3.8, older than 3.9"),
        "{refused}"
    );
    let refused = folder.find(Some(&folder.0.join("python3.12"))).unwrap_err().to_string();
    assert!(refused.contains("does not answer like Python 3"), "{refused}");
    let refused = folder.find(Some(&folder.0.join("python3"))).unwrap_err().to_string();
    assert!(refused.contains("ends with exit status: 127"), "{refused}");
    let refused = folder.find(Some(Path::new("/nowhere/python"))).unwrap_err().to_string();
    assert!(refused.contains("cannot be started"), "{refused}");
    let nothing = NotFound { tried: vec![("python3".into(), "is too old".into())], by_setting: false }.to_string();
    assert_eq!(
        nothing,
        "No Python 3.9 or newer was found (python3 is too old). Install one (`apt install python3 python3-venv`) or name it in TE_PYTHON."
    );
}

#[test]
fn an_interpreter_that_hangs_is_not_waited_for() {
    let folder = Folder::new();
    // The grandchild keeps the output open.
    let hangs = folder.program("python3", "/bin/sleep 600 & /bin/sleep 600");
    let begun = Instant::now();
    let refused = folder.find(Some(&hangs)).unwrap_err().to_string();
    assert!(refused.contains("does not answer within 5 seconds"), "{refused}");
    assert!(begun.elapsed().as_secs() < 10);
}

#[test]
fn it_is_asked_with_nothing_of_the_server_s_environment() {
    let folder = Folder::new();
    let seen = folder.0.join("seen");
    let asks = folder.program("python3", &format!("/usr/bin/env > {}", seen.display()));
    folder.find(Some(&asks)).unwrap_err();
    let seen = fs::read_to_string(seen).unwrap();
    let names: Vec<&str> = seen.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| ["PATH", "HOME", "PWD", "_", "SHLVL", "OLDPWD"].contains(name)), "{names:?}");
}

#[test]
fn a_prefix_that_holds_a_home_is_shown_in_parts_only() {
    let folder = Folder::new();
    let home = fs::canonicalize(&folder.0).unwrap();
    for prefix in [home.clone(), home.join(".local"), home.parent().unwrap().to_owned()] {
        fs::create_dir_all(home.join(".local/lib/python3.12")).unwrap();
        let fake = folder.program("python3", &format!(
            r#"echo '{{"executable":"{0}/python3","prefix":"{1}","version":[3,12,1],"platform":"x","venv":true,"pip":"24.0","parts":["{0}/python3","{0}/.local/lib/python3.12","{0}/.local/lib/python3.12","{0}/gone"]}}'"#,
            home.display(), prefix.display()
        ));
        let found = find(Some(&fake), OsStr::new("/usr/bin"), Some(home.as_os_str())).unwrap();
        let shown: Vec<PathBuf> = found.binds().into_iter().map(|bind| bind.source).collect();
        assert_eq!(shown, [home.join("python3"), home.join(".local/lib/python3.12")]);
        assert_eq!((found.minor().as_str(), found.pip.as_deref()), ("3.12", Some("24.0")));
    }
}
