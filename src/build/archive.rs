//! What an author uploads: a gzip tar, judged entry by entry before a byte of it is written.
//! Every bound stands before the parser: the stream, the number of entries, each name and each header.

use std::{
    cell::Cell,
    collections::HashMap,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
    rc::Rc,
};

use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};
use tar::EntryType;
use unicode_normalization::UnicodeNormalization;

/// Bytes of the unpacked stream, headers and padding included.
pub const MAX_STREAM_BYTES: u64 = 100 << 20;
/// Files and folders, named or implied; also the number of headers.
pub const MAX_ENTRIES: usize = 10_000;
/// Bytes of one part of a path, the limit of the usual file systems.
pub const MAX_NAME_BYTES: usize = 255;
/// Bytes of a whole path.
pub const MAX_PATH_BYTES: usize = 1_024;
/// Parts of a path.
pub const MAX_LEVELS: usize = 100;
/// Bytes of `configuration.json`, and of `requirements.txt`.
pub const MAX_TEXT_BYTES: u64 = 256 << 10;
/// Bytes of one header that describes the next entry (a long name, pax records).
const MAX_HEADER_BYTES: u64 = 64 << 10;
/// Gzip members of one archive; `tar czf` makes one.
const MAX_MEMBERS: u32 = 1_000;

const CONFIGURATION: &str = "configuration.json";
const REQUIREMENTS: &str = "requirements.txt";
const MAIN: &str = "src/main.py";

/// What a good archive holds, as far as the server looks into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// `configuration.json`, not parsed.
    pub configuration: Vec<u8>,
    /// `requirements.txt` without a byte order mark; empty if there is none.
    pub requirements: String,
    /// Whether `src/main.py` is there, as a file.
    pub has_main: bool,
    /// `sha256:<hex>` of the archive as uploaded.
    pub digest: String,
}

/// Why an archive is refused: a sentence for its author, sent with status 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Reject {
    /// `error_code` of the answer.
    pub code: &'static str,
    pub detail: String,
}

/// Why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The archive is at fault.
    #[error(transparent)]
    Reject(#[from] Reject),
    /// The disk is: the folder exists, no space, no right.
    #[error("the archive could not be written: {0}")]
    Io(#[from] io::Error),
}

fn reject(detail: impl Into<String>) -> Reject {
    Reject { code: "invalid_archive", detail: detail.into() }
}

/// Judges the name that a client gives to the uploaded file. The name is never used as a path.
///
/// # Errors
/// The text of the answer with status 400.
pub fn check_file_name(name: &str) -> Result<(), &'static str> {
    if !name.ends_with(".tar.gz") {
        return Err("File must be a .tar.gz archive");
    }
    if name.contains(['/', '\\']) {
        return Err("Invalid File");
    }
    if name.len() > MAX_NAME_BYTES || name.contains(['<', '>', '"']) || name.chars().any(misleads) {
        return Err("Invalid characters in filename");
    }
    Ok(())
}

/// Judges an archive to its last byte and keeps what the server itself needs of it.
///
/// Costs at most the time to inflate [`MAX_STREAM_BYTES`] and a few megabytes of memory.
///
/// # Errors
/// A sentence that names the entry and says what is right; `Invalid File` without a `configuration.json`.
pub fn read(gz: &[u8]) -> Result<Package, Reject> {
    let mut configuration = None;
    let mut requirements = None;
    let mut has_main = false;
    walk(gz, |item| -> Result<(), Reject> {
        let Item::File { path, body } = item else {
            return Ok(());
        };
        match path {
            CONFIGURATION => configuration = Some(text(path, body)?),
            REQUIREMENTS => requirements = Some(text(path, body)?),
            MAIN => has_main = true,
            _ => {}
        }
        Ok(())
    })?;
    Ok(Package {
        configuration: configuration.ok_or_else(|| reject("Invalid File"))?,
        requirements: requirements.map_or_else(|| Ok(String::new()), decode)?,
        has_main,
        digest: digest(gz),
    })
}

