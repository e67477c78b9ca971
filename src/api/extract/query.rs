//! The query string as pairs: the first of a repeated key counts, unknown keys are ignored.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};

/// The query of a request.
#[derive(Debug, Clone, Default)]
pub struct Pairs(Vec<(String, String)>);

impl Pairs {
    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// Every pair, repeated keys included.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// Whether a switch is on: `true`, `1` or `yes`.
    pub fn is_on(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes"))
    }
}

impl<S: Sync> FromRequestParts<S> for Pairs {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let query = parts.uri.query().unwrap_or("");
        Ok(Pairs(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()))
    }
}
