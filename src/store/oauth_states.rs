//! Table `oauth_state`: people on their way to Google and back, one way a person at a time.

use super::{Db, Id, Time, Tx};
use crate::{within, writing};

/// A way that has begun.
pub struct NewState<'a> {
    pub user: Id,
    /// SHA-256 of the state, hex.
    pub state_sha256: &'a str,
    /// Sealed.
    pub verifier: &'a str,
    pub client_type: Option<&'a str>,
    pub expires_at: Time,
}

/// Who came back.
#[derive(Debug, sqlx::FromRow)]
pub struct Returned {
    pub user_id: Id,
    pub verifier: String,
    pub client_type: Option<String>,
}

/// Begins; an earlier way of the same person ends.
pub async fn put(tx: &mut Tx, new: &NewState<'_>) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
            "INSERT INTO oauth_state (user_id, state_sha256, verifier, client_type, expires_at) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (user_id) DO UPDATE SET state_sha256 = EXCLUDED.state_sha256, verifier = EXCLUDED.verifier,
                 client_type = EXCLUDED.client_type, expires_at = EXCLUDED.expires_at",
        )
        .bind(new.user)
        .bind(new.state_sha256)
        .bind(new.verifier)
        .bind(new.client_type)
        .bind(new.expires_at)
        .execute(on)
        .await
        .map(drop)
    })
}

/// Ends the way of this state, once; `None` if there is none, it is too old, or it is somebody else's than `user`.
pub async fn take(db: &Db, state_sha256: &str, user: Option<Id>, now: Time) -> sqlx::Result<Option<Returned>> {
    writing!(db, |on| sqlx::query_as(
        "DELETE FROM oauth_state WHERE state_sha256 = $1 AND user_id = COALESCE($2, user_id) AND expires_at > $3
         RETURNING user_id, verifier, client_type"
    )
    .bind(state_sha256)
    .bind(user)
    .bind(now)
    .fetch_optional(on)
    .await)
}
