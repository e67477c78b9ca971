//! `filter` and `sort` of a list (contract/auth-users.md 7, "Filter grammar"): read into a search over the list's columns.
//! What names no column is ignored and told; what cannot be compared with its column is refused with a sentence.

use super::query::Pairs;
use crate::{
    auth::User,
    clock,
    error::{Error, Result},
    store::{
        Id,
        search::{Clause, Column, Kind, Op, Search, Value},
    },
};

/// Bytes of a filter or a sort.
const MAX_BYTES: usize = 4 << 10;
const MAX_CLAUSES: usize = 32;
const MAX_SORTS: usize = 4;
/// `%` signs in one pattern.
const MAX_WILDCARDS: usize = 4;
/// Names that are told as ignored, and characters of each.
const MAX_IGNORED: usize = 10;
const MAX_NAME: usize = 60;

/// The header that names what was ignored.
pub const IGNORED: axum::http::HeaderName = axum::http::HeaderName::from_static("x-ignored-filters");

/// The search that a query asks for.
pub fn read(query: &Pairs, columns: &[Column]) -> Result<Search> {
    let mut search = Search::default();
    if let Some(text) = query.get("filter") {
        bounded("filter", text)?;
        filter(text, columns, &mut search)?;
    }
    if let Some(text) = query.get("sort") {
        bounded("sort", text)?;
        sort(text, columns, &mut search)?;
    }
    search.ignored.truncate(MAX_IGNORED);
    Ok(search)
}

/// Headers of an answer to a search.
pub fn headers(search: &Search) -> axum::http::HeaderMap {
    let mut headers = axum::http::HeaderMap::new();
    if let Ok(value) = search.ignored.join(", ").parse()
        && !search.ignored.is_empty()
    {
        headers.insert(IGNORED, value);
    }
    headers
}

/// Refuses plain users who search by what they may not see of others: names and addresses.
pub fn check_people(search: &Search, user: &User) -> Result<()> {
    let asked = search.filter.iter().flatten().map(|clause| clause.column).chain(search.sort.iter().map(|(c, _)| *c));
    let people = asked.into_iter().any(|column| matches!(column.name, "user_name" | "user_email"));
    if people && !user.is_admin() { Err(Error::forbidden()) } else { Ok(()) }
}

fn bounded(name: &str, text: &str) -> Result<()> {
    if text.len() > MAX_BYTES {
        return Err(Error::invalid(format!("{name} has {} bytes; at most {MAX_BYTES} are read", text.len())));
    }
    Ok(())
}

fn filter(text: &str, columns: &[Column], search: &mut Search) -> Result<()> {
    let mut reader = Reader { rest: text, columns, ignored: &mut search.ignored, clauses: 0 };
    let mut groups: Vec<Vec<Clause>> = Vec::new();
    while let Some(group) = reader.group()? {
        if let [clause] = &group[..]
            && clause.op == Op::Eq
        {
            // One field equal to several values means any of them: a row has one value only.
            let same = groups.iter_mut().find(|g| g.iter().all(|c| c.op == Op::Eq && c.column == clause.column));
            if let Some(same) = same {
                same.push(clause.clone());
                continue;
            }
        }
        if !group.is_empty() {
            groups.push(group);
        }
    }
    search.filter = groups;
    Ok(())
}

fn sort(text: &str, columns: &[Column], search: &mut Search) -> Result<()> {
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let mut words = part.split_whitespace();
        let (name, direction) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let (name, minus) = name.strip_prefix('-').map_or((name, false), |name| (name, true));
        match column(columns, name) {
            Some(column) => search.sort.push((column, minus || direction.eq_ignore_ascii_case("desc"))),
            None => ignore(&mut search.ignored, name),
        }
    }
    if search.sort.len() > MAX_SORTS {
        return Err(Error::invalid(format!("sort names {} fields; at most {MAX_SORTS} count", search.sort.len())));
    }
    Ok(())
}

fn column(columns: &[Column], name: &str) -> Option<Column> {
    columns.iter().find(|column| column.name.eq_ignore_ascii_case(name)).copied()
}

/// The same of a sort alone, in both styles: `field desc` and `-field`.
pub fn sorted(text: &str, columns: &[Column]) -> Result<Search> {
    let mut search = Search::default();
    bounded("sort", text)?;
    sort(text, columns, &mut search)?;
    search.ignored.truncate(MAX_IGNORED);
    Ok(search)
}

/// Notes what was ignored, as a header can hold it.
fn ignore(ignored: &mut Vec<String>, name: &str) {
    let name: String = name.trim().chars().filter(|c| c.is_ascii_graphic() && *c != ',').take(MAX_NAME).collect();
    if !name.is_empty() && !ignored.contains(&name) {
        ignored.push(name);
    }
}

/// Reads clauses from the left.
struct Reader<'t, 'c> {
    rest: &'t str,
    columns: &'c [Column],
    ignored: &'c mut Vec<String>,
    clauses: usize,
}

