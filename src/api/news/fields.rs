//! The fields of an item as administrators send them (contract/content-admin.md 2.5, 2.6).

use serde_json::Value as Json;

use crate::{
    clock,
    error::{Error, Result},
    html,
    json::Object,
    store::{Time, news::Fields, search::Value},
};

const KINDS: [&str; 5] = ["announcement", "warning", "release", "tip", "maintenance"];
/// Characters of a message.
pub const MAX_MESSAGE: usize = 100_000;
const LINK_TEXT: &str = "Learn more";

/// Short texts: the longest, in characters, and whether there must be one.
const TEXTS: [(&str, usize, bool); 8] = [
    ("title", 255, true),
    ("message", MAX_MESSAGE, true),
    ("link_url", 500, false),
    ("link_text", 100, false),
    ("target_platforms", 100, true),
    ("target_roles", 100, false),
    ("min_version", 20, false),
    ("max_version", 20, false),
];

/// The fields of a new item, with what is the case where nothing is said.
pub fn of_new(body: &Object, now: Time) -> Result<Fields> {
    present(body)?;
    let given = |name: &str| body.get::<String>(name).is_some_and(|text| !text.is_empty());
    if !given("title") || !given("message") {
        return Err(Error::invalid("title and message are required"));
    }
    let mut fields = read(body)?;
    let defaults = [
        ("link_text", Value::Text(LINK_TEXT.into())),
        ("publish_at", Value::Time(now)),
        ("target_platforms", Value::Text("app,webapp,api-ui".into())),
        ("is_active", Value::Flag(true)),
        ("priority", Value::Integer(0)),
        ("news_type", Value::Text(KINDS[0].into())),
    ];
    for (name, default) in defaults {
        let said = |value: &Option<Value>| value.as_ref().is_some_and(|value| *value != Value::Text(String::new()));
        if !fields.iter().any(|(column, value)| *column == name && said(value)) {
            fields.retain(|(column, _)| *column != name);
            fields.push((name, Some(default)));
        }
    }
    Ok(fields)
}

/// The fields that are to change.
pub fn of_change(body: &Object) -> Result<Fields> {
    present(body)?;
    let mut fields = read(body)?;
    // What must not be empty stays as it is.
    fields.retain(|(name, value)| {
        value.is_some() || !matches!(*name, "target_platforms" | "publish_at" | "is_active" | "priority" | "news_type")
    });
    if let Some((name, _)) = fields.iter().find(|(name, value)| value.is_none() && matches!(*name, "title" | "message"))
    {
        return Err(Error::invalid(format!("{name} must be text")));
    }
    Ok(fields)
}

fn present(body: &Object) -> Result<()> {
    if body.is_empty() { Err(Error::invalid("Request body required")) } else { Ok(()) }
}

/// Whatever is there, checked; what is null, or empty where that says nothing, is `None`.
fn read(body: &Object) -> Result<Fields> {
    let mut fields = Fields::new();
    for (name, longest, needed) in TEXTS {
        if !body.has(name) {
            continue;
        }
        let text = text(body, name)?;
        if let Some(text) = text.as_ref().filter(|text| text.chars().count() > longest) {
            let long = text.chars().count();
            return Err(Error::invalid(format!("{name} has {long} characters; at most {longest} are kept")));
        }
        let text = text.filter(|text| needed || !text.is_empty());
        if let Some(url) = text.as_ref().filter(|url| name == "link_url" && !html::is_link(url)) {
            return Err(Error::invalid(format!(
                "link_url is {url:?}; it must be an address such as https://example.org"
            )));
        }
        fields.push((name, text.map(Value::Text)));
    }
    for name in ["publish_at", "expires_at"] {
        if body.has(name) {
            fields.push((name, time(body, name)?.map(Value::Time)));
        }
    }
    if body.is_set("is_active") {
        let flag = body.get("is_active").ok_or_else(|| Error::invalid("is_active must be true or false"))?;
        fields.push(("is_active", Some(Value::Flag(flag))));
    }
    if body.is_set("priority") {
        let number = body.get::<i32>("priority").ok_or_else(|| Error::invalid("priority must be a whole number"))?;
        fields.push(("priority", Some(Value::Integer(number.into()))));
    }
    if body.is_set("news_type") {
        let kind = body.get::<String>("news_type").filter(|kind| KINDS.contains(&kind.as_str()));
        let wrong = || Error::invalid(format!("news_type must be one of: {}", KINDS.join(", ")));
        fields.push(("news_type", Some(Value::Text(kind.ok_or_else(wrong)?))));
    }
    Ok(fields)
}

/// Text; of a list, its parts with commas between them.
fn text(body: &Object, name: &str) -> Result<Option<String>> {
    let wrong = || Error::invalid(format!("{name} must be text"));
    match body.get::<Json>(name).filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(Json::Array(parts)) if name.starts_with("target_") => {
            let parts: Option<Vec<&str>> = parts.iter().map(Json::as_str).collect();
            parts.map(|parts| Some(parts.join(","))).ok_or_else(wrong)
        }
        Some(_) => Err(wrong()),
    }
}

/// A time; what counts as nothing is none.
fn time(body: &Object, name: &str) -> Result<Option<Time>> {
    match body.get::<Json>(name).filter(|value| !value.is_null()) {
        None | Some(Json::Bool(false)) => Ok(None),
        Some(Json::String(text)) if text.is_empty() => Ok(None),
        Some(Json::String(text)) if clock::parse(&text).is_some() => Ok(clock::parse(&text)),
        Some(_) => Err(Error::invalid(format!("Invalid {name} date format"))),
    }
}
