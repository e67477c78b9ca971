//! `requirements.txt`, parsed by us before any installer sees it, since installers read files, expand variables and
//! obey options that stand in it. What passes is written anew from its parts; nothing of the text itself goes on.

use std::{collections::BTreeSet, fmt};

use sha2::{Digest, Sha256};
use url::{Host, Url};

/// Bytes of the file.
pub const MAX_BYTES: usize = 256 << 10;
pub const MAX_LINES: usize = 1_000;
/// Parentheses within parentheses of one marker.
const MAX_DEPTH: usize = 32;

/// What a package needs, in the order in which it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirements {
    pub lines: Vec<Requirement>,
}

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Line of the file, from 1.
    pub line: usize,
    /// Normalised (`Foo_Bar` is `foo-bar`); `None` only for a URL whose archive names itself.
    pub name: Option<String>,
    pub extras: Vec<String>,
    pub source: Source,
    /// An environment marker, written anew.
    pub marker: Option<String>,
    /// `sha256:<hex>` and the like.
    pub hashes: Vec<String>,
}

/// Where a package comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The index; the version specifiers, `>=1,<2` or empty.
    Index(String),
    /// A wheel or a source archive at an `https` URL.
    Archive { url: String, host: String },
    /// A repository; the URL begins with `git+https://` and may end with `@<revision>`.
    Git { url: String, host: String },
}

/// A line that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// Line of the file, from 1.
    pub line: usize,
    /// The line, cut, control characters escaped.
    pub text: String,
    /// What is wrong and what is right.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "requirements.txt, line {}, `{}`: {}", self.line, self.text, self.why)
    }
}

impl Requirements {
    /// Reads the text of a `requirements.txt`.
    ///
    /// # Errors
    /// The first line that is refused, with a sentence.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines: Vec<&str> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
        if text.len() > MAX_BYTES {
            let why = format!("the file has {} bytes; at most {MAX_BYTES} are allowed.", text.len());
            return Err(refused(1, lines[0], why));
        }
        if lines.len() > MAX_LINES + 1 || lines.get(MAX_LINES).is_some_and(|line| !line.is_empty()) {
            let why = format!("the file has more than {MAX_LINES} lines.");
            return Err(refused(MAX_LINES + 1, lines[MAX_LINES], why));
        }
        let mut parsed = Self::default();
        let mut lines = lines.into_iter().enumerate();
        while let Some((i, line)) = lines.next() {
            let number = i + 1;
            let mut whole = without_comment(line).to_owned();
            while let Some(begun) = whole.strip_suffix('\\') {
                let more = lines.next().map_or("", |(_, more)| without_comment(more));
                whole = format!("{begun} {more}");
            }
            let whole = whole.trim_matches([' ', '\t']);
            if whole.is_empty() {
                continue;
            }
            let requirement = requirement(whole).map_err(|why| refused(number, whole, why))?;
            parsed.lines.push(Requirement { line: number, ..requirement });
        }
        Ok(parsed)
    }

    /// What an installer is given: one requirement a line, sorted, each once; empty if there is none.
    #[must_use]
    pub fn canonical(&self) -> String {
        let lines: BTreeSet<String> = self.lines.iter().map(|line| format!("{line}\n")).collect();
        lines.into_iter().collect()
    }

    /// `sha256:<hex>` of [`Self::canonical`].
    #[must_use]
    pub fn digest(&self) -> String {
        let hash = Sha256::digest(self.canonical());
        hash.iter().fold(String::from("sha256:"), |text, byte| text + &format!("{byte:02x}"))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether every package comes from the index. Only then may authors share an environment.
    #[must_use]
    pub fn only_index(&self) -> bool {
        self.lines.iter().all(|line| matches!(line.source, Source::Index(_)))
    }

    /// Whether a repository must be cloned, for which the sandbox needs `git`.
    #[must_use]
    pub fn needs_git(&self) -> bool {
        self.lines.iter().any(|line| matches!(line.source, Source::Git { .. }))
    }

    /// The hosts of direct references, and those to which the well-known ones redirect; port 443 all.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let mut hosts = BTreeSet::new();
        for line in &self.lines {
            let (Source::Archive { host, .. } | Source::Git { host, .. }) = &line.source else { continue };
            hosts.insert(host.clone());
            if host == "github.com" {
                hosts.insert("codeload.github.com".into());
                hosts.insert("objects.githubusercontent.com".into());
                hosts.insert("release-assets.githubusercontent.com".into());
            }
        }
        hosts.into_iter().collect()
    }
}

