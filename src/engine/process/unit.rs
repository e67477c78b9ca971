//! The folder of one unit as the worker sees it: made and started, looked at, read.
//! What lies in it was written by a keeper, or by a script: the latter is hostile input.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};

use super::{
    journal::Journal,
    keeper,
    spec::{EXIT, JOURNAL, LOCK, OUT, PARAMS, RESULT, SECRETS, SPEC, Spec, WORK},
};
use crate::{
    engine::{End, Entry, Exit, Found, LINE, News},
    store::Id,
};

/// Bytes of the journal that are read at one time.
const CHUNK: u64 = 256 << 10;
/// Bytes of a result document.
const RESULT_BYTES: u64 = 64 << 20;

/// What every unit finds in its environment.
pub fn environment() -> BTreeMap<String, String> {
    [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/work"), ("LANG", "C.UTF-8"), ("TZ", "UTC")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Makes the folder under a temporary name, renames it into place, and starts its keeper. The lock is taken before and
/// handed down: at no moment can anybody find the folder and believe that its unit is dead while it only begins.
/// `first` becomes the first line of the journal; `secrets` are handed to the keeper alone.
pub fn start(
    program: &Path,
    folder: &Path,
    spec: &Spec,
    params: Option<&[u8]>,
    first: Option<&str>,
    secrets: &BTreeMap<String, SecretString>,
) -> anyhow::Result<()> {
    let parent = folder.parent().context("a unit's folder has a parent")?;
    let temporary = parent.join(format!(".{}", Id::random()));
    let made = (|| -> anyhow::Result<()> {
        fs::create_dir_all(&temporary)?;
        fs::create_dir(temporary.join(WORK))?;
        fs::create_dir(temporary.join(OUT))?;
        fs::write(temporary.join(SPEC), serde_json::to_vec(spec)?)?;
        let journal = Journal::open(&temporary.join(JOURNAL))?;
        if let Some(first) = first {
            journal.log("INFO", first)?;
        }
        if let Some(params) = params {
            let path = temporary.join(PARAMS);
            fs::write(&path, params)?;
            fs::set_permissions(&path, Permissions::from_mode(0o644))?;
        }
        if !secrets.is_empty() {
            let open: BTreeMap<&str, &str> = secrets.iter().map(|(k, v)| (k.as_str(), v.expose_secret())).collect();
            let file = File::options().create_new(true).write(true).mode(0o600).open(temporary.join(SECRETS))?;
            serde_json::to_writer(file, &open)?;
        }
        // The lock's file is the one thing that must be there when the folder appears.
        let lock = File::options().create(true).truncate(false).write(true).open(temporary.join(LOCK))?;
        lock.try_lock()?;
        fs::rename(&temporary, folder)?;
        let keeper = keeper::command(program, folder, lock)?;
        // Dropping it leaves the keeper alone; the runtime collects its exit status some day.
        drop(tokio::process::Command::from(keeper).spawn()?);
        Ok(())
    })();
    if made.is_err() {
        let _ = fs::remove_dir_all(&temporary);
    }
    made
}

/// What is known of a unit by its folder.
pub fn found(folder: &Path) -> Option<Found> {
    if !folder.is_dir() {
        return None;
    }
    let living = folder.join(EXIT).exists() || keeper::is_alive(folder);
    Some(if living { Found::Living } else { Found::Lost })
}

/// What the unit said after `offset`, and its end once everything before it has been read.
pub fn news(folder: &Path, offset: u64) -> anyhow::Result<News> {
    // Asked first: what a dead keeper has written is complete when it is read afterwards.
    let dead = !keeper::is_alive(folder);
    let (entries, next) = read(&folder.join(JOURNAL), offset)?;
    if !dead || next != offset {
        return Ok(News { entries, offset: next, end: None });
    }
    let exit = match fs::read(folder.join(EXIT)) {
        Ok(bytes) => Some(serde_json::from_slice::<Exit>(&bytes).context("exit.json is not what a keeper writes")?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    let result = if exit.is_some() { result(&folder.join(RESULT))? } else { None };
    Ok(News { entries, offset: next, end: Some(End { exit, result }) })
}

fn result(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let file = match OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.take(RESULT_BYTES).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Complete lines of the journal after `offset`. What is no word of the runner is passed over.
fn read(path: &Path, offset: u64) -> anyhow::Result<(Vec<Entry>, u64)> {
    let mut file =
        match OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), offset)),
            Err(error) => return Err(error.into()),
        };
    let length = file.metadata()?.len();
    if length <= offset {
        // A script may have cut its own journal short: what it wrote before is lost to it, nothing else happens.
        return Ok((Vec::new(), offset));
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(CHUNK).read_to_end(&mut bytes)?;
    let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
        // No line ends here: an over-long one is skipped, a short one is still being written.
        let skipped = if bytes.len() > LINE { bytes.len() as u64 } else { 0 };
        return Ok((Vec::new(), offset + skipped));
    };
    let entries = bytes[..end].split(|byte| *byte == b'\n').filter_map(Entry::read).collect();
    Ok((entries, offset + end as u64 + 1))
}

/// The host accounts of units that live below the data folder.
pub fn uids(data: &Path) -> anyhow::Result<BTreeSet<u32>> {
    let mut uids = BTreeSet::new();
    for kind in ["runs", "builds"] {
        for entry in fs::read_dir(data.join(kind))? {
            let folder = entry?.path();
            if folder.join(EXIT).exists() || !keeper::is_alive(&folder) {
                continue;
            }
            let spec = fs::read(folder.join(SPEC)).ok().and_then(|bytes| serde_json::from_slice::<Spec>(&bytes).ok());
            uids.extend(spec.and_then(|spec| spec.uid));
        }
    }
    Ok(uids)
}

/// Lets every account read a tree of ours: folders 0755, files 0644.
pub fn open_for_reading(path: &Path) -> io::Result<()> {
    let folder = path.is_dir();
    fs::set_permissions(path, Permissions::from_mode(if folder { 0o755 } else { 0o644 }))?;
    if folder {
        for entry in fs::read_dir(path)? {
            open_for_reading(&entry?.path())?;
        }
    }
    Ok(())
}