/// Writes what an archive holds to `target`, a folder that does not exist yet: files 0644, folders 0755, whatever
/// the archive says. All is on the disk when it returns; the caller renames the folder into its place.
///
/// # Errors
/// A bad archive or a bad disk; what was written until then stays, and the caller removes it.
pub fn unpack(gz: &[u8], target: &Path) -> Result<(), UnpackError> {
    folder(target)?;
    walk(gz, |item| -> Result<(), UnpackError> {
        match item {
            Item::Folder { path } => Ok(folder(&target.join(path))?),
            Item::File { path, body } => {
                let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(target.join(path))?;
                file.set_permissions(Permissions::from_mode(0o644))?;
                let mut out = BufWriter::with_capacity(64 << 10, file);
                body.copy(&mut out)?;
                Ok(out.flush()?)
            }
        }
    })?;
    nix::unistd::syncfs(File::open(target)?).map_err(io::Error::from)?;
    Ok(())
}

/// `sha256:<hex>` of an archive.
#[must_use]
pub fn digest(gz: &[u8]) -> String {
    let hash = Sha256::digest(gz);
    hash.iter().fold(String::from("sha256:"), |text, byte| text + &format!("{byte:02x}"))
}

fn folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))
}

fn text(path: &str, body: Body) -> Result<Vec<u8>, Reject> {
    if body.size > MAX_TEXT_BYTES {
        let size = body.size;
        return Err(reject(format!("{path} has {size} bytes; at most {MAX_TEXT_BYTES} are allowed.")));
    }
    let mut bytes = Vec::new();
    match body.copy(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(UnpackError::Reject(reject)) => Err(reject),
        Err(UnpackError::Io(error)) => Err(reject(error.to_string())),
    }
}

fn decode(bytes: Vec<u8>) -> Result<String, Reject> {
    let text = String::from_utf8(bytes).map_err(|_| {
        reject("requirements.txt is not UTF-8 text. PowerShell writes UTF-16 unless told `-Encoding utf8`.")
    })?;
    Ok(text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned))
}

// ------------------------------------------------------------------------------------------------ entries

/// An accepted entry. Folders come before what is in them, also those that the archive only implies.
enum Item<'a> {
    Folder { path: &'a str },
    File { path: &'a str, body: Body<'a> },
}

/// The bytes of one file.
struct Body<'a> {
    name: &'a str,
    size: u64,
    source: &'a mut dyn Read,
    stream: &'a Stream,
}

impl Body<'_> {
    fn copy(self, out: &mut dyn Write) -> Result<(), UnpackError> {
        let mut left = self.size;
        let mut chunk = [0; 16 << 10];
        while left > 0 {
            let n = match self.source.read(&mut chunk) {
                Ok(0) => {
                    return Err(reject(format!(
                        "The archive ends inside its file {}; it was cut off.",
                        quoted(self.name)
                    ))
                    .into());
                }
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.stream.reject(&error).into()),
            };
            out.write_all(&chunk[..n])?;
            left -= n as u64;
        }
        Ok(())
    }
}

