//! The fields of a profile as clients send them: brought into form, checked, refused with the field's sentence
//! (contract/auth-users.md 7, "Field validation"). The same on every way to a profile.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value as Json;
use unicode_normalization::UnicodeNormalization;

use crate::{
    error::{Error, Result},
    json::Object,
    store::{
        search::Value,
        users::{Changes, Role},
    },
};

/// Which of the three ways to a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `POST /user`: flags must be true or false.
    Create,
    /// `PATCH /user/<u>`: role and limits too; flags of another type are passed over.
    Update,
    /// `PATCH /user/me`: what a person may change of himself.
    Own,
}

const SECTORS: [&str; 16] = [
    "gov_environment",
    "gov_agriculture",
    "gov_land_management",
    "gov_other",
    "international_org",
    "ngo_development",
    "ngo_community",
    "ngo_conservation",
    "ngo_other",
    "academic",
    "consulting",
    "private_agri_forestry",
    "private_other",
    "independent_researcher",
    "student",
    "other",
];
const GENDERS: [&str; 5] = ["woman", "man", "non_binary", "self_describe", "prefer_not_to_say"];
const PURPOSES: [&str; 12] = [
    "reporting",
    "academic_research",
    "policy_planning",
    "land_restoration",
    "project_monitoring",
    "environmental_assessment",
    "agriculture_forestry",
    "teaching_education",
    "conservation_planning",
    "commercial",
    "community_initiatives",
    "other",
];
/// Flags beside `email_notifications_enabled` and `gee_license_acknowledged`.
const SUBSCRIPTIONS: [&str; 3] =
    ["email_subscription_news", "email_subscription_engagement", "email_subscription_system_updates"];
const MARKS: [&str; 2] = ["is_plugin_user", "is_in_mailing_list"];

/// The largest limit of active runs that can be given.
const MAX_CONCURRENT: i64 = 100_000;

#[expect(clippy::unwrap_used, reason = "the pattern is a constant")]
static DANGEROUS: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)<script\b[^>]*>|javascript:|vbscript:|\bon\w+\s*=|data:text/html|<(iframe|object|embed|form)\b")
        .unwrap()
});
#[expect(clippy::unwrap_used, reason = "the pattern is a constant")]
static EMAIL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^[A-Za-z0-9.+_-]+@[A-Za-z0-9._-]+\.[a-zA-Z]*$").unwrap());
#[expect(clippy::unwrap_used, reason = "the patterns are constants")]
static LETTERS: LazyLock<[Regex; 3]> = LazyLock::new(|| {
    [
        Regex::new(r"^[\p{L}\p{M}\p{N}\p{Zs}'.\-]*$").unwrap(),
        Regex::new(r"^[\p{L}\p{M}\p{Zs}'.()\-]*$").unwrap(),
        Regex::new(r"^[\p{L}\p{M}\p{N}\p{Zs}'.()&,\[\]/\-]*$").unwrap(),
    ]
});

/// An address in lower case.
pub fn email(text: &str) -> Result<String, &'static str> {
    let email = text.trim().to_lowercase();
    // The column holds 120 characters; the rule itself would allow 254.
    if email.chars().count() > 120 {
        return Err("Email address too long");
    }
    if EMAIL.is_match(&email) { Ok(email) } else { Err("Invalid email format") }
}

/// Text without tags and entities, composed, cut; what could still run in a page is refused.
fn clean(text: &str, max: usize) -> Result<String, &'static str> {
    let text = without_tags(text.trim());
    let text = html_escape::decode_html_entities(&text).into_owned();
    if DANGEROUS.is_match(&text) {
        return Err("Invalid content detected");
    }
    Ok(text.nfc().take(max).collect::<String>().trim_end().to_owned())
}

