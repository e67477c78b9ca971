//! The keeper's own words in a unit's journal: what a build prints, and what the gate refused.
//! The unit writes the same file; every word is one `write` of one line at its end.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::engine::{Entry, Word};

/// An open journal.
pub struct Journal {
    file: File,
}

impl Journal {
    /// Opens the journal, and makes it if it is missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
        Ok(Self { file })
    }

    /// The file, to hand it to the unit's account.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Adds one log entry.
    pub fn log(&self, level: &str, text: &str) -> io::Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        let entry = Entry { at, word: Word::Log { level: level.to_owned(), text: text.to_owned() } };
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        if self.torn() {
            line.insert(0, b'\n');
        }
        (&self.file).write_all(&line)
    }

    /// Bytes of the journal.
    pub fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |meta| meta.len())
    }

    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the journal last.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Whether the unit was killed in the middle of a line; ours must not be glued to it.
    fn torn(&self) -> bool {
        let length = self.len();
        let mut last = [b'\n'];
        length > 0 && self.file.read_at(&mut last, length - 1).is_ok() && last[0] != b'\n'
    }
}
