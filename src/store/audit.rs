//! Table `audit_event`: acts that matter, insert-only.

use super::{Id, Json, Time, Tx};
use crate::within;

/// One act, as `decisions` names them: `user.created`, `script.uploaded`, …
pub struct NewAudit<'a> {
    pub actor: Option<Id>,
    pub action: &'a str,
    pub target_type: &'a str,
    pub target_id: String,
    pub ip_address: Option<String>,
    pub request_id: Option<String>,
    pub detail: Option<Json>,
}

impl NewAudit<'_> {
    /// The same row with more about the act.
    pub fn with(mut self, detail: &serde_json::Value) -> Self {
        self.detail = serde_json::value::to_raw_value(detail).ok().map(sqlx::types::Json);
        self
    }
}

pub async fn insert(tx: &mut Tx, new: &NewAudit<'_>, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO audit_event (at, actor_id, action, target_type, target_id, ip_address, request_id, detail)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
    )
    .bind(now)
    .bind(new.actor)
    .bind(new.action)
    .bind(new.target_type)
    .bind(&new.target_id)
    .bind(&new.ip_address)
    .bind(&new.request_id)
    .bind(&new.detail)
    .execute(on)
    .await
    .map(drop))
}
