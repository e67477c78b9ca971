//! Files of this machine that can be made again: unpacked versions and built environments. Above the limit of the cache what
//! was used longest ago goes first, and never what an unfinished run or build needs.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use super::Worker;
use crate::{
    engine::process::environment::remove_tree,
    store::{self, Id},
};

/// What was used as lately as this stays: an upload or a dispatch may be about to need it.
const FRESH: Duration = Duration::from_secs(3_600);

/// Bytes of each folder, which never change once it is complete.
#[derive(Default)]
pub struct Sizes {
    known: Mutex<HashMap<PathBuf, u64>>,
    /// One worker of this machine at a time sweeps.
    turn: tokio::sync::Mutex<()>,
}

struct Cached {
    path: PathBuf,
    name: String,
    bytes: u64,
    used_at: SystemTime,
}

/// Brings the cache below its limit, if something can go.
pub async fn sweep(worker: &Worker) -> anyhow::Result<()> {
    let Ok(_turn) = worker.sizes.turn.try_lock() else { return Ok(()) };
    let (data, sizes) = (worker.data.path.clone(), worker.sizes.clone());
    let mut cached = tokio::task::spawn_blocking(move || look(&data, &sizes)).await??;
    let limit = worker.app.config.cache_max_bytes;
    let mut held: u64 = cached.iter().map(|one| one.bytes).sum();
    if held <= limit {
        return Ok(());
    }
    let needed: BTreeSet<String> = store::sweep::needed_files(&worker.app.db).await?.into_iter().collect();
    let now = SystemTime::now();
    cached.retain(|one| !needed.contains(&one.name) && now.duration_since(one.used_at).unwrap_or_default() >= FRESH);
    cached.sort_by_key(|one| one.used_at);
    for one in cached {
        if held <= limit {
            break;
        }
        tracing::info!(path = %one.path.display(), bytes = one.bytes, "what was not used for long leaves the cache");
        held -= one.bytes;
        tokio::task::spawn_blocking(move || {
            // A run that was dispatched since the look has made it young again.
            if std::fs::metadata(&one.path)?.modified()? != one.used_at {
                return Ok(());
            }
            // Gone at once for everybody, then file by file.
            let aside = one.path.with_file_name(format!(".{}", Id::random()));
            std::fs::rename(&one.path, &aside)?;
            remove_tree(&aside)
        })
        .await??;
    }
    Ok(())
}

fn look(data: &Path, sizes: &Sizes) -> anyhow::Result<Vec<Cached>> {
    let mut cached = Vec::new();
    for kind in ["envs", "versions"] {
        // Not every engine has both.
        for entry in std::fs::read_dir(data.join(kind)).into_iter().flatten() {
            let entry = entry?;
            let (path, Ok(name)) = (entry.path(), entry.file_name().into_string()) else { continue };
            let Ok(meta) = entry.metadata() else { continue };
            if name.starts_with('.') || !meta.is_dir() {
                continue;
            }
            let mut known = sizes.known.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = *known.entry(path.clone()).or_insert_with(|| bytes_under(&path));
            cached.push(Cached { path, name, bytes, used_at: meta.modified()? });
        }
    }
    Ok(cached)
}

/// Bytes of the disk below a folder.
fn bytes_under(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            bytes += meta.blocks() * 512;
            if meta.is_dir() {
                open.push(entry.path());
            }
        }
    }
    bytes
}
