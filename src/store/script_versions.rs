//! Table `script_version`: each upload of a script, unchangeable once built; one of the built ones is the current one.

use super::{Db, Id, Json, Time, Tx};
use crate::{engine::Made, reading, within};

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
    /// The image that it became, by digest; `None` if no engine of containers has built it yet.
    pub image: Option<String>,
    /// The configuration as uploaded, with defaults filled in (`build::Configuration`).
    pub config: Json,
    /// PENDING, BUILDING, SUCCESS or FAIL.
    pub status: String,
    /// Whether it ships a schema of its parameters.
    pub has_schema: bool,
}

impl Version {
    /// What a build for engines of this kind has made of it.
    pub fn made(&self, kind: Made) -> Option<&str> {
        match kind {
            Made::Environment => self.requirements_digest.as_deref(),
            Made::Image => self.image.as_deref(),
        }
    }
}

/// A version as lists show it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Listed {
    pub number: i32,
    pub digest: String,
    pub status: String,
    /// Whether a run without a wish gets it.
    pub current: bool,
    pub created_at: Time,
    pub built_at: Option<Time>,
    pub created_by: Option<Id>,
    pub config: Json,
    pub build_error: Option<String>,
    pub archive_key: String,
}

/// The id of the version of script `$1` that a run without a wish gets: the one that was activated, else the newest that is built.
const CURRENT: &str = "(SELECT c.id FROM script_version c WHERE c.script_id = $1 AND c.status = 'SUCCESS'
    ORDER BY (c.activated_at IS NULL), c.number DESC LIMIT 1)";

const COLUMNS: &str = "SELECT id, script_id, number, digest, archive_key, requirements_digest, image, config, status,
        params_schema IS NOT NULL AS has_schema FROM script_version";

/// An upload that is to become a version.
pub struct NewVersion<'a> {
    pub script: Id,
    pub digest: &'a str,
    pub archive_key: &'a str,
    pub config: &'a Json,
    pub params_schema: Option<&'a Json>,
    pub created_by: Option<Id>,
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

/// The version of this id.
pub async fn get(db: &Db, id: Id) -> sqlx::Result<Option<Version>> {
    let text = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE id = $1"));
    reading!(db, |on| sqlx::query_as(text).bind(id).fetch_optional(on).await)
}

/// Who uploaded a version: id, address and role of the account.
pub async fn author(db: &Db, id: Id) -> sqlx::Result<Option<(Id, String, Option<String>)>> {
    reading!(db, |on| sqlx::query_as(
        r#"SELECT u.id, u.email, u.role FROM script_version v JOIN "user" u ON u.id = v.created_by WHERE v.id = $1"#
    )
    .bind(id)
    .fetch_optional(on)
    .await)
}

/// What a run without a wish gets.
pub async fn current(db: &Db, script: Id) -> sqlx::Result<Option<Version>> {
    let text = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE id = {CURRENT}"));
    reading!(db, |on| sqlx::query_as(text).bind(script).fetch_optional(on).await)
}

/// The schema that the parameters of a version must fit, if it ships one.
pub async fn schema(db: &Db, id: Id) -> sqlx::Result<Option<Json>> {
    let found: Option<Option<Json>> =
        reading!(db, |on| sqlx::query_scalar("SELECT params_schema FROM script_version WHERE id = $1")
            .bind(id)
            .fetch_optional(on)
            .await)?;
    Ok(found.flatten())
}

fn listed() -> String {
    format!(
        "SELECT number, digest, status, COALESCE(id = {CURRENT}, FALSE) AS current, created_at, built_at, created_by, config,
             build_error, archive_key FROM script_version WHERE script_id = $1"
    )
}

/// The versions of a script, newest first; `page` is (limit, offset).
pub async fn list(db: &Db, script: Id, page: (i64, i64)) -> sqlx::Result<Vec<Listed>> {
    let text = sqlx::AssertSqlSafe(format!("{} ORDER BY number DESC LIMIT $2 OFFSET $3", listed()));
    reading!(db, |on| sqlx::query_as(text).bind(script).bind(page.0).bind(page.1).fetch_all(on).await)
}

