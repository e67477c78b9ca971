//! Table `script_secret`: what an administrator granted to a script, sealed. Only names are ever shown.

use serde::{Deserialize, Serialize};

use super::{Db, Id, Time, Tx};
use crate::{reading, within};

/// A secret of a script, without its value.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Granted {
    pub name: String,
    pub granted_by: Option<Id>,
    pub created_at: Time,
}

/// A secret as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Sealed {
    pub name: String,
    pub ciphertext: String,
}

/// The secrets of a script, by name.
pub async fn list(db: &Db, script: Id) -> sqlx::Result<Vec<Granted>> {
    reading!(db, |on| sqlx::query_as(
        "SELECT name, granted_by, created_at FROM script_secret WHERE script_id = $1 ORDER BY name"
    )
    .bind(script)
    .fetch_all(on)
    .await)
}

/// The secrets of a script as they are kept.
pub async fn sealed(db: &Db, script: Id) -> sqlx::Result<Vec<Sealed>> {
    reading!(db, |on| sqlx::query_as("SELECT name, ciphertext FROM script_secret WHERE script_id = $1 ORDER BY name")
        .bind(script)
        .fetch_all(on)
        .await)
}

/// The secrets of the script of an execution: script, name and sealed value.
pub async fn of_execution(db: &Db, execution: Id) -> sqlx::Result<Vec<(Id, String, String)>> {
    reading!(db, |on| {
        sqlx::query_as(
        "SELECT s.script_id, s.name, s.ciphertext FROM execution e JOIN script_secret s ON s.script_id = e.script_id WHERE e.id = $1"
    )
    .bind(execution)
    .fetch_all(on)
    .await
    })
}

/// Whether a script has any.
pub async fn any(db: &Db, script: Id) -> sqlx::Result<bool> {
    let one: Option<String> =
        reading!(db, |on| sqlx::query_scalar("SELECT name FROM script_secret WHERE script_id = $1 LIMIT 1")
            .bind(script)
            .fetch_optional(on)
            .await)?;
    Ok(one.is_some())
}

/// Keeps a secret; one of the same name is replaced.
pub async fn put(tx: &mut Tx, script: Id, new: &Sealed, by: Id, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "INSERT INTO script_secret (script_id, name, ciphertext, granted_by, created_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (script_id, name) DO UPDATE SET ciphertext = EXCLUDED.ciphertext, granted_by = EXCLUDED.granted_by,
             created_at = EXCLUDED.created_at"
    )
    .bind(script)
    .bind(&new.name)
    .bind(&new.ciphertext)
    .bind(by)
    .bind(now)
    .execute(on)
    .await
    .map(drop))
}

/// Takes a secret away; false if there is none of this name.
pub async fn delete(tx: &mut Tx, script: Id, name: &str) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query("DELETE FROM script_secret WHERE script_id = $1 AND name = $2")
        .bind(script)
        .bind(name)
        .execute(on)
        .await
        .map(|r| r.rows_affected() == 1))
}

/// How many a script has.
pub async fn count(tx: &mut Tx, script: Id) -> sqlx::Result<i64> {
    within!(tx, |on| sqlx::query_scalar("SELECT count(*) FROM script_secret WHERE script_id = $1")
        .bind(script)
        .fetch_one(on)
        .await)
}
