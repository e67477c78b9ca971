//! `params_schema` of a package: a JSON Schema (draft 2020-12) for the parameters of its runs. An author's schema is evaluated
//! in the server's own process, so it may neither fetch, nor go round in circles, nor cost more than a bounded amount.

use std::collections::HashMap;

use jsonschema::{Draft, PatternOptions, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::Value;

use crate::error::Fault;

/// Levels of a schema, references followed.
const MAX_LEVELS: usize = 64;
/// Values of a schema, each counted as often as references lead to it.
const MAX_COST: u64 = 5_000;
const MAX_PATTERNS: usize = 64;
/// Bytes that one compiled pattern may take.
const MAX_PATTERN: usize = 1 << 20;
/// Values of a schema times values of parameters: about a second at the most, milliseconds as a rule.
const MAX_WORK: u64 = 50_000_000;
/// Faults that one answer lists, and characters of what it says of each.
const MAX_FAULTS: usize = 20;
const MAX_MESSAGE: usize = 300;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Keys by which a schema could lead elsewhere than `#/…` within it.
const NAMES: [&str; 6] = ["$id", "$schema", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef"];

/// Judges a schema at upload.
///
/// # Errors
/// What is wrong with it, the end of a sentence that begins with its name.
pub fn check(text: &str) -> Result<(), String> {
    let schema: Value = serde_json::from_str(text).map_err(|error| format!("cannot be read: {error}"))?;
    cost(&schema)?;
    validator(&schema).map(drop).map_err(|error| {
        let at = match error.instance_path().as_str() {
            "" => String::new(),
            path => format!(" (at {path})"),
        };
        format!("is no valid JSON Schema: {}{at}", said(&error))
    })
}

/// What of these parameters does not fit the schema, at most [`MAX_FAULTS`]. Costs processor time: never on an async thread
/// if the parameters are large.
///
/// # Errors
/// Why they cannot be checked, a sentence.
pub fn faults(schema: &str, params: &Value) -> Result<Vec<Fault>, String> {
    let schema: Value = serde_json::from_str(schema).map_err(|error| format!("The schema cannot be read: {error}"))?;
    if cost(&schema)?.saturating_mul(size(params)) > MAX_WORK {
        return Err("The parameters are too large to be checked against the script's schema.".into());
    }
    let validator = validator(&schema).map_err(|error| format!("The schema cannot be used: {}", said(&error)))?;
    Ok(validator.iter_errors(params).take(MAX_FAULTS).map(|error| fault(&error)).collect())
}

fn validator(schema: &Value) -> Result<Validator, ValidationError<'static>> {
    // References stay within the document; a name of its own would only make them absolute.
    let mut schema = schema.clone();
    if let Some(map) = schema.as_object_mut() {
        map.remove("$id");
    }
    // The linear engine knows no look-around and no back-references, and so takes no exponential time.
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN))
        .offline()
        .build(&schema)
}

/// Text that values have, in units of what it costs to look at them.
fn size(value: &Value) -> u64 {
    match value {
        Value::Array(values) => values.iter().map(size).fold(1, u64::saturating_add),
        Value::Object(map) => map.values().map(size).fold(1, u64::saturating_add),
        Value::String(text) => 1 + text.len() as u64 / 32,
        _ => 1,
    }
}

fn fault(error: &ValidationError<'_>) -> Fault {
    // A key that is missing or not known is where the fault is, not the object around it.
    let key = match error.kind() {
        ValidationErrorKind::Required { property } => property.as_str(),
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected.first().map(String::as_str),
        _ => None,
    };
    let key = key.map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1"))).unwrap_or_default();
    Fault { path: format!("{}{key}", error.instance_path()), message: said(error) }
}

/// What an error says; a value is repeated only if it is short.
fn said(error: &ValidationError<'_>) -> String {
    let short = match &**error.instance() {
        Value::String(text) => text.len() <= 60,
        Value::Array(_) | Value::Object(_) => false,
        _ => true,
    };
    let text = if short { error.to_string() } else { error.masked_with("the value").to_string() };
    let mut message: String = text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect();
    if text.chars().count() > MAX_MESSAGE {
        message.push('…');
    }
    message
}