/// How many versions a script has.
pub async fn count(db: &Db, script: Id) -> sqlx::Result<i64> {
    reading!(db, |on| sqlx::query_scalar("SELECT count(*) FROM script_version WHERE script_id = $1")
        .bind(script)
        .fetch_one(on)
        .await)
}

/// The version with this number, as lists show it.
pub async fn show(db: &Db, script: Id, number: i32) -> sqlx::Result<Option<Listed>> {
    let text = sqlx::AssertSqlSafe(format!("{} AND number = $2", listed()));
    reading!(db, |on| sqlx::query_as(text).bind(script).bind(number).fetch_optional(on).await)
}

/// Makes a built version the current one; false if there is none of this number that is built.
pub async fn activate(tx: &mut Tx, script: Id, number: i32, now: Time) -> sqlx::Result<bool> {
    let chosen = within!(tx, |on| sqlx::query(
        "UPDATE script_version SET activated_at = $3 WHERE script_id = $1 AND number = $2 AND status = 'SUCCESS'"
    )
    .bind(script)
    .bind(number)
    .bind(now)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1))?;
    if chosen {
        within!(tx, |on| {
            sqlx::query(
            "UPDATE script_version SET activated_at = NULL WHERE script_id = $1 AND number <> $2 AND activated_at IS NOT NULL"
        )
        .bind(script)
        .bind(number)
        .execute(on)
        .await
        .map(drop)
        })?;
    }
    Ok(chosen)
}

/// Ends an activation of an older version, once this one is built and is the newest that is.
pub async fn supersede(tx: &mut Tx, script: Id, number: i32) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        "UPDATE script_version SET activated_at = NULL WHERE script_id = $1 AND number < $2 AND activated_at IS NOT NULL
             AND NOT EXISTS (SELECT 1 FROM script_version n WHERE n.script_id = $1 AND n.number > $2 AND n.status = 'SUCCESS')"
    )
    .bind(script)
    .bind(number)
    .execute(on)
    .await
    .map(drop)
    })
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
pub async fn set_status(tx: &mut Tx, id: Id, status: &str, build_error: Option<&str>, now: Time) -> sqlx::Result<bool> {
    within!(tx, |on| {
        sqlx::query(
        "UPDATE script_version SET status = $2, build_error = $3, built_at = CASE WHEN $2 = 'SUCCESS' THEN $4 ELSE built_at END
         WHERE id = $1 AND status <> 'SUCCESS'"
    )
    .bind(id)
    .bind(status)
    .bind(build_error)
    .bind(now)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1)
    })
}

/// Notes what a build has made of a version, also of one that was built for other engines before.
pub async fn set_made(tx: &mut Tx, id: Id, kind: Made, made: &str) -> sqlx::Result<()> {
    let column = match kind {
        Made::Environment => "requirements_digest",
        Made::Image => "image",
    };
    let text = sqlx::AssertSqlSafe(format!("UPDATE script_version SET {column} = $2 WHERE id = $1"));
    within!(tx, |on| sqlx::query(text).bind(id).bind(made).execute(on).await.map(drop))
}

/// The images of all versions, as engines know them.
pub async fn images(db: &Db) -> sqlx::Result<Vec<String>> {
    reading!(db, |on| sqlx::query_scalar("SELECT image FROM script_version WHERE image IS NOT NULL")
        .fetch_all(on)
        .await)
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

/// Whether this version is the first of its script.
pub async fn is_first(tx: &mut Tx, id: Id) -> sqlx::Result<bool> {
    let number: Option<i32> = within!(tx, |on| sqlx::query_scalar("SELECT number FROM script_version WHERE id = $1")
        .bind(id)
        .fetch_optional(on)
        .await)?;
    Ok(number == Some(1))
}

/// Where the archives of all scripts should lie.
pub async fn all_archive_keys(db: &Db) -> sqlx::Result<Vec<String>> {
    reading!(db, |on| sqlx::query_scalar("SELECT DISTINCT archive_key FROM script_version").fetch_all(on).await)
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
