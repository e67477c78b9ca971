//! Parameters of a run as they are typed: `key=value`, where a value that is JSON is taken as such and anything else is text.
//! Numbers keep their digits.

use std::{collections::BTreeMap, fmt};

use serde_json::value::RawValue;

#[derive(Debug, Default)]
pub struct Params(BTreeMap<String, Box<RawValue>>);

impl Params {
    /// Reads a JSON object.
    pub fn parse(document: &str) -> anyhow::Result<Self> {
        let object = serde_json::from_str(document.trim_start_matches('\u{feff}'));
        object.map(Params).map_err(|error| anyhow::anyhow!("the parameters must be a JSON object, {{…}}: {error}"))
    }

    /// These and, over them, what was typed.
    pub fn with(mut self, pairs: &[String]) -> anyhow::Result<Self> {
        for pair in pairs {
            let (key, text) =
                pair.split_once('=').ok_or_else(|| anyhow::anyhow!("{pair:?} is no parameter; write key=value."))?;
            let value = match serde_json::from_str(text) {
                Ok(value) => value,
                Err(_) => serde_json::value::to_raw_value(text)?,
            };
            self.0.insert(key.to_owned(), value);
        }
        Ok(self)
    }
}

/// The JSON object.
impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).map_err(|_| fmt::Error)?)
    }
}