/// As an installer reads it.
impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(name) = &self.name {
            f.write_str(name)?;
            if !self.extras.is_empty() {
                write!(f, "[{}]", self.extras.join(","))?;
            }
        }
        match (&self.source, &self.name) {
            (Source::Index(specifiers), _) => f.write_str(specifiers)?,
            (Source::Archive { url, .. } | Source::Git { url, .. }, Some(_)) => write!(f, " @ {url}")?,
            (Source::Archive { url, .. } | Source::Git { url, .. }, None) => f.write_str(url)?,
        }
        if let Some(marker) = &self.marker {
            write!(f, " ; {marker}")?;
        }
        self.hashes.iter().try_for_each(|hash| write!(f, " --hash={hash}"))
    }
}

fn refused(line: usize, text: &str, why: impl Into<String>) -> Refused {
    const CUT: usize = 100;
    let mut shown: String = text
        .chars()
        .take(CUT)
        .map(|c| if matches!(c, ' '..='~') { c.to_string() } else { c.escape_unicode().to_string() })
        .collect();
    if text.chars().count() > CUT {
        shown.push('…');
    }
    Refused { line, text: shown, why: why.into() }
}

/// A comment begins with `#` at the start of a line or after a blank, as in pip.
fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    for (i, c) in line.char_indices() {
        if c == '#' && matches!(before, ' ' | '\t') {
            return &line[..i];
        }
        before = c;
    }
    line
}