/// Goes through the whole archive, to the checksum of its last byte.
fn walk<E: From<Reject>>(gz: &[u8], mut visit: impl FnMut(Item) -> Result<(), E>) -> Result<(), E> {
    let stream = Stream::default();
    let mut archive = tar::Archive::new(Inflate::new(gz, stream.clone())?);
    // Raw: tar itself would read long names and pax records whole, whatever their size.
    let entries = archive.entries().map_err(|error| stream.reject(&error))?.raw(true);
    let mut tree = Tree::default();
    let mut next = Next::default();
    let mut headers = 0;
    for entry in entries {
        let mut entry = entry.map_err(|error| stream.reject(&error))?;
        headers += 1;
        if headers > MAX_ENTRIES {
            return Err(reject(too_many()).into());
        }
        let size = entry.header().entry_size().map_err(|error| stream.reject(&error))?;
        let kind = entry.header().entry_type();
        let header_name = entry.path_bytes().into_owned();
        if matches!(kind, EntryType::GNULongName | EntryType::XHeader) {
            next.read(kind, size, &mut entry, &stream)?;
            continue;
        }
        let described = std::mem::take(&mut next);
        let name = described.path.unwrap_or(header_name);
        if let Some(what) = refused(kind) {
            return Err(reject(format!("The archive's entry {} is {what}", shown(&name))).into());
        }
        if described.size.is_some_and(|told| told != size) {
            return Err(reject(format!("The archive gives its entry {} two sizes.", shown(&name))).into());
        }
        let path = path(&name)?;
        // Archives of before 1988 mark a folder by the slash at its end alone.
        if kind == EntryType::Directory || name.ends_with(b"/") {
            if size > 0 {
                return Err(reject(format!("The archive's folder {} has content of its own.", shown(&name))).into());
            }
            for made in tree.folder(&path)? {
                visit(Item::Folder { path: made })?;
            }
            continue;
        }
        for made in tree.file(&path)? {
            visit(Item::Folder { path: made })?;
        }
        visit(Item::File { path: &path, body: Body { name: &path, size, source: &mut entry, stream: &stream } })?;
    }
    if next.path.is_some() || next.size.is_some() {
        return Err(reject("The archive ends before an entry that it announces; it was cut off.").into());
    }
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|error| stream.reject(&error))?;
    Ok(())
}

/// What an entry is that may not be in an archive, with what to do about it.
fn refused(kind: EntryType) -> Option<&'static str> {
    Some(match kind {
        EntryType::Regular | EntryType::Directory => return None,
        EntryType::Symlink => {
            "a symbolic link; only files and folders are allowed. `tar -h` stores what links point to."
        }
        EntryType::Link => {
            "a hard link; only files and folders are allowed. `tar --hard-dereference` stores the file itself."
        }
        EntryType::GNULongLink => "a link; only files and folders are allowed. `tar -h` stores what links point to.",
        EntryType::Char | EntryType::Block => "a device; only files and folders are allowed.",
        EntryType::Fifo => "a named pipe; only files and folders are allowed.",
        EntryType::GNUSparse => "a sparse file; pack it without `--sparse`.",
        EntryType::XGlobalHeader => {
            "a header for all entries, as `git archive` writes it; pack the folder with `tar czf`."
        }
        _ => "neither a file nor a folder; nothing else is allowed.",
    })
}

fn too_many() -> String {
    format!("The archive has more than {MAX_ENTRIES} files and folders.")
}