/// Tags, comments and CDATA vanish; one that does not end takes the rest with it. `1 < 2` is no tag.
pub fn without_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        let tag = &rest[at..];
        let opens = tag[1..].starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '!' | '?'));
        if !opens {
            out.push('<');
            rest = &tag[1..];
            continue;
        }
        let end = if tag.starts_with("<!--") {
            tag.find("-->").map(|end| end + 3)
        } else if tag.starts_with("<![CDATA[") {
            tag.find("]]>").map(|end| end + 3)
        } else {
            tag.find('>').map(|end| end + 1)
        };
        rest = end.map_or("", |end| &tag[end..]);
    }
    out.push_str(rest);
    out
}

/// A value as text: text itself, numbers and the rest as they are written.
fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn invalid<T>(sentence: &str) -> Result<T> {
    Err(Error::invalid(sentence))
}

/// Reads the fields of a body, in the order of the contract: the first that is wrong is told.
struct Reader<'b> {
    body: &'b Object,
    changes: Changes,
}

impl Reader<'_> {
    /// The value of a field; `None` if it is absent.
    fn value(&self, name: &str) -> Option<Json> {
        self.body.has(name).then(|| self.body.get(name).unwrap_or(Json::Null))
    }

    fn set(&mut self, column: &'static str, value: Option<Value>) {
        self.changes.0.push((column, value));
    }

    /// A text that may be absent, null or empty, else has these characters only.
    fn letters(&mut self, name: &'static str, max: usize, rule: &Regex, sentence: &str) -> Result<()> {
        match self.value(name) {
            None => {}
            Some(Json::Null) => self.set(name, None),
            Some(value) => {
                let cleaned = clean(&text(&value), max).map_err(Error::invalid)?;
                if !rule.is_match(&cleaned) {
                    return invalid(sentence);
                }
                self.set(name, Some(Value::Text(cleaned)));
            }
        }
        Ok(())
    }

    fn free(&mut self, name: &'static str) -> Result<()> {
        match self.value(name) {
            None => {}
            Some(Json::Null) => self.set(name, None),
            Some(value) => {
                let cleaned = clean(&text(&value), 200).map_err(Error::invalid)?;
                self.set(name, Some(Value::Text(cleaned.replace('\0', ""))));
            }
        }
        Ok(())
    }

    fn one_of(&mut self, name: &'static str, words: &[&str], sentence: &str) -> Result<()> {
        match self.value(name) {
            None => {}
            Some(Json::Null) => self.set(name, None),
            Some(Json::String(word)) => {
                let word = word.trim().to_lowercase();
                if !word.is_empty() && !words.contains(&word.as_str()) {
                    return invalid(sentence);
                }
                self.set(name, Some(Value::Text(word)));
            }
            Some(_) => return invalid(sentence),
        }
        Ok(())
    }

    fn flag(&mut self, name: &'static str, strict: bool) -> Result<()> {
        match self.value(name) {
            Some(Json::Bool(flag)) => self.set(name, Some(Value::Flag(flag))),
            Some(_) if strict => return invalid(&format!("{name} must be a boolean")),
            _ => {}
        }
        Ok(())
    }

    fn name(&mut self, way: Way) -> Result<()> {
        let Some(value) = self.value("name") else { return Ok(()) };
        let empty = if way == Way::Create { "Name is required" } else { "Name cannot be empty" };
        let raw = if value.is_null() { String::new() } else { text(&value) };
        if raw.is_empty() {
            return invalid(empty);
        }
        let name = clean(&raw, 120).map_err(Error::invalid)?;
        if name.is_empty() {
            return invalid("Name cannot be empty");
        }
        if !LETTERS[0].is_match(&name) {
            return invalid("Name contains invalid characters");
        }
        self.set("name", Some(Value::Text(name)));
        Ok(())
    }
}

/// What a new account says of itself.
#[derive(Debug)]
pub struct Registration {
    pub email: String,
    pub name: String,
    pub role: Option<Role>,
    pub changes: Changes,
}