fn requirement(text: &str) -> Result<Requirement, String> {
    if let Some(c) = text.chars().find(|c| !matches!(c, ' '..='~' | '\t')) {
        let what = if c.is_control() { "a control character" } else { "a character beyond ASCII" };
        return Err(format!("{what} ({}) is not allowed outside comments.", c.escape_unicode()));
    }
    if text.contains('$') {
        return Err("`$` is not allowed: variables of the environment are not expanded. Write the value itself.".into());
    }
    if text.starts_with('-') {
        return Err(option(text));
    }
    let (text, hashes) = split_hashes(text)?;
    if let Some(scheme) = scheme(text) {
        return bare(text, scheme, hashes);
    }
    if text.starts_with(['.', '/', '~', '\\']) {
        return Err(local());
    }
    let mut rest = Cursor { text, at: 0, depth: 0 };
    let name = rest.take(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    let ends_well = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    if !ends_well(name) {
        return Err("a requirement begins with the name of a package, for example `numpy>=1.26`.".into());
    }
    let lower = name.to_ascii_lowercase();
    if [".whl", ".zip", ".tar.gz", ".tgz", ".txt"].iter().any(|end| lower.ends_with(end))
        || rest.starts("/")
        || rest.starts("\\")
    {
        return Err(local());
    }
    let mut extras = Vec::new();
    if rest.eat("[") {
        while !rest.eat("]") {
            let extra = rest.take(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
            if !ends_well(extra) || !(rest.eat(",") || rest.starts("]")) {
                return Err("extras are written like `name[one,two]`.".into());
            }
            extras.push(normal(extra));
        }
        extras.sort();
        extras.dedup();
    }
    let (source, marker) = if rest.eat("@") {
        let (url, marker) = rest.url_and_marker()?;
        (direct(url)?.0, marker)
    } else {
        (Source::Index(rest.specifiers()?), rest.marker_or_end()?)
    };
    Ok(Requirement { line: 0, name: Some(normal(name)), extras, source, marker, hashes })
}

/// A URL without a name before it.
fn bare(text: &str, scheme: &str, hashes: Vec<String>) -> Result<Requirement, String> {
    if !matches!(scheme, "https" | "git+https") {
        return Err(bad_scheme(scheme));
    }
    let (url, marker) = Cursor { text, at: 0, depth: 0 }.url_and_marker()?;
    let (source, name) = direct(url)?;
    Ok(Requirement { line: 0, name, extras: Vec::new(), source, marker, hashes })
}

fn local() -> String {
    "a path of a file or folder is not allowed; name a package of the index, or give its `https://` URL.".into()
}

fn bad_scheme(scheme: &str) -> String {
    format!("`{scheme}:` is not allowed; direct references begin with `https://` or `git+https://`.")
}

fn option(text: &str) -> String {
    let name: String = text.chars().take_while(|c| !matches!(c, ' ' | '\t' | '=')).take(40).collect();
    let advice = match name.as_str() {
        n if n.starts_with("-r") || n.starts_with("-c") || n.starts_with("--req") || n.starts_with("--con") => {
            "Write the packages of that file here."
        }
        n if n.starts_with("-e") || n.starts_with("--editable") => "Name the package, or its `git+https://` URL.",
        n if n.starts_with("-i")
            || n.starts_with("-f")
            || n.contains("index")
            || n.contains("find-links")
            || n.contains("host") =>
        {
            "The package index is a setting of the server."
        }
        _ => "Remove it.",
    };
    format!("options (here `{name}`) are not allowed. {advice}")
}

/// Cuts `--hash=<algorithm>:<hex>` off the end of a line.
fn split_hashes(text: &str) -> Result<(&str, Vec<String>), String> {
    let Some(at) = text.match_indices("--").map(|(i, _)| i).find(|i| text[..*i].ends_with([' ', '\t'])) else {
        return Ok((text, Vec::new()));
    };
    let mut hashes = BTreeSet::new();
    let mut words = text[at..].split([' ', '\t']).filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let hash = match word.strip_prefix("--hash") {
            Some("") => words.next().unwrap_or_default(),
            Some(rest) => rest.strip_prefix('=').unwrap_or_default(),
            None => return Err(option(word)),
        };
        let (algorithm, hex) = hash.split_once(':').unwrap_or_default();
        let digits = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => 0,
        };
        if digits == 0 || hex.len() != digits || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err("a hash is written like `--hash=sha256:` with 64 hexadecimal digits.".into());
        }
        hashes.insert(hash.to_ascii_lowercase());
    }
    Ok((text[..at].trim_end_matches([' ', '\t']), hashes.into_iter().collect()))
}

/// The scheme if a text begins like a URL: `https`, `file`, `git+ssh`, also the `C` of `C:\`.
fn scheme(text: &str) -> Option<&str> {
    let (before, _) = text.split_once(':')?;
    let like = before.starts_with(|c: char| c.is_ascii_alphabetic())
        && before.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-'));
    like.then_some(before)
}

fn normal(name: &str) -> String {
    let words: Vec<&str> = name.split(['-', '_', '.']).filter(|word| !word.is_empty()).collect();
    words.join("-").to_ascii_lowercase()
}

