//! Script packages as authors write them, packed into the archive that the server takes.

use std::{collections::BTreeMap, io::Write, path::Path};

use anyhow::Context;
use flate2::{Compression, write::GzEncoder};
use rust_embed::RustEmbed;

/// The examples that come with the program.
#[derive(RustEmbed)]
#[folder = "examples"]
#[exclude = "*.pyc"]
pub struct Examples;

/// Files of a package by their path in the archive.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The files of an example, `vegetation-index` or `trend`.
pub fn example(name: &str) -> Files {
    let prefix = format!("{name}/");
    Examples::iter()
        .filter_map(|path| Some((path.strip_prefix(&prefix)?.to_owned(), Examples::get(&path)?.data.into_owned())))
        .collect()
}

/// The files of an author's folder: the configuration, the requirements, and everything below `src`.
pub fn folder(path: &Path) -> anyhow::Result<Files> {
    let mut files = Files::new();
    for name in ["configuration.json", "requirements.txt"] {
        let file = path.join(name);
        if file.exists() {
            files.insert(name.to_owned(), std::fs::read(&file)?);
        }
    }
    anyhow::ensure!(files.contains_key("configuration.json"), "There is no configuration.json in {}.", path.display());
    add(&mut files, &path.join("src"), "src").with_context(|| format!("cannot read {}", path.join("src").display()))?;
    Ok(files)
}

fn add(files: &mut Files, folder: &Path, name: &str) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let own = entry.file_name().to_string_lossy().into_owned();
        let inside = format!("{name}/{own}");
        if own.starts_with('.') || own == "__pycache__" {
            continue;
        }
        if entry.path().is_dir() {
            add(files, &entry.path(), &inside)?;
        } else {
            files.insert(inside, std::fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// The archive: the same files give the same bytes.
pub fn pack(files: &Files) -> anyhow::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, bytes.as_slice())?;
    }
    let mut gz = tar.into_inner()?;
    gz.flush()?;
    Ok(gz.finish()?)
}
