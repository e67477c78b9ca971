//! Table `script_version`: each upload of a script, unchangeable once built.

use super::{Db, Id, Json, Time, Tx};
use crate::{reading, within};

/// A row of `script_version`, without its schema.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Version {
    pub id: Id,
    pub script_id: Id,
    pub number: i32,
    /// `sha256:<hex>` of the archive.
    pub digest: String,
    pub archive_key: String,
    /// Key of the environment that the requirements became; `None` if no package is needed or it is not built yet.
    pub requirements_digest: Option<String>,
    /// The configuration as uploaded, with defaults filled in (`build::Configuration`).
    pub config: Json,
    /// PENDING, BUILDING, SUCCESS or FAIL.
    pub status: String,
}

const COLUMNS: &str =
    "SELECT id, script_id, number, digest, archive_key, requirements_digest, config, status FROM script_version";

pub struct NewVersion<'a> {
    pub script: Id,
    pub digest: &'a str,
    pub archive_key: &'a str,
    pub config: &'a Json,
    pub params_schema: Option<&'a Json>,
    pub created_by: Id,
}

/// Adds the next version of a script. The caller holds the script's row, so the number is free.
pub async fn insert(tx: &mut Tx, id: Id, new: &NewVersion<'_>, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        "INSERT INTO script_version (id, script_id, number, digest, archive_key, config, params_schema, status, created_by, created_at)
         SELECT $1, $2, COALESCE(max(number), 0) + 1, $3, $4, $5, $6, 'PENDING', $7, $8 FROM script_version WHERE script_id = $2"
    )
    .bind(id)
    .bind(new.script)
    .bind(new.digest)
    .bind(new.archive_key)
    .bind(new.config)
    .bind(new.params_schema)
    .bind(new.created_by)
    .bind(now)
    .execute(on)
    .await
    .map(drop)
    })
}

pub async fn get(db: &Db, id: Id) -> sqlx::Result<Option<Version>> {
    let text = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE id = $1"));
    reading!(db, |on| sqlx::query_as(text).bind(id).fetch_optional(on).await)
}

/// The newest version that is built: what a run without a wish gets.
pub async fn newest_built(db: &Db, script: Id) -> sqlx::Result<Option<Version>> {
    let text = sqlx::AssertSqlSafe(format!(
        "{COLUMNS} WHERE script_id = $1 AND status = 'SUCCESS' ORDER BY number DESC LIMIT 1"
    ));
    reading!(db, |on| sqlx::query_as(text).bind(script).fetch_optional(on).await)
}

/// The version with this number, built or not.
pub async fn numbered(db: &Db, script: Id, number: i32) -> sqlx::Result<Option<Version>> {
    let text = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE script_id = $1 AND number = $2"));
    reading!(db, |on| sqlx::query_as(text).bind(script).bind(number).fetch_optional(on).await)
}

/// The newest upload of a script: what a download gives.
pub async fn newest(db: &Db, script: Id) -> sqlx::Result<Option<Version>> {
    let text = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE script_id = $1 ORDER BY number DESC LIMIT 1"));
    reading!(db, |on| sqlx::query_as(text).bind(script).fetch_optional(on).await)
}

/// Marks a version; a built one never changes again. False if it was built before, or is gone.
pub async fn set_status(
    tx: &mut Tx,
    id: Id,
    status: &str,
    environment: Option<&str>,
    build_error: Option<&str>,
    now: Time,
) -> sqlx::Result<bool> {
    within!(tx, |on| {
        sqlx::query(
        "UPDATE script_version SET status = $2, requirements_digest = COALESCE($3, requirements_digest), build_error = $4,
             built_at = CASE WHEN $2 = 'SUCCESS' THEN $5 ELSE built_at END
         WHERE id = $1 AND status <> 'SUCCESS'"
    )
    .bind(id)
    .bind(status)
    .bind(environment)
    .bind(build_error)
    .bind(now)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1)
    })
}

/// Whether this version is the newest upload: only then its build speaks for the script.
pub async fn is_newest(tx: &mut Tx, script: Id, id: Id) -> sqlx::Result<bool> {
    let newest: Option<Id> = within!(tx, |on| sqlx::query_scalar(
        "SELECT id FROM script_version WHERE script_id = $1 ORDER BY number DESC LIMIT 1"
    )
    .bind(script)
    .fetch_optional(on)
    .await)?;
    Ok(newest == Some(id))
}

/// The number of the version that an execution runs.
pub async fn number_of(db: &Db, execution: Id) -> sqlx::Result<Option<i32>> {
    reading!(db, |on| {
        sqlx::query_scalar(
        "SELECT v.number FROM execution_run r JOIN script_version v ON v.id = r.script_version_id WHERE r.execution_id = $1"
    )
    .bind(execution)
    .fetch_optional(on)
    .await
    })
}

/// Where the archives of a script lie.
pub async fn archive_keys(tx: &mut Tx, script: Id) -> sqlx::Result<Vec<String>> {
    within!(tx, |on| sqlx::query_scalar("SELECT DISTINCT archive_key FROM script_version WHERE script_id = $1")
        .bind(script)
        .fetch_all(on)
        .await)
}