/// A direct reference, and the name that its `#egg=` gives.
fn direct(text: &str) -> Result<(Source, Option<String>), String> {
    let scheme = scheme(text).unwrap_or_default();
    let git = match scheme {
        "https" => false,
        "git+https" => true,
        "" => return Err(local()),
        _ => return Err(bad_scheme(scheme)),
    };
    let wrong = || "this is not a URL that can be used; it is written like `https://host/path`.".to_owned();
    if text.contains(['\\', '`', '"', '\'', '<', '>', '{', '}', '|', '^', ';', '*'])
        || !text[scheme.len()..].starts_with("://")
    {
        return Err(wrong());
    }
    let mut url = Url::parse(text.strip_prefix("git+").unwrap_or(text)).map_err(|_| wrong())?;
    let Some(Host::Domain(host)) = url.host() else {
        return Err("the host of a URL is a name, not an address.".into());
    };
    let host = host.to_owned();
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user name or password in a URL is not allowed: it would stand in logs.".into());
    }
    if url.port().is_some() {
        return Err("only the usual port of https, 443, is allowed.".into());
    }
    let (mut name, mut kept) = (None, Vec::new());
    for pair in url.fragment().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let plain = |more: &[u8]| {
            !value.is_empty()
                && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b) || more.contains(&b))
        };
        match key {
            // `name[extra]` is an old habit; extras stand before the `@`.
            "egg" if plain(b"") && !normal(value).is_empty() => name = Some(normal(value)),
            "subdirectory" if plain(b"/") && !value.split('/').any(|part| part == "..") => kept.push(pair.to_owned()),
            "sha256" | "sha384" | "sha512" if plain(b"") && !git => kept.push(pair.to_owned()),
            _ => {
                return Err(format!("`#{key}` of a URL may be `#egg=name`, `#subdirectory=path` or `#sha256=digest`."));
            }
        }
    }
    kept.sort();
    url.set_fragment(Some(&kept.join("&")).filter(|kept| !kept.is_empty()).map(String::as_str));
    let path = url.path();
    if git {
        // A revision that begins with `-` would be an option of git.
        let revision = path.rsplit_once('@').map(|(_, revision)| revision);
        let bad = |revision: &str| {
            revision.is_empty()
                || revision.starts_with('-')
                || !revision.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/+-".contains(&b))
        };
        if revision.is_some_and(bad) || path.matches('@').count() > 1 || path.len() < 2 {
            return Err("a repository is written like `git+https://host/path@revision`.".into());
        }
        return Ok((Source::Git { url: format!("git+{url}"), host }, name));
    }
    let file = path.to_ascii_lowercase();
    if ![".whl", ".tar.gz", ".zip", ".tgz", ".tar.bz2", ".tar.xz"].iter().any(|end| file.ends_with(end)) {
        return Err("a URL names a wheel (`.whl`) or a source archive (`.tar.gz`, `.zip`); a repository begins with `git+https://`.".into());
    }
    Ok((Source::Archive { url: url.into(), host }, name))
}

// ------------------------------------------------------------------------------------------------ PEP 508

