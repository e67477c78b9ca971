//! JSON from outside, made into JSON that strict parsers and both databases take: one pass, no recursion, no tree.
//! What needs no mending comes out byte for byte: digits, order of keys, repeated keys and blanks stay as written.

use std::fmt;

/// Containers within each other.
pub const MAX_LEVELS: usize = 128;
/// Values of one document, unless it is a result: objects, arrays and what is in them; keys do not count.
pub const MAX_VALUES: usize = 1_000_000;
/// Digits of one number, and the greatest decimal exponent. PostgreSQL writes `1e131071` out, digit by digit.
pub const MAX_DIGITS: usize = 400;

/// Why a document is no JSON: a sentence with its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct JsonError {
    /// From 1.
    pub line: usize,
    /// Characters, from 1.
    pub column: usize,
    pub why: String,
    /// It is JSON, as far as it was read, and more of it than is taken.
    pub too_much: bool,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "The JSON is not valid at line {}, column {}: {}.", self.line, self.column, self.why)
    }
}

/// Reads a document and mends what Python writes and JSON or PostgreSQL refuses:
///
/// * `NaN`, `Infinity`, `-Infinity`, and numbers of more than [`MAX_DIGITS`] digits or with a decimal exponent beyond
///   ±[`MAX_DIGITS`], become `null`;
/// * `\u0000` and surrogates without their other half become `\ufffd`; a raw NUL in a string and bytes that are not
///   UTF-8 become U+FFFD;
/// * a byte order mark at the start is dropped.
///
/// # Errors
/// A document that is no JSON even so, is deeper than [`MAX_LEVELS`], or has more than `max_values` values.
pub fn mend(bytes: &[u8], max_values: usize) -> Result<String, JsonError> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut pen = Pen { text, bytes: text.as_bytes(), at: 0, out: String::new(), copied: 0 };
    pen.document(max_values)?;
    pen.out.push_str(&text[pen.copied..]);
    Ok(pen.out)
}

#[derive(Clone, Copy, PartialEq)]
enum Container {
    Array,
    Object,
}

/// A place in the text, and what has been written so far: everything before `copied`.
struct Pen<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    out: String,
    copied: usize,
}

