//! Where a request comes from, for sessions and the audit trail: known before anybody has said who he is.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{header, request::Parts},
};
use tower_http::request_id::RequestId;

use crate::{
    limits::address::Address,
    store::{Id, audit::NewAudit},
};

/// Characters of a user agent that are kept.
const MAX_AGENT: usize = 400;

/// Where a request comes from.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// Who signed it, where an extractor has found that out.
    pub user: Option<Id>,
    /// The client's address; `None` for acts from the shell.
    pub address: Option<String>,
    pub request_id: Option<String>,
    pub user_agent: String,
}

impl Caller {
    /// Where a request comes from; who asks is not known yet.
    pub fn of(parts: &Parts) -> Self {
        let agent = parts.headers.get(header::USER_AGENT).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        let id = parts.extensions.get::<RequestId>().and_then(|id| id.header_value().to_str().ok());
        Caller {
            user: None,
            address: parts.extensions.get::<Address>().map(|address| address.ip.to_string()),
            request_id: id.map(str::to_owned),
            user_agent: agent.unwrap_or_default().replace('\0', "").chars().take(MAX_AGENT).collect(),
        }
    }

    /// A row of the audit trail for what this caller does.
    pub fn did<'a>(&self, action: &'a str, target_type: &'a str, target_id: &dyn ToString) -> NewAudit<'a> {
        NewAudit {
            actor: self.user,
            action,
            target_type,
            target_id: target_id.to_string(),
            ip_address: self.address.clone(),
            request_id: self.request_id.clone(),
            detail: None,
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Caller::of(parts))
    }
}