/// What headers say of the entry that follows them.
#[derive(Default)]
struct Next {
    path: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Next {
    fn read(&mut self, kind: EntryType, size: u64, source: &mut dyn Read, stream: &Stream) -> Result<(), Reject> {
        if size > MAX_HEADER_BYTES {
            return Err(reject(format!(
                "The archive has a header of {size} bytes (a long name or pax records); at most {MAX_HEADER_BYTES} are allowed."
            )));
        }
        let mut bytes = Vec::new();
        source.take(size).read_to_end(&mut bytes).map_err(|error| stream.reject(&error))?;
        if bytes.len() as u64 != size {
            return Err(reject("The archive ends inside a header; it was cut off."));
        }
        if kind == EntryType::GNULongName {
            while bytes.last() == Some(&0) {
                bytes.pop();
            }
            return self.set_path(&bytes);
        }
        for record in tar::PaxExtensions::new(&bytes) {
            let record = record.map_err(|_| reject("The archive has a pax header that cannot be read."))?;
            match record.key_bytes() {
                b"path" => self.set_path(record.value_bytes())?,
                b"size" => {
                    let told = record.value().ok().and_then(|text| text.parse().ok());
                    self.size = Some(
                        told.ok_or_else(|| reject("The archive has a pax header with a size that is no number."))?,
                    );
                }
                key if key.starts_with(b"GNU.sparse.") => {
                    return Err(reject("The archive has a sparse file; pack it without `--sparse`."));
                }
                // Times, owners, attributes: nothing that we keep.
                _ => {}
            }
        }
        Ok(())
    }

    fn set_path(&mut self, path: &[u8]) -> Result<(), Reject> {
        match self.path.replace(path.to_vec()) {
            Some(before) if before != path => {
                Err(reject(format!("The archive gives one entry two names, {} and {}.", shown(&before), shown(path))))
            }
            _ => Ok(()),
        }
    }
}

/// A name as a path below the root: parts joined by `/`; empty for the root itself.
fn path(name: &[u8]) -> Result<String, Reject> {
    let no = |why: &str| Err(reject(format!("The archive's entry {} {why}", shown(name))));
    let Ok(text) = str::from_utf8(name) else {
        return no("has a name that is not UTF-8.");
    };
    if text.is_empty() {
        return Err(reject("The archive has an entry without a name."));
    }
    if text.starts_with('/') {
        return no("has an absolute path; paths must be relative to the archive's root.");
    }
    if text.len() > MAX_PATH_BYTES {
        return no(&format!("has a path of {} bytes; at most {MAX_PATH_BYTES} are allowed.", text.len()));
    }
    if text.chars().any(misleads) {
        return no("has a control character in its name.");
    }
    if text.contains('\\') {
        return no("has a backslash in its name; folders are separated by `/`.");
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return no("has `..` in its path; paths must stay below the archive's root.");
    }
    if let Some(long) = parts.iter().find(|part| part.len() > MAX_NAME_BYTES) {
        return no(&format!("has a name of {} bytes; at most {MAX_NAME_BYTES} are allowed.", long.len()));
    }
    if parts.len() > MAX_LEVELS {
        return no(&format!("is {} levels deep; at most {MAX_LEVELS} are allowed.", parts.len()));
    }
    Ok(parts.join("/"))
}

/// Characters that make a terminal or a reader see another name: controls, line ends, changes of direction.
fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// A name for a sentence: cut, and with nothing in it that a terminal would obey.
fn shown(name: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(&name[..name.len().min(4 * MAX_NAME_BYTES)]))
}

fn quoted(name: &str) -> String {
    const CUT: usize = 100;
    let safe: String = name
        .chars()
        .take(CUT)
        .map(|c| if misleads(c) { c.escape_unicode().to_string() } else { c.to_string() })
        .collect();
    format!("\"{safe}{}\"", if name.chars().count() > CUT { "…" } else { "" })
}

/// Every path so far, by the form in which a file system that folds case and accents would see it.
#[derive(Default)]
struct Tree {
    seen: HashMap<String, Node>,
}

struct Node {
    path: String,
    folder: bool,
    /// Named by an entry of its own.
    named: bool,
}

