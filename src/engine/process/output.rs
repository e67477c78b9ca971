//! What a unit prints: the head and the tail of it in a file, or each line as a log entry.
//! Nothing of it is kept in memory but one line, however much a unit prints.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    rc::Rc,
};

use super::journal::Journal;
use crate::engine::{OUTPUT_BYTES, OUTPUT_LINES, grouped};

/// Characters of one log entry.
const LINE_CHARS: usize = 10_000;
/// Room for the sentence between head and tail.
const MARKER_BYTES: u64 = 80;

/// Where the output goes.
pub enum Sink {
    File(HeadAndTail),
    Journal(Lines),
}

impl Sink {
    /// Takes what was read.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Journal(lines) => lines.write(bytes),
        }
    }

    /// Puts in order what was taken.
    pub fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.finish(),
            Self::Journal(lines) => lines.finish(),
        }
    }
}

/// A file that keeps the first and the last bytes. The tail is a ring within the file until `finish`.
pub struct HeadAndTail {
    file: File,
    head: u64,
    tail: u64,
    taken: u64,
}

impl HeadAndTail {
    /// Makes the file, which will have at most `limit` bytes.
    pub fn create(path: &Path, limit: u64) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let limit = limit.max(4 * MARKER_BYTES);
        let head = limit / 2;
        Ok(Self { file, head, tail: limit - head - MARKER_BYTES, taken: 0 })
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (at, room) = if self.taken < self.head {
                (self.taken, self.head - self.taken)
            } else {
                let turn = (self.taken - self.head) % self.tail;
                (self.head + turn, self.tail - turn)
            };
            let now = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
            self.file.write_all_at(&bytes[..now], at)?;
            self.taken += now as u64;
            bytes = &bytes[now..];
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let Some(left_out) = self.taken.checked_sub(self.head + self.tail).filter(|left_out| *left_out > 0) else {
            return self.file.sync_all();
        };
        let size = usize::try_from(self.tail).map_err(io::Error::other)?;
        let mut ring = vec![0; size];
        self.file.read_exact_at(&mut ring, self.head)?;
        ring.rotate_left(usize::try_from((self.taken - self.head) % self.tail).map_err(io::Error::other)?);
        let marker = format!("\n[... {} bytes are left out here ...]\n", grouped(left_out));
        self.file.write_all_at(marker.as_bytes(), self.head)?;
        self.file.write_all_at(&ring, self.head + marker.len() as u64)?;
        self.file.sync_all()
    }
}

/// The last lines of such a file; `None` if there is none. Of a unit that still runs and has printed more than its file holds,
/// they are not in order yet.
pub fn tail(path: &Path) -> io::Result<Option<String>> {
    let mut file = match OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let start = file.metadata()?.len().saturating_sub(OUTPUT_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).replace('\0', "\u{fffd}");
    // Where the beginning is cut off, so is its line, unless it is the only one.
    let whole =
        text.split_once('\n').filter(|(_, rest)| start > 0 && !rest.is_empty()).map_or(&*text, |(_, rest)| rest);
    let lines: Vec<&str> = whole.lines().collect();
    Ok(Some(lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n")))
}

/// Log entries of printed lines, at most `limit` bytes of text.
pub struct Lines {
    journal: Rc<Journal>,
    line: Vec<u8>,
    limit: u64,
    taken: u64,
    full: bool,
}

impl Lines {
    pub fn new(journal: Rc<Journal>, limit: u64) -> Self {
        Self { journal, line: Vec::new(), limit, taken: 0, full: false }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.full {
            return Ok(());
        }
        let mut rest = bytes;
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            self.take(&rest[..at]);
            self.end_line()?;
            rest = &rest[at + 1..];
        }
        self.take(rest);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) {
        // No character has more than four bytes; what is beyond would be cut anyway.
        let room = (4 * LINE_CHARS + 4).saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..room.min(bytes.len())]);
    }

    fn end_line(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.line);
        if self.full {
            return Ok(());
        }
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        self.taken += line.len() as u64 + 1;
        if self.taken > self.limit {
            self.full = true;
            let text = format!("The output is longer than {} bytes; the rest is left out.", grouped(self.limit));
            return self.journal.log("WARNING", &text);
        }
        let text: String = String::from_utf8_lossy(line)
            .chars()
            .take(LINE_CHARS)
            .map(|character| if character == '\0' { char::REPLACEMENT_CHARACTER } else { character })
            .collect();
        self.journal.log("INFO", &text)
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.line.is_empty() { Ok(()) } else { self.end_line() }
    }
}
