//! Table `bulk_email_verification_token`: codes by which a sender shows that a mail to many is meant (contract/content-admin.md 3.3).

use super::{Id, Time, Tx};
use crate::within;

/// Stores a code; earlier ones of the sender for this mail end.
pub async fn replace(tx: &mut Tx, mail: Id, user: Id, code: &str, expires_at: Time, now: Time) -> sqlx::Result<()> {
    burn(tx, mail, user, now).await?;
    within!(tx, |on| sqlx::query(
        "INSERT INTO bulk_email_verification_token (id, token, user_id, bulk_email_id, created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)"
    )
    .bind(Id::random())
    .bind(code)
    .bind(user)
    .bind(mail)
    .bind(now)
    .bind(expires_at)
    .execute(on)
    .await
    .map(drop))
}

/// The code that holds; whoever asks uses it up, be it guessed or not.
pub async fn take(tx: &mut Tx, mail: Id, user: Id, now: Time) -> sqlx::Result<Option<String>> {
    let code = within!(tx, |on| {
        sqlx::query_scalar(
        "SELECT token FROM bulk_email_verification_token
         WHERE bulk_email_id = $1 AND user_id = $2 AND used_at IS NULL AND expires_at > $3 ORDER BY created_at DESC LIMIT 1"
    )
    .bind(mail)
    .bind(user)
    .bind(now)
    .fetch_optional(on)
    .await
    })?;
    burn(tx, mail, user, now).await?;
    Ok(code)
}

async fn burn(tx: &mut Tx, mail: Id, user: Id, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        "UPDATE bulk_email_verification_token SET used_at = $3 WHERE bulk_email_id = $1 AND user_id = $2 AND used_at IS NULL"
    )
    .bind(mail)
    .bind(user)
    .bind(now)
    .execute(on)
    .await
    .map(drop)
    })
}
