//! Table `script`: what authors publish and users run.

use super::{
    Db, Id, Time, Tx,
    search::{Column, Kind, Search, Value, placeholders},
};
use crate::{bind_values, reading, within};

/// A row of `script`.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Script {
    pub id: Id,
    pub name: String,
    pub slug: String,
    pub description: Option<String>,
    pub created_at: Option<Time>,
    pub updated_at: Option<Time>,
    pub user_id: Option<Id>,
    /// PENDING, BUILDING, SUCCESS, FAIL; the reference also writes FAILED.
    pub status: String,
    pub public: bool,
    pub restricted: bool,
    /// JSON lists as text, as the reference keeps them.
    pub allowed_roles: Option<String>,
    pub allowed_users: Option<String>,
    pub cpu_reservation: Option<i64>,
    pub cpu_limit: Option<i64>,
    pub memory_reservation: Option<i64>,
    pub memory_limit: Option<i64>,
    pub environment: Option<String>,
    pub environment_version: Option<String>,
    pub build_error: Option<String>,
    pub compute_type: String,
    pub batch_job_definition: Option<String>,
    pub batch_job_queue: Option<String>,
    pub batch_image: Option<String>,
    pub uses_gee: bool,
    pub openeo_backend_url: Option<String>,
}

/// How a path names a script: by id, else by slug.
#[derive(Debug, Clone)]
pub enum Key {
    Id(Id),
    Slug(String),
}

/// Whose scripts a viewer sees; one predicate for list, get, run, log and download.
#[derive(Debug, Clone)]
pub enum Viewer {
    Everything,
    Person { id: Id, role: &'static str },
}

/// What an upload says about a script; `None` is the default of a new script, and leaves an existing one as it is.
#[derive(Debug, Clone)]
pub struct Upload {
    pub name: String,
    pub cpu_reservation: Option<i64>,
    pub cpu_limit: Option<i64>,
    pub memory_reservation: Option<i64>,
    pub memory_limit: Option<i64>,
    pub environment: Option<String>,
    pub environment_version: Option<String>,
    pub compute_type: Option<String>,
    pub batch_job_definition: Option<String>,
    pub batch_job_queue: Option<String>,
    pub batch_image: Option<String>,
    pub uses_gee: bool,
    pub openeo_backend_url: Option<String>,
}

/// Who beside its owner and administrators sees a restricted script.
#[derive(Debug, Clone, Default)]
pub struct Access {
    pub restricted: bool,
    pub roles: Vec<String>,
    /// Ids, as they are stored.
    pub users: Vec<String>,
}

impl Access {
    /// The lists of a script; what is no list of texts is an empty one.
    pub fn of(script: &Script) -> Self {
        let list = |text: &Option<String>| -> Vec<String> {
            text.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
        };
        Access { restricted: script.restricted, roles: list(&script.allowed_roles), users: list(&script.allowed_users) }
    }
}

/// A row of a file.
#[derive(Debug, sqlx::FromRow)]
pub struct Exported {
    #[sqlx(flatten)]
    pub script: Script,
    pub user_name: Option<String>,
    pub user_email: Option<String>,
}

/// What of a script is changed without an upload; `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    pub name: Option<String>,
    pub description: Option<String>,
    pub uses_gee: Option<bool>,
}

const COLUMNS: &str = "id, name, slug, description, created_at, updated_at, user_id, status, public, restricted, allowed_roles,
    allowed_users, cpu_reservation, cpu_limit, memory_reservation, memory_limit, environment, environment_version, build_error,
    compute_type, batch_job_definition, batch_job_queue, batch_image, uses_gee, openeo_backend_url";

/// `$1` everything, `$2` the viewer's id, `$3` and `$4` his role and id as they stand in the JSON lists. A text is an entry of a
/// list if it stands there in its quotes; quotes inside of other entries are escaped, so they are taken away first. A cast to
/// JSON would be an error where the other server's column holds none.
const VISIBLE: &str = r#"($1 OR user_id = $2 OR (public AND NOT restricted) OR (restricted AND (
    replace(replace(replace(allowed_roles, '\\', ''), '\"', ''), $3, '') <> replace(replace(allowed_roles, '\\', ''), '\"', '')
    OR replace(replace(replace(allowed_users, '\\', ''), '\"', ''), $4, '') <> replace(replace(allowed_users, '\\', ''), '\"', ''))))"#;

