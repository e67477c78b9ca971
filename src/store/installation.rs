//! Table `installation`: the one row that names this installation.

use super::{Db, Id};
use crate::{reading, writing};

/// The name of this installation, drawn when it is first asked for.
pub async fn id(db: &Db) -> sqlx::Result<Id> {
    writing!(db, |on| sqlx::query("INSERT INTO installation (one, id) VALUES (1, $1) ON CONFLICT (one) DO NOTHING")
        .bind(Id::random())
        .execute(on)
        .await
        .map(drop))?;
    reading!(db, |on| sqlx::query_scalar("SELECT id FROM installation WHERE one = 1").fetch_one(on).await)
}
