//! Processes of this machine, found by what they were started with.

use std::{fs, path::Path};

use nix::unistd::Pid;

/// The keeper of a unit's folder, if it lives.
pub fn keeper_of(folder: &Path) -> Option<Pid> {
    let words = format!("keep\0{}\0", folder.display());
    all("cmdline", |text| text.ends_with(&words)).pop()
}

/// Every process of a run, by the id in its environment.
pub fn processes_of(execution: &str) -> Vec<Pid> {
    let word = format!("EXECUTION_ID={execution}\0");
    all("environ", |text| text.contains(&word))
}

/// Processes whose file in `/proc` is so; what has ended or may not be read is passed over.
fn all(file: &str, fits: impl Fn(&str) -> bool) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let fitting = entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let text = fs::read(entry.path().join(file)).ok()?;
        fits(&String::from_utf8_lossy(&text)).then(|| Pid::from_raw(pid))
    });
    fitting.collect()
}