impl Viewer {
    fn binds(&self) -> (bool, Option<Id>, String, String) {
        match self {
            Viewer::Everything => (true, None, String::new(), String::new()),
            Viewer::Person { id, role } => (false, Some(*id), format!("\"{role}\""), format!("\"{id}\"")),
        }
    }
}

fn sql(text: String) -> sqlx::AssertSqlSafe<String> {
    // Only the constants of this file are joined; every value is bound.
    sqlx::AssertSqlSafe(text)
}

/// The script of this key, if the viewer may see it.
pub async fn find(db: &Db, key: &Key, viewer: &Viewer) -> sqlx::Result<Option<Script>> {
    let (all, id, role, user) = viewer.binds();
    let column = match key {
        Key::Id(_) => "id",
        Key::Slug(_) => "slug",
    };
    let text = format!("SELECT {COLUMNS} FROM script WHERE {column} = $5 AND {VISIBLE}");
    reading!(db, |on| {
        let query = sqlx::query_as(sql(text)).bind(all).bind(id).bind(role).bind(user);
        match key {
            Key::Id(id) => query.bind(*id),
            Key::Slug(slug) => query.bind(slug.as_str()),
        }
        .fetch_optional(on)
        .await
    })
}

/// The script of this id, whoever asks.
pub async fn get(db: &Db, id: Id) -> sqlx::Result<Option<Script>> {
    find(db, &Key::Id(id), &Viewer::Everything).await
}

/// The scripts of these ids, in no order, whoever asks.
pub async fn with_ids(db: &Db, ids: &[Id]) -> sqlx::Result<Vec<Script>> {
    let values: Vec<Value> = ids.iter().map(|id| Value::Id(*id)).collect();
    let text = format!("SELECT {COLUMNS} FROM script WHERE id IN ({})", placeholders(1, ids.len()));
    reading!(db, |on| bind_values!(sqlx::query_as(sql(text)), values).fetch_all(on).await)
}

/// Id and slug of every script.
pub async fn slugs(db: &Db) -> sqlx::Result<Vec<(Id, String)>> {
    reading!(db, |on| sqlx::query_as("SELECT id, slug FROM script").fetch_all(on).await)
}

/// The script as this transaction sees it.
pub async fn get_within(tx: &mut Tx, id: Id) -> sqlx::Result<Option<Script>> {
    let text = format!("SELECT {COLUMNS} FROM script WHERE id = $1");
    within!(tx, |on| sqlx::query_as(sql(text)).bind(id).fetch_optional(on).await)
}