impl Tree {
    /// Takes a folder in; returns the folders that are new, outermost first.
    fn folder<'a>(&mut self, path: &'a str) -> Result<Vec<&'a str>, Reject> {
        if path.is_empty() {
            return Ok(Vec::new());
        }
        let mut made = self.parents(path)?;
        if self.insert(path, true, true)? {
            made.push(path);
        }
        Ok(made)
    }

    /// Takes a file in; returns the folders above it that are new, outermost first.
    fn file<'a>(&mut self, path: &'a str) -> Result<Vec<&'a str>, Reject> {
        if path.is_empty() {
            return Err(reject("The archive has a file that is named like its root."));
        }
        let made = self.parents(path)?;
        self.insert(path, false, true)?;
        Ok(made)
    }

    fn parents<'a>(&mut self, path: &'a str) -> Result<Vec<&'a str>, Reject> {
        let mut made = Vec::new();
        for (end, _) in path.match_indices('/') {
            if self.insert(&path[..end], true, false)? {
                made.push(&path[..end]);
            }
        }
        Ok(made)
    }

    fn insert(&mut self, path: &str, folder: bool, named: bool) -> Result<bool, Reject> {
        let folded: String = path.nfc().flat_map(char::to_lowercase).nfc().collect();
        if let Some(node) = self.seen.get_mut(&folded) {
            if node.path != path {
                return Err(reject(format!(
                    "The archive's entries {} and {} are one name where case and accents do not count; rename one.",
                    quoted(&node.path),
                    quoted(path)
                )));
            }
            if node.folder != folder {
                return Err(reject(format!("The archive's entry {} is both a file and a folder.", quoted(path))));
            }
            if node.named && named {
                return Err(reject(format!("The archive has its entry {} twice.", quoted(path))));
            }
            node.named |= named;
            return Ok(false);
        }
        if self.seen.len() == MAX_ENTRIES {
            return Err(reject(too_many()));
        }
        self.seen.insert(folded, Node { path: path.to_owned(), folder, named });
        Ok(true)
    }
}

// ------------------------------------------------------------------------------------------------ the stream

/// What went wrong below tar, which wraps every error in words of its own.
#[derive(Clone, Default)]
struct Stream(Rc<Cell<Fault>>);

#[derive(Clone, Copy, Default)]
enum Fault {
    #[default]
    None,
    TooLarge,
    Damaged,
}

impl Stream {
    fn reject(&self, error: &io::Error) -> Reject {
        match self.0.get() {
            Fault::TooLarge => reject(format!("The archive unpacks to more than {} MiB.", MAX_STREAM_BYTES >> 20)),
            Fault::Damaged => reject(
                "The archive is damaged or was cut off: its gzip data ends early or does not match its checksum.",
            ),
            Fault::None => {
                let text = error.to_string();
                let why = quoted(text.trim());
                reject(format!("The file is not a tar archive, or it is damaged: {why}."))
            }
        }
    }

    fn fail(&self, fault: Fault) -> io::Error {
        self.0.set(fault);
        io::Error::other("gzip")
    }
}

/// The inflated stream, which ends with an error at [`MAX_STREAM_BYTES`].
struct Inflate<'a> {
    decoder: Option<GzDecoder<&'a [u8]>>,
    members: u32,
    left: u64,
    stream: Stream,
}

impl<'a> Inflate<'a> {
    fn new(gz: &'a [u8], stream: Stream) -> Result<Self, Reject> {
        match gz {
            [] => Err(reject("The file is empty; a .tar.gz archive is needed.")),
            [0x1f, 0x8b, ..] => {
                Ok(Self { decoder: Some(GzDecoder::new(gz)), members: 1, left: MAX_STREAM_BYTES, stream })
            }
            [b'P', b'K', 3, 4, ..] => {
                Err(reject("The file is a zip archive; a .tar.gz archive is needed, as `tar czf` makes it."))
            }
            _ => Err(reject("The file is not gzip data; a .tar.gz archive is needed, as `tar czf` makes it.")),
        }
    }
}

impl Read for Inflate<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.decoder {
            let n = decoder.read(buffer).map_err(|_| self.stream.fail(Fault::Damaged))?;
            if n > 0 || buffer.is_empty() {
                self.left = self.left.checked_sub(n as u64).ok_or_else(|| self.stream.fail(Fault::TooLarge))?;
                return Ok(n);
            }
            let Some(decoder) = self.decoder.take() else {
                break;
            };
            let rest = decoder.into_inner();
            // Padding with zeros is usual on old media; anything else after a member is another member.
            if rest.iter().any(|byte| *byte != 0) {
                self.members += 1;
                if self.members > MAX_MEMBERS {
                    return Err(self.stream.fail(Fault::Damaged));
                }
                self.decoder = Some(GzDecoder::new(rest));
            }
        }
        Ok(0)
    }
}
