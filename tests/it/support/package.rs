//! Script packages, made in memory.

use std::collections::BTreeMap;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

/// A package as an author would upload it; whatever a test wants wrong with it is changed before `pack`.
#[derive(Debug, Clone)]
pub struct Package {
    pub configuration: Value,
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Package {
    /// A script of this name whose `src/main.py` is this.
    pub fn new(name: &str, main: &str) -> Self {
        let configuration = json!({"name": name, "uses_gee": false, "network": "none", "timeout_s": 60});
        let files = [("src/main.py", main), ("requirements.txt", "")];
        let files = files.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        Package { configuration, files: files.into() }
    }

    /// A script that returns its parameters.
    pub fn echo(name: &str) -> Self {
        Self::new(name, "def run(params, logger):\n    logger.info('hello')\n    return {'params': params}\n")
    }

    /// Sets a key of the configuration.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.configuration[key] = value.into();
        self
    }

    pub fn requirements(mut self, text: &str) -> Self {
        self.files.insert("requirements.txt".into(), text.as_bytes().to_vec());
        self
    }

    /// Adds or replaces a file.
    pub fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(path.to_owned(), bytes.into());
        self
    }

    /// Leaves a file out.
    pub fn without(mut self, path: &str) -> Self {
        self.files.remove(path);
        self
    }

    /// The archive.
    pub fn pack(&self) -> Vec<u8> {
        let mut files = self.files.clone();
        files.entry("configuration.json".into()).or_insert_with(|| self.configuration.to_string().into_bytes());
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, bytes) in &files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, bytes.as_slice()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }
}

/// One raw entry: whatever name, kind and content, with a checksum that is right.
pub fn entry(name: &[u8], kind: u8, content: &[u8]) -> Vec<u8> {
    sized(name, kind, content, content.len() as u64)
}

/// The same with another size in its header.
pub fn sized(name: &[u8], kind: u8, content: &[u8], size: u64) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    let field = &mut header.as_old_mut().name;
    let n = name.len().min(field.len());
    field[..n].copy_from_slice(&name[..n]);
    header.set_mode(0o4777);
    header.set_size(size);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}