/// What lists of scripts can be filtered and sorted by (contract/scripts-executions.md 0.2).
pub const SEARCHABLE: [Column; 13] = [
    Column::new("id", "id", Kind::Id),
    Column::new("name", "name", Kind::Text),
    Column::new("slug", "slug", Kind::Text),
    Column::new("status", "status", Kind::Text),
    Column::new("public", "public", Kind::Flag),
    Column::new("restricted", "restricted", Kind::Flag),
    Column::new("created_at", "created_at", Kind::Time),
    Column::new("updated_at", "updated_at", Kind::Time),
    Column::new("environment", "environment", Kind::Text),
    Column::new("environment_version", "environment_version", Kind::Text),
    Column::new("user_id", "user_id", Kind::Id),
    Column::new("user_name", r#"(SELECT u.name FROM "user" u WHERE u.id = script.user_id)"#, Kind::Text),
    Column::new("user_email", r#"(SELECT u.email FROM "user" u WHERE u.id = script.user_id)"#, Kind::Text),
];

/// Scripts that the viewer may see and a search finds, newest first if it does not say; `page` is (limit, offset).
pub async fn list(db: &Db, viewer: &Viewer, search: &Search, page: Option<(i64, i64)>) -> sqlx::Result<Vec<Script>> {
    let (all, id, role, user) = viewer.binds();
    let (limit, offset) = page.unwrap_or((i64::MAX, 0));
    let (condition, values) = search.condition(db, 7);
    let order = search.order(db, "id", "created_at DESC, id");
    let text = format!("SELECT {COLUMNS} FROM script WHERE {VISIBLE} AND {condition} {order} LIMIT $5 OFFSET $6");
    reading!(db, |on| {
        let query = sqlx::query_as(sql(text)).bind(all).bind(id).bind(role).bind(user).bind(limit).bind(offset);
        bind_values!(query, values).fetch_all(on).await
    })
}

/// Scripts that a search finds with their owners, newest first; `page` is (limit, offset).
pub async fn export(db: &Db, search: &Search, page: (i64, i64)) -> sqlx::Result<Vec<Exported>> {
    let (condition, values) = search.condition(db, 3);
    let text = format!(
        r#"SELECT {COLUMNS}, (SELECT u.name FROM "user" u WHERE u.id = script.user_id) AS user_name,
             (SELECT u.email FROM "user" u WHERE u.id = script.user_id) AS user_email
         FROM script WHERE {condition} ORDER BY created_at DESC, id LIMIT $1 OFFSET $2"#
    );
    reading!(db, |on| bind_values!(sqlx::query_as(sql(text)).bind(page.0).bind(page.1), values).fetch_all(on).await)
}

/// The newest scripts of each of these people, in the order of their making.
pub async fn newest_of(db: &Db, owners: &[Id], each: i64) -> sqlx::Result<Vec<Script>> {
    let values: Vec<Value> = owners.iter().map(|id| Value::Id(*id)).collect();
    let text = format!(
        "SELECT {COLUMNS} FROM (SELECT s.*, ROW_NUMBER() OVER (PARTITION BY user_id ORDER BY created_at DESC, id) AS nth
             FROM script s WHERE user_id IN ({})) s WHERE nth <= $1 ORDER BY created_at, id",
        placeholders(2, owners.len())
    );
    reading!(db, |on| bind_values!(sqlx::query_as(sql(text)).bind(each), values).fetch_all(on).await)
}

/// How many scripts the viewer may see and a search finds.
pub async fn count(db: &Db, viewer: &Viewer, search: &Search) -> sqlx::Result<i64> {
    let (all, id, role, user) = viewer.binds();
    let (condition, values) = search.condition(db, 5);
    let text = format!("SELECT count(*) FROM script WHERE {VISIBLE} AND {condition}");
    reading!(db, |on| {
        let query = sqlx::query_scalar(sql(text)).bind(all).bind(id).bind(role).bind(user);
        bind_values!(query, values).fetch_one(on).await
    })
}

/// A new script, PENDING until it is built. False if the slug or the id is taken.
pub async fn insert(tx: &mut Tx, id: Id, slug: &str, owner: Id, up: &Upload, now: Time) -> sqlx::Result<bool> {
    within!(tx, |on| {
        sqlx::query(
        "INSERT INTO script (id, name, slug, description, created_at, updated_at, user_id, status, public, restricted,
             cpu_reservation, cpu_limit, memory_reservation, memory_limit, environment, environment_version, compute_type,
             batch_job_definition, batch_job_queue, batch_image, uses_gee, openeo_backend_url)
         VALUES ($1, $2, $3, '', $4, $4, $5, 'PENDING', $6, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
         ON CONFLICT DO NOTHING"
    )
    .bind(id)
    .bind(&up.name)
    .bind(slug)
    .bind(now)
    .bind(owner)
    .bind(false)
    .bind(up.cpu_reservation.unwrap_or(100_000_000_i64))
    .bind(up.cpu_limit.unwrap_or(500_000_000_i64))
    .bind(up.memory_reservation.unwrap_or(100_000_000_i64))
    .bind(up.memory_limit.unwrap_or(1_000_000_000_i64))
    .bind(up.environment.as_deref().unwrap_or("trends.earth-environment"))
    .bind(up.environment_version.as_deref().unwrap_or("0.1.6"))
    .bind(up.compute_type.as_deref().unwrap_or("gee"))
    .bind(&up.batch_job_definition)
    .bind(&up.batch_job_queue)
    .bind(&up.batch_image)
    .bind(up.uses_gee)
    .bind(&up.openeo_backend_url)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1)
    })
}

/// A new upload of an existing script; the slug never changes, the status only when the build starts.
pub async fn update(tx: &mut Tx, id: Id, up: &Upload, now: Time) -> sqlx::Result<bool> {
    within!(tx, |on| {
        sqlx::query(
        "UPDATE script SET name = $2, updated_at = $3, cpu_reservation = COALESCE($4, cpu_reservation),
             cpu_limit = COALESCE($5, cpu_limit), memory_reservation = COALESCE($6, memory_reservation),
             memory_limit = COALESCE($7, memory_limit), environment = COALESCE($8, environment),
             environment_version = COALESCE($9, environment_version), compute_type = COALESCE($10, compute_type),
             batch_job_definition = COALESCE($11, batch_job_definition), batch_job_queue = COALESCE($12, batch_job_queue),
             batch_image = COALESCE($13, batch_image), uses_gee = $14, openeo_backend_url = COALESCE($15, openeo_backend_url)
         WHERE id = $1"
    )
    .bind(id)
    .bind(&up.name)
    .bind(now)
    .bind(up.cpu_reservation)
    .bind(up.cpu_limit)
    .bind(up.memory_reservation)
    .bind(up.memory_limit)
    .bind(&up.environment)
    .bind(&up.environment_version)
    .bind(&up.compute_type)
    .bind(&up.batch_job_definition)
    .bind(&up.batch_job_queue)
    .bind(&up.batch_image)
    .bind(up.uses_gee)
    .bind(&up.openeo_backend_url)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1)
    })
}

