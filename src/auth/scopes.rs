//! What a service client's token opens: each route declares its scope in its own OpenAPI attribute, and nowhere else.
//! `security(("bearerAuth" = ["script:read"]))`; `[]` asks for none, `["account"]` for a person's own sign-in.

use std::collections::HashMap;

use axum::http::Method;
use serde_json::Value;

use crate::error::{Error, Result};

/// The scope that no client can have: only a token from signing in opens such a route.
pub const ACCOUNT: &str = "account";

/// Scopes that a client can have (contract/auth-users.md 9).
pub const VALID: [&str; 11] = [
    "all",
    "boundary:read",
    "execution:read",
    "execution:write",
    "gee:read",
    "gee:write",
    "script:read",
    "script:write",
    "stats:read",
    "user:read",
    "user:write",
];

/// The declared scope of every route.
#[derive(Debug, Default)]
pub struct Scopes(HashMap<(Method, String), Asked>);

/// What a route asks for.
#[derive(Debug)]
struct Asked {
    /// Anybody may call it, without a token.
    public: bool,
    /// `None` where a token of any scope will do.
    scope: Option<String>,
}

impl Scopes {
    /// Reads the declarations.
    pub fn of(document: &utoipa::openapi::OpenApi) -> Self {
        let document = serde_json::to_value(document).unwrap_or_default();
        let mut scopes = HashMap::new();
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in methods.as_object().into_iter().flatten() {
                let Ok(method) = method.to_ascii_uppercase().parse::<Method>() else { continue };
                let Some(security) = operation["security"].as_array() else { continue };
                let scope = security.iter().filter_map(|one| one["bearerAuth"].as_array()).flatten();
                let scope = scope.filter_map(Value::as_str).next().map(str::to_owned);
                let public = security.iter().any(|one| one.as_object().is_some_and(serde_json::Map::is_empty));
                scopes.insert((method, path.clone()), Asked { public, scope });
            }
        }
        Scopes(scopes)
    }

    /// Whether this is a route.
    pub fn knows(&self, method: &Method, path: &str) -> bool {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.0.contains_key(&(method.clone(), path.to_owned()))
    }

    /// Whether anybody may call the route, without a token.
    pub fn is_public(&self, method: &Method, path: &str) -> bool {
        self.0.get(&(method.clone(), path.to_owned())).is_some_and(|asked| asked.public)
    }

    /// The methods of a route, in the order of the alphabet; HEAD goes with GET, OPTIONS with everything.
    pub fn methods(&self, path: &str) -> Vec<&str> {
        let own = self.0.keys().filter(|(_, of)| of == path).map(|(method, _)| method.as_str());
        let mut methods: Vec<&str> = own.chain(["OPTIONS"]).collect();
        // The pages of the documentation are no part of the document; they are read.
        if methods.contains(&"GET") || methods.len() == 1 {
            methods.extend(["GET", "HEAD"]);
        }
        methods.sort_unstable();
        methods.dedup();
        methods
    }

    /// Whether a client with these scopes may call the route. A route without a declaration opens to no client.
    pub fn check(&self, method: &Method, path: &str, granted: &str) -> Result<()> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let needed = match self.0.get(&(method.clone(), path.to_owned())) {
            Some(Asked { scope: None, .. }) => return Ok(()),
            Some(Asked { scope: Some(needed), .. }) => needed.as_str(),
            None => ACCOUNT,
        };
        if needed == ACCOUNT {
            let detail = "The token of a service client does not open this; sign in with an account.";
            return Err(Error::Forbidden(detail.into()));
        }
        // Only nothing at all means everything: blanks alone grant nothing (contract/auth-users.md 9).
        let everything = granted.is_empty() || granted.split_whitespace().any(|scope| scope == "all");
        if everything || granted.split_whitespace().any(|scope| scope == needed) {
            return Ok(());
        }
        Err(Error::Forbidden(format!("Insufficient scope. Required: {needed}")))
    }
}
