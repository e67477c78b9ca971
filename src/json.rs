//! JSON as this server keeps it: values as they were written, never a tree that would lose digits.

pub mod canonical;
pub mod mend;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// What counts as no parameters: null, an empty list or text, zero, false (contract/scripts-executions.md 2).
const NOTHING: [&str; 6] = ["null", "[]", "\"\"", "0", "false", ""];

/// A JSON object whose values are kept as they were written.
#[derive(Debug, Default)]
pub struct Object {
    values: BTreeMap<String, Box<RawValue>>,
    /// False where something else stood that counts as an empty one.
    is_object: bool,
}

impl Object {
    /// An object of these values.
    pub fn of(pairs: impl IntoIterator<Item = (String, String)>) -> anyhow::Result<Self> {
        let values = pairs.into_iter().map(|(key, text)| Ok((key, serde_json::value::to_raw_value(&text)?)));
        Ok(Object { values: values.collect::<anyhow::Result<_>>()?, is_object: true })
    }

    /// Reads an object, or what counts as an empty one; `None` for another document.
    pub fn read(text: &str) -> Option<Self> {
        match serde_json::from_str(text) {
            Ok(values) => Some(Object { values, is_object: true }),
            Err(_) => NOTHING.contains(&text.trim()).then(Object::default),
        }
    }

    /// Whether the key is there, be it null.
    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// The value as written; `None` if the key is absent.
    pub fn raw(&self, key: &str) -> Option<&RawValue> {
        self.values.get(key).map(|value| &**value)
    }

    /// The value, `None` if absent, null or of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_str(self.raw(key)?.get()).ok()
    }

    /// Whether the key is there and not null.
    pub fn is_set(&self, key: &str) -> bool {
        self.raw(key).is_some_and(|value| value.get() != "null")
    }

    /// Every key with its value as written.
    pub fn into_inner(self) -> BTreeMap<String, Box<RawValue>> {
        self.values
    }

    /// Whether no key was sent.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Whether an object was sent, and not something else that counts as an empty one.
    pub fn is_object(&self) -> bool {
        self.is_object
    }
}