pub async fn set_public(tx: &mut Tx, id: Id, public: bool) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query("UPDATE script SET public = $2 WHERE id = $1")
        .bind(id)
        .bind(public)
        .execute(on)
        .await
        .map(drop))
}

/// Sets who sees the script; an empty list is stored as none.
pub async fn set_access(tx: &mut Tx, id: Id, access: &Access) -> sqlx::Result<()> {
    let list = |entries: &Vec<String>| (!entries.is_empty()).then(|| serde_json::json!(entries).to_string());
    within!(tx, |on| sqlx::query(
        "UPDATE script SET restricted = $2, allowed_roles = $3, allowed_users = $4 WHERE id = $1"
    )
    .bind(id)
    .bind(access.restricted)
    .bind(list(&access.roles))
    .bind(list(&access.users))
    .execute(on)
    .await
    .map(drop))
}

/// Changes what needs no upload; false if there is no such script.
pub async fn configure(tx: &mut Tx, id: Id, config: &Config, now: Time) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query(
        "UPDATE script SET name = COALESCE($2, name), description = COALESCE($3, description),
             uses_gee = COALESCE($4, uses_gee), updated_at = $5 WHERE id = $1"
    )
    .bind(id)
    .bind(&config.name)
    .bind(&config.description)
    .bind(config.uses_gee)
    .bind(now)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1))
}

/// BUILDING, SUCCESS or FAIL; a text of an earlier failure stays until another one replaces it.
pub async fn set_status(tx: &mut Tx, id: Id, status: &str, build_error: Option<&str>) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        "UPDATE script SET status = $2, build_error = COALESCE($3, build_error) WHERE id = $1"
    )
    .bind(id)
    .bind(status)
    .bind(build_error)
    .execute(on)
    .await
    .map(drop))
}

/// Locks the row until the transaction ends; false if it is gone. Whoever writes what belongs to a script takes this lock
/// first: so lines of one build log are committed in the order of their ids, and nobody meets a deletion half-way.
pub async fn lock(tx: &mut Tx, id: Id) -> sqlx::Result<bool> {
    let text = format!("SELECT id FROM script WHERE id = $1 {}", tx.for_update());
    let found: Option<Id> = within!(tx, |on| sqlx::query_scalar(sql(text)).bind(id).fetch_optional(on).await)?;
    Ok(found.is_some())
}

/// Deletes a script with its logs, executions and their logs; what is ours goes by `ON DELETE CASCADE`.
pub async fn delete(tx: &mut Tx, id: Id) -> sqlx::Result<bool> {
    if let Tx::Postgres(tx) = tx {
        // Nobody adds a run or a line from here on, so what is deleted below is all there is.
        sqlx::query("SELECT id FROM script WHERE id = $1 FOR UPDATE").bind(id).execute(&mut **tx).await?;
        sqlx::query("SELECT id FROM execution WHERE script_id = $1 ORDER BY id FOR UPDATE")
            .bind(id)
            .execute(&mut **tx)
            .await?;
    }
    const STEPS: [&str; 5] = [
        // What is under way is stopped by whoever follows it; what waits has nobody yet.
        "DELETE FROM job WHERE state = 'waiting' AND subject_id IN (SELECT id FROM execution WHERE script_id = $1)",
        "DELETE FROM execution_log WHERE execution_id IN (SELECT id FROM execution WHERE script_id = $1)",
        "DELETE FROM execution WHERE script_id = $1",
        "DELETE FROM script_log WHERE script_id = $1",
        "DELETE FROM script WHERE id = $1",
    ];
    let mut last = 0;
    for step in STEPS {
        last = within!(tx, |on| sqlx::query(step).bind(id).execute(on).await.map(|r| r.rows_affected()))?;
    }
    Ok(last == 1)
}
