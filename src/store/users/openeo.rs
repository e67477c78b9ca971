//! Table `user`: its column of openEO credentials (contract/auth-users.md 10).

use crate::{
    reading,
    store::{Db, Id, Tx},
    within,
};

/// What a person has stored, encrypted.
pub async fn stored(db: &Db, id: Id) -> sqlx::Result<Option<String>> {
    let found: Option<Option<String>> =
        reading!(db, |on| sqlx::query_scalar(r#"SELECT openeo_credentials_enc FROM "user" WHERE id = $1"#)
            .bind(id)
            .fetch_optional(on)
            .await)?;
    Ok(found.flatten())
}

/// Stores it, or takes it away.
pub async fn put(tx: &mut Tx, id: Id, encrypted: Option<&str>) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(r#"UPDATE "user" SET openeo_credentials_enc = $2 WHERE id = $1"#)
        .bind(id)
        .bind(encrypted)
        .execute(on)
        .await
        .map(drop))
}
