//! An archive becomes a runnable version: what is checked at upload, and where its files lie when it runs.

pub mod archive;
pub mod configuration;
pub mod requirements;
pub mod schema;

use std::path::{Path, PathBuf};

use crate::{
    config::{Config, engines::EngineSetting},
    objects::Objects,
    store::{Id, Json, script_versions::Version, scripts::Script},
};
use archive::{Package, Reject};
use configuration::{Caps, Configuration};

/// An upload that passed every check which needs no Python.
#[derive(Debug)]
pub struct Checked {
    pub package: Package,
    pub configuration: Configuration,
}

/// Checks an uploaded archive to its last byte. Costs processor time: never on an async thread.
pub fn check(gz: &[u8]) -> Result<Checked, Reject> {
    let package = archive::read(gz)?;
    let configuration = Configuration::parse(&package.configuration)?;
    requirements::Requirements::parse(&package.requirements)
        .map_err(|refused| Reject { code: "invalid_archive", detail: refused.to_string() })?;
    Ok(Checked { package, configuration })
}

/// What the settings allow a script.
pub fn caps(config: &Config) -> Caps {
    let cluster = config.engines.has(EngineSetting::Swarm);
    Caps {
        timeout_default_s: config.run_timeout_s,
        timeout_max_s: config.run_timeout_max_s,
        scratch_bytes: config.scratch_bytes,
        // Whatever an author writes, the machine has to stay usable. A cluster has its own.
        memory_max: if cluster { Caps::default().memory_max } else { crate::jobs::memory_for_runs() },
        cpu_max: if cluster { Caps::default().cpu_max } else { crate::jobs::cpu_for_runs() },
        ..Caps::default()
    }
}

/// What an upload leaves out stays as the script has it, in the new version too.
pub fn keep(configuration: &mut Configuration, script: &Script) {
    let stored = |value: Option<i64>| value.and_then(|v| u64::try_from(v).ok());
    configuration.cpu_limit = configuration.cpu_limit.or(stored(script.cpu_limit));
    configuration.memory_limit = configuration.memory_limit.or(stored(script.memory_limit));
}

/// Where the archive of a version lies among the objects.
pub fn archive_key(script: Id, digest: &str) -> String {
    format!("scripts/{script}/{}.tar.gz", digest.trim_start_matches("sha256:"))
}

/// The configuration that is kept with a version.
pub fn stored(config: &Json) -> anyhow::Result<Configuration> {
    Ok(serde_json::from_str(config.0.get())?)
}

/// Whether a folder is there; if so, it counts as used now.
pub fn touch(folder: &Path) -> bool {
    let Ok(open) = std::fs::File::open(folder) else { return false };
    // A date that cannot be set costs no more than that the folder looks older than it is.
    let _ = open.set_modified(std::time::SystemTime::now());
    folder.is_dir()
}

/// An archive that is not kept any more.
#[derive(Debug, thiserror::Error)]
#[error("the archive {0} is not there any more")]
pub struct Gone(String);

/// The folder with the unpacked files of a version; laid out from its archive if it is not there yet.
pub async fn unpacked(data: &Path, objects: &Objects, version: &Version) -> anyhow::Result<PathBuf> {
    let name = version.digest.trim_start_matches("sha256:");
    let target = data.join("versions").join(name);
    if touch(&target) {
        return Ok(target);
    }
    let gz = objects.get(&version.archive_key).await?.ok_or_else(|| Gone(version.archive_key.clone()))?;
    tokio::task::spawn_blocking(move || {
        let parent = data_versions(&target)?;
        let temporary = parent.join(format!(".{}", Id::random()));
        let laid_out = archive::unpack(&gz, &temporary).map_err(anyhow::Error::from).and_then(|()| {
            match std::fs::rename(&temporary, &target) {
                // Another build or run of the same content was faster: its files are the same.
                Err(_) if target.is_dir() => Ok(()),
                other => Ok(other?),
            }
        });
        let _ = std::fs::remove_dir_all(&temporary);
        laid_out.map(|()| target)
    })
    .await?
}

fn data_versions(target: &Path) -> anyhow::Result<PathBuf> {
    let parent = target.parent().ok_or_else(|| anyhow::anyhow!("a version's folder has a parent"))?.to_owned();
    std::fs::create_dir_all(&parent)?;
    Ok(parent)
}