/// How many values a schema has if every reference is followed: what checking one value may cost.
fn cost(schema: &Value) -> Result<u64, String> {
    let dialect = schema.get("$schema").map(|uri| uri.as_str().unwrap_or("").trim_end_matches('#'));
    if dialect.is_some_and(|uri| uri != DIALECT) {
        return Err(format!("must be of the dialect {DIALECT}, or name none in $schema"));
    }
    let mut count = Count { root: schema, known: HashMap::new(), patterns: 0 };
    let Extent { values, .. } = count.of(schema, 0)?;
    if values > MAX_COST {
        return Err(format!(
            "is too large: with every $ref followed it has {values} values; at most {MAX_COST} are allowed"
        ));
    }
    Ok(values)
}

/// How much there is from one place on.
#[derive(Clone, Copy)]
struct Extent {
    values: u64,
    levels: usize,
}

struct Count<'s> {
    root: &'s Value,
    /// What references lead to; `None` while one is followed.
    known: HashMap<&'s str, Option<Extent>>,
    patterns: usize,
}

impl<'s> Count<'s> {
    /// Whatever may be a schema is counted as one, whichever key it stands under.
    fn of(&mut self, value: &'s Value, level: usize) -> Result<Extent, String> {
        let mut extent = Extent { values: 1, levels: 1 };
        match value {
            Value::Array(values) => {
                for value in values {
                    let inner = self.of(value, level + 1)?;
                    extent.add(inner, level)?;
                }
            }
            Value::Object(map) => {
                for (key, value) in map {
                    let at_root = level == 0 && matches!(key.as_str(), "$id" | "$schema");
                    if NAMES.contains(&key.as_str()) && value.is_string() && !at_root {
                        return Err(format!("uses {key}, which is not supported here; use $ref with \"#/…\""));
                    }
                    let inner = match value {
                        Value::String(target) if key == "$ref" => self.reference(target, level)?,
                        other => self.of(other, level + 1)?,
                    };
                    extent.add(inner, level)?;
                    if key == "pattern" || key == "patternProperties" {
                        self.patterns += value.as_object().map_or(1, serde_json::Map::len);
                    }
                }
                if self.patterns > MAX_PATTERNS {
                    return Err(format!("has more than {MAX_PATTERNS} patterns"));
                }
                if map.contains_key("unevaluatedProperties") || map.contains_key("unevaluatedItems") {
                    // What is left over is known only after everything beside it was looked at once more.
                    extent.values = extent.values.saturating_mul(4);
                }
            }
            _ => {}
        }
        Ok(extent)
    }

    fn reference(&mut self, target: &'s str, level: usize) -> Result<Extent, String> {
        match self.known.get(target) {
            Some(Some(extent)) => return Ok(*extent),
            Some(None) => return Err(format!("has a $ref that leads back to itself: {}", shown(target))),
            None => {}
        }
        let found = target.strip_prefix('#').filter(|pointer| !pointer.contains('%'));
        let found = found.and_then(|pointer| self.root.pointer(pointer)).ok_or_else(|| {
            format!("has a $ref that leads nowhere within it: {}; it must be like \"#/$defs/year\"", shown(target))
        })?;
        self.known.insert(target, None);
        let extent = self.of(found, level + 1)?;
        self.known.insert(target, Some(extent));
        Ok(extent)
    }
}

impl Extent {
    /// Counts what stands within a value of this level.
    fn add(&mut self, inner: Extent, level: usize) -> Result<(), String> {
        self.values = self.values.saturating_add(inner.values);
        self.levels = self.levels.max(inner.levels + 1);
        if level + self.levels > MAX_LEVELS {
            return Err(format!("has more than {MAX_LEVELS} levels, with every $ref followed"));
        }
        Ok(())
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}