/// Reads a registration.
pub fn registration(body: &Object) -> Result<Registration> {
    let filled = |name: &str| body.get::<Json>(name).is_some_and(|value| value != "" && !value.is_null());
    if !filled("email") {
        return invalid("Email is required");
    }
    if !filled("name") {
        return invalid("Name is required");
    }
    let Some(address) = body.get::<String>("email") else { return invalid("Invalid email format") };
    let email = email(&address).map_err(Error::invalid)?;
    let mut reader = Reader { body, changes: Changes::default() };
    read(&mut reader, Way::Create)?;
    let role = role(body)?;
    let mut changes = reader.changes;
    let at = changes.0.iter().position(|(column, _)| *column == "name");
    let Some((_, Some(Value::Text(name)))) = at.map(|at| changes.0.remove(at)) else {
        return invalid("Name is required");
    };
    Ok(Registration { email, name, role, changes })
}

fn role(body: &Object) -> Result<Option<Role>> {
    if !body.has("role") {
        return Ok(None);
    }
    let role = body.get::<String>("role").and_then(|word| Role::parse(&word));
    role.map(Some).ok_or_else(|| Error::invalid("Invalid role"))
}

/// Reads changes of an existing profile; the role beside them.
pub fn changes(body: &Object, way: Way) -> Result<(Changes, Option<Role>)> {
    let mut reader = Reader { body, changes: Changes::default() };
    if way == Way::Update && body.is_set("email") {
        let address = body.get::<String>("email").ok_or_else(|| Error::invalid("Invalid email format"))?;
        reader.name(way)?;
        // Checked as ever, and never changed: an address is changed by registering anew.
        email(&address).map_err(Error::invalid)?;
    }
    read(&mut reader, way)?;
    if way == Way::Own {
        return Ok((reader.changes, None));
    }
    let role = role(body)?;
    match body.get::<Json>("max_concurrent_executions") {
        Some(Json::Number(number)) => {
            if let Some(limit) = number.as_i64().filter(|limit| (1..=MAX_CONCURRENT).contains(limit)) {
                reader.set("max_concurrent_executions", Some(Value::Integer(limit)));
            }
        }
        Some(Json::Null) => reader.set("max_concurrent_executions", None),
        _ => {}
    }
    Ok((reader.changes, role))
}

fn read(reader: &mut Reader<'_>, way: Way) -> Result<()> {
    let strict = way == Way::Create;
    reader.name(way)?;
    reader.letters("country", 120, &LETTERS[1], "Country contains invalid characters")?;
    reader.letters("institution", 120, &LETTERS[2], "Institution contains invalid characters")?;
    reader.free("role_title")?;
    reader.one_of("sector", &SECTORS, "Invalid sector selection")?;
    reader.free("sector_other")?;
    reader.one_of("gender_identity", &GENDERS, "Invalid gender identity selection")?;
    reader.free("gender_identity_description")?;
    reader.flag("gee_license_acknowledged", strict)?;
    if reader.body.is_set("email_notifications_enabled") {
        reader.flag("email_notifications_enabled", strict)?;
    }
    reader.one_of("purpose_of_use", &PURPOSES, "Invalid purpose of use selection")?;
    reader.free("purpose_of_use_other")?;
    for name in SUBSCRIPTIONS {
        reader.flag(name, strict)?;
    }
    for name in MARKS {
        reader.flag(name, false)?;
    }
    Ok(())
}

/// Whether a body changes anything of the own profile (contract/auth-users.md 7, `PATCH …/user/me`).
pub fn changes_own(body: &Object) -> bool {
    let names = ["name", "country", "institution", "email_notifications_enabled", "gee_license_acknowledged"];
    names.iter().chain(&SUBSCRIPTIONS).chain(&MARKS).any(|name| body.is_set(name))
}

/// Whether changes say what news somebody wants: then the moment and the place of that consent are kept.
pub fn consents(changes: &Changes) -> bool {
    changes.0.iter().any(|(column, _)| SUBSCRIPTIONS.contains(column))
}