impl Pen<'_> {
    fn document(&mut self, max_values: usize) -> Result<(), JsonError> {
        let mut open: Vec<Container> = Vec::new();
        let mut values = 0;
        self.blanks();
        loop {
            values += 1;
            if values > max_values {
                return self.too_much(format!("more than {max_values} values"));
            }
            let opened = match self.peek() {
                Some(b'{') => Some(Container::Object),
                Some(b'[') => Some(Container::Array),
                _ => None,
            };
            if let Some(container) = opened {
                if open.len() == MAX_LEVELS {
                    return self.too_much(format!("more than {MAX_LEVELS} levels of arrays and objects"));
                }
                self.at += 1;
                self.blanks();
                open.push(container);
                match (container, self.peek()) {
                    (Container::Object, Some(b'}')) | (Container::Array, Some(b']')) => {}
                    (Container::Object, _) => {
                        self.key()?;
                        continue;
                    }
                    (Container::Array, _) => continue,
                }
            } else {
                self.scalar()?;
            }
            // A value is complete; so may be the containers around it.
            loop {
                self.blanks();
                match (open.last(), self.peek()) {
                    (None, None) => return Ok(()),
                    (None, _) => return self.wrong("something stands behind the document"),
                    (Some(Container::Array), Some(b']')) | (Some(Container::Object), Some(b'}')) => {
                        self.at += 1;
                        open.pop();
                    }
                    (Some(container), Some(b',')) => {
                        self.at += 1;
                        self.blanks();
                        if *container == Container::Object {
                            self.key()?;
                        }
                        break;
                    }
                    (Some(Container::Array), _) => return self.expected("`,` or `]`"),
                    (Some(Container::Object), _) => return self.expected("`,` or `}`"),
                }
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// A key, its colon, and the blanks before the value.
    fn key(&mut self) -> Result<(), JsonError> {
        if self.peek() != Some(b'"') {
            return self.expected("a key in double quotes");
        }
        self.string()?;
        self.blanks();
        if self.peek() != Some(b':') {
            return self.expected("`:`");
        }
        self.at += 1;
        self.blanks();
        Ok(())
    }

    fn scalar(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b'"') => return self.string(),
            Some(b'-' | b'0'..=b'9') if !self.bytes[self.at..].starts_with(b"-Infinity") => return self.number(),
            _ => {}
        }
        for (word, good) in
            [("true", true), ("false", true), ("null", true), ("NaN", false), ("Infinity", false), ("-Infinity", false)]
        {
            let rest = &self.bytes[self.at..];
            if rest.starts_with(word.as_bytes()) && !rest.get(word.len()).is_some_and(u8::is_ascii_alphanumeric) {
                let start = self.at;
                self.at += word.len();
                if !good {
                    self.replace(start, "null");
                }
                return Ok(());
            }
        }
        self.expected("a value")
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let mut digits = match self.peek() {
            Some(b'0') => {
                self.at += 1;
                1
            }
            _ => self.digits()?,
        };
        if self.peek() == Some(b'.') {
            self.at += 1;
            digits += self.digits()?;
        }
        let mut exponent = 0;
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            let from = self.at;
            digits += self.digits()?;
            exponent = self.text[from..self.at].trim_start_matches('0').parse().unwrap_or_else(|_| {
                // Nothing but zeros, or too many digits for any number.
                if self.bytes[from..self.at].iter().all(|byte| *byte == b'0') { 0 } else { usize::MAX }
            });
        }
        if self.peek().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'.') {
            return self.expected("the end of the number");
        }
        if digits > MAX_DIGITS || exponent > MAX_DIGITS {
            self.replace(start, "null");
        }
        Ok(())
    }

    /// At least one digit; how many.
    fn digits(&mut self) -> Result<usize, JsonError> {
        let n = self.bytes[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if n == 0 {
            return self.expected("a digit");
        }
        self.at += n;
        Ok(n)
    }

    fn string(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0) => {
                    self.at += 1;
                    self.replace(self.at - 1, "\u{fffd}");
                }
                Some(0x01..=0x1f) => return self.wrong("a control character in a string, which must be escaped"),
                Some(_) => self.at += 1,
                None => {
                    self.at = start;
                    return self.wrong("a string that does not end");
                }
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                return Ok(());
            }
            Some(b'u') => {}
            _ => return self.wrong("an escape that JSON does not have"),
        }
        let Some(unit) = self.unit(self.at) else {
            return self.wrong("`\\u` without four hexadecimal digits");
        };
        self.at += 6;
        match unit {
            0xd800..=0xdbff if matches!(self.unit(self.at), Some(0xdc00..=0xdfff)) => self.at += 6,
            0 | 0xd800..=0xdfff => self.replace(start, "\\ufffd"),
            _ => {}
        }
        Ok(())
    }

    /// The value of a `\uXXXX` at a place.
    fn unit(&self, at: usize) -> Option<u16> {
        let digits = self.bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, byte| Some(unit * 16 + char::from(*byte).to_digit(16)? as u16))
    }

    /// Writes something else for what stands from `start` to here.
    fn replace(&mut self, start: usize, with: &str) {
        self.out.push_str(&self.text[self.copied..start]);
        self.out.push_str(with);
        self.copied = self.at;
    }

    fn expected<T>(&self, what: &str) -> Result<T, JsonError> {
        match self.text[self.at..].chars().next() {
            None => self.wrong(format!("it ends where {what} is expected")),
            Some(c @ '!'..='~') => self.wrong(format!("{what} is expected, not `{c}`")),
            Some(c) => self.wrong(format!("{what} is expected, not {}", c.escape_unicode())),
        }
    }

    fn wrong<T>(&self, why: impl Into<String>) -> Result<T, JsonError> {
        let before = &self.text[..self.at];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Err(JsonError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            why: why.into(),
            too_much: false,
        })
    }

    fn too_much<T>(&self, why: String) -> Result<T, JsonError> {
        self.wrong(why).map_err(|error| JsonError { too_much: true, ..error })
    }
}