impl<'t> Reader<'t, '_> {
    /// The next group up to a comma, `None` at the end; empty if nothing in it counts.
    fn group(&mut self) -> Result<Option<Vec<Clause>>> {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n', ',']);
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut group = Vec::new();
        let Some(inner) = self.rest.strip_prefix('(') else {
            group.extend(self.clause(false)?);
            return Ok(Some(group));
        };
        self.rest = inner;
        loop {
            group.extend(self.clause(true)?);
            self.rest = self.rest.trim_start();
            match or(self.rest) {
                Some(rest) => self.rest = rest,
                None => break,
            }
        }
        // Whatever else stands before the next comma is no part of the group.
        let end = self.rest.find(',').unwrap_or(self.rest.len());
        let extra = self.rest[..end].trim().trim_start_matches(')');
        ignore(self.ignored, extra);
        self.rest = &self.rest[end..];
        Ok(Some(group))
    }

    /// One comparison; `None` if it is none, or of a column that the list does not have.
    fn clause(&mut self, within: bool) -> Result<Option<Clause>> {
        self.rest = self.rest.trim_start();
        let start = self.rest;
        let name_end = start.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(start.len());
        let (name, after) = start.split_at(name_end);
        let Some((op, after)) = operator(after).filter(|_| !name.is_empty()) else {
            return Ok(self.skip(start, within));
        };
        let (value, rest) = value(after.trim_start(), within);
        let Some(value) = value else { return Ok(self.skip(start, within)) };
        self.rest = rest;
        let Some(column) = column(self.columns, name) else {
            ignore(self.ignored, name);
            return Ok(None);
        };
        self.clauses += 1;
        if self.clauses > MAX_CLAUSES {
            return Err(Error::invalid(format!("filter has more than {MAX_CLAUSES} clauses")));
        }
        Ok(Some(Clause { column, op, value: literal(column, op, &value)? }))
    }

    /// Passes over what is no clause.
    fn skip(&mut self, start: &'t str, within: bool) -> Option<Clause> {
        let end = bare_end(start, within);
        ignore(self.ignored, &start[..end]);
        self.rest = &start[end..];
        None
    }
}

fn operator(text: &str) -> Option<(Op, &str)> {
    let trimmed = text.trim_start();
    for (sign, op) in [("!=", Op::Ne), (">=", Op::Ge), ("<=", Op::Le), ("=", Op::Eq), (">", Op::Gt), ("<", Op::Lt)] {
        if let Some(rest) = trimmed.strip_prefix(sign) {
            return Some((op, rest));
        }
    }
    let word = trimmed.get(..4).filter(|word| word.eq_ignore_ascii_case("like"))?;
    let rest = &trimmed[word.len()..];
    (text.len() > trimmed.len() && rest.starts_with(char::is_whitespace)).then_some((Op::Like, rest))
}

/// What stands after `OR`, if that is what comes next.
fn or(text: &str) -> Option<&str> {
    let word = text.get(..2).filter(|word| word.eq_ignore_ascii_case("or"))?;
    let rest = &text[word.len()..];
    rest.starts_with([' ', '\t', '(']).then_some(rest)
}

/// A value and what follows it. In quotes anything may stand; a doubled quote is one. Without, it ends at a comma that no
/// parenthesis holds (within a group also at `)` and at ` OR `), and quotes around it do not count.
fn value(text: &str, within: bool) -> (Option<String>, &str) {
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '\'' | '"'))
        && let Some((value, rest)) = quoted(&text[1..], quote, within)
    {
        return (Some(value), rest);
    }
    let end = bare_end(text, within);
    let bare = text[..end].trim();
    let value = (!bare.is_empty()).then(|| bare.trim_matches(['\'', '"']).to_owned());
    (value, &text[end..])
}

/// The text up to the closing quote: one that the end of the clause follows.
fn quoted(text: &str, quote: char, within: bool) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            value.push(c);
            continue;
        }
        if chars.peek().is_some_and(|(_, next)| *next == quote) {
            chars.next();
            value.push(quote);
            continue;
        }
        let rest = &text[at + 1..];
        let next = rest.trim_start();
        let ends =
            next.is_empty() || next.starts_with(',') || (within && (next.starts_with(')') || or(next).is_some()));
        if ends {
            return Some((value, rest));
        }
        value.push(c);
    }
    None
}

/// Where an unquoted value ends.
fn bare_end(text: &str, within: bool) -> usize {
    let mut depth = 0usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            ')' if within => return at,
            ',' if depth == 0 => return at,
            ' ' | '\t' if within && depth == 0 && or(text[at..].trim_start()).is_some() => return at,
            _ => {}
        }
    }
    text.len()
}

/// The literal that a column can be compared with.
fn literal(column: Column, op: Op, text: &str) -> Result<Value> {
    let wrong = |what: &str| {
        let shown: String = text.chars().take(MAX_NAME).collect();
        Error::invalid(format!("filter: {} is compared with {shown:?}; it must be {what}", column.name))
    };
    if op == Op::Like {
        if !matches!(column.kind, Kind::Text | Kind::Id) {
            return Err(Error::invalid(format!("filter: {} is no text; like compares text", column.name)));
        }
        if text.matches('%').count() > MAX_WILDCARDS {
            return Err(Error::invalid(format!("filter: a pattern has at most {MAX_WILDCARDS} % signs")));
        }
        return Ok(Value::Text(pattern(text)));
    }
    match column.kind {
        Kind::Text => Ok(Value::Text(text.replace('\0', ""))),
        Kind::Id => Id::parse(text.trim()).map(Value::Id).ok_or_else(|| wrong("a UUID")),
        Kind::Number => {
            text.trim().parse().ok().filter(|n: &f64| n.is_finite()).map(Value::Number).ok_or_else(|| wrong("a number"))
        }
        Kind::Flag => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "on" | "1" => Ok(Value::Flag(true)),
            "false" | "f" | "no" | "n" | "off" | "0" => Ok(Value::Flag(false)),
            _ => Err(wrong("true or false")),
        },
        Kind::Time => clock::parse(text)
            .map(Value::Time)
            .ok_or_else(|| wrong("a date or time such as 2026-11-24 or 2026-11-24T02:56:01")),
    }
}

/// A pattern that both databases take: a `\` at its end would take the meaning of nothing away.
fn pattern(text: &str) -> String {
    let mut pattern = text.replace('\0', "");
    let slashes = pattern.chars().rev().take_while(|c| *c == '\\').count();
    if slashes % 2 == 1 {
        pattern.push('\\');
    }
    pattern
}
