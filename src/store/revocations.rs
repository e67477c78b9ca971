//! Table `token_revocation`: access tokens that were ended before their time.

use super::{Time, Tx};
use crate::within;

/// Ends the token `jti`; the row may go once the token has expired by itself.
pub async fn insert(tx: &mut Tx, jti: &str, expires_at: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO token_revocation (jti, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING"
    )
    .bind(jti)
    .bind(expires_at)
    .execute(on)
    .await
    .map(drop))
}