/// A place in the text of one requirement; ASCII only. Blanks before a token do not count.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Cursor<'a> {
    fn blanks(&mut self) {
        self.at += self.rest().bytes().take_while(|b| matches!(b, b' ' | b'\t')).count();
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn starts(&mut self, token: &str) -> bool {
        self.blanks();
        self.rest().starts_with(token)
    }

    fn eat(&mut self, token: &str) -> bool {
        let there = self.starts(token);
        if there {
            self.at += token.len();
        }
        there
    }

    fn take(&mut self, belongs: impl Fn(u8) -> bool) -> &'a str {
        self.blanks();
        let n = self.rest().bytes().take_while(|b| belongs(*b)).count();
        let token = &self.rest()[..n];
        self.at += n;
        token
    }

    /// One of the operators that compare versions, the longest that fits.
    fn comparison(&mut self) -> Option<&'static str> {
        ["===", "~=", "==", "!=", "<=", ">=", "<", ">"].into_iter().find(|operator| self.eat(operator))
    }

    fn specifiers(&mut self) -> Result<String, String> {
        let wrong = "versions are written like `name>=1.2,<2`.";
        let parenthesis = self.eat("(");
        let mut all = BTreeSet::new();
        if !self.starts(";") && !self.starts(")") && !self.rest().is_empty() {
            loop {
                let operator = self.comparison().ok_or(wrong)?;
                let version = self.take(|b| b.is_ascii_alphanumeric() || b".*+!_-".contains(&b));
                if !version.starts_with(|c: char| c.is_ascii_alphanumeric()) {
                    return Err(wrong.into());
                }
                all.insert(format!("{operator}{version}"));
                if !self.eat(",") {
                    break;
                }
            }
        }
        if parenthesis && !self.eat(")") {
            return Err(wrong.into());
        }
        Ok(all.into_iter().collect::<Vec<_>>().join(","))
    }

    fn url_and_marker(&mut self) -> Result<(&'a str, Option<String>), String> {
        let url = self.take(|b| !matches!(b, b' ' | b'\t'));
        if url.contains(';') {
            return Err("put a blank between a URL and the `;` behind it.".into());
        }
        Ok((url, self.marker_or_end()?))
    }

    fn marker_or_end(&mut self) -> Result<Option<String>, String> {
        let marker = if self.eat(";") { Some(self.either()?) } else { None };
        self.blanks();
        match self.rest() {
            "" => Ok(marker),
            rest => Err(format!("`{}` is not understood here.", &rest[..rest.len().min(40)])),
        }
    }

    fn either(&mut self) -> Result<String, String> {
        let mut all = vec![self.both()?];
        while self.word("or") {
            all.push(self.both()?);
        }
        Ok(all.join(" or "))
    }

    fn both(&mut self) -> Result<String, String> {
        let mut all = vec![self.condition()?];
        while self.word("and") {
            all.push(self.condition()?);
        }
        Ok(all.join(" and "))
    }

    fn condition(&mut self) -> Result<String, String> {
        if self.eat("(") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(format!("more than {MAX_DEPTH} parentheses within each other."));
            }
            let inner = self.either()?;
            self.depth -= 1;
            return if self.eat(")") { Ok(format!("({inner})")) } else { Err("a parenthesis is not closed.".into()) };
        }
        let left = self.operand()?;
        let operator = if let Some(operator) = self.comparison() {
            operator
        } else if self.word("in") {
            "in"
        } else if self.word("not") && self.word("in") {
            "not in"
        } else {
            return Err(marker_shape());
        };
        Ok(format!("{left} {operator} {}", self.operand()?))
    }

    /// A word that does not go on in letters.
    fn word(&mut self, word: &str) -> bool {
        let begins = self.starts(word);
        let ends = !self
            .rest()
            .get(word.len()..)
            .unwrap_or_default()
            .starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        begins && ends && self.eat(word)
    }

    fn operand(&mut self) -> Result<String, String> {
        for quote in ["\"", "'"] {
            if self.eat(quote) {
                let Some((inside, _)) = self.rest().split_once(quote) else {
                    return Err("a quote is not closed.".into());
                };
                // pip takes all from a word that begins with `-` on for options, also within quotes.
                let plain = |b: u8| b.is_ascii_alphanumeric() || b" ._,*+!~:/()@-".contains(&b);
                if !inside.bytes().all(plain) || inside.starts_with('-') || inside.contains(" -") {
                    return Err("a text in a marker is made of words, numbers and `._,*+!~:/()@-`.".into());
                }
                self.at += inside.len() + 1;
                return Ok(format!("\"{inside}\""));
            }
        }
        let variable = self.take(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'));
        Ok(match variable {
            "os.name" => "os_name",
            "sys.platform" => "sys_platform",
            "platform.version" => "platform_version",
            "platform.machine" => "platform_machine",
            "platform.python_implementation" | "python_implementation" => "platform_python_implementation",
            "python_version"
            | "python_full_version"
            | "os_name"
            | "sys_platform"
            | "platform_release"
            | "platform_system"
            | "platform_version"
            | "platform_machine"
            | "platform_python_implementation"
            | "implementation_name"
            | "implementation_version"
            | "extra" => variable,
            _ => return Err(marker_shape()),
        }
        .to_owned())
    }
}

fn marker_shape() -> String {
    "a marker is written like `; python_version < \"3.11\"`.".into()
}
