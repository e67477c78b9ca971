//! Table `user`: people and the accounts that programs sign in with.

pub mod erase;
pub mod gee;
pub mod logins;
pub mod openeo;
pub mod statistics;

use serde::Serialize;

use super::{
    Db, Id, Time, Tx,
    search::{Column, Kind, Search, Value, placeholders},
};
use crate::{bind_values, reading, within};

/// What a person may do; the column decides, no address and no setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    User,
    Admin,
    Superadmin,
}

impl Role {
    /// `USER`, `ADMIN`, `SUPERADMIN`; anything else counts as a plain user.
    pub fn of(column: Option<&str>) -> Self {
        match column {
            Some("SUPERADMIN") => Role::Superadmin,
            Some("ADMIN") => Role::Admin,
            _ => Role::User,
        }
    }

    /// The role of this word; nothing else is one.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "SUPERADMIN" => Some(Role::Superadmin),
            "ADMIN" => Some(Role::Admin),
            "USER" => Some(Role::User),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Role::User => "USER",
            Role::Admin => "ADMIN",
            Role::Superadmin => "SUPERADMIN",
        }
    }
}

/// What every request needs of the account that its token names, read together with the fate of that token.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Holder {
    pub id: Id,
    pub email: String,
    pub role: Option<String>,
    pub tokens_not_before: Option<Time>,
    /// Whether this very token has been revoked.
    pub revoked: bool,
}

/// The profile as clients see it (contract/auth-users.md 7).
#[derive(Debug, Clone, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Profile {
    pub id: Id,
    pub email: String,
    pub name: String,
    pub role: Option<String>,
    pub country: Option<String>,
    pub institution: Option<String>,
    pub created_at: Option<chrono::NaiveDateTime>,
    pub updated_at: Option<chrono::NaiveDateTime>,
    pub email_notifications_enabled: bool,
    pub email_subscription_news: bool,
    pub email_subscription_engagement: bool,
    pub email_subscription_system_updates: bool,
    pub email_verified: Option<bool>,
    pub email_verified_at: Option<chrono::NaiveDateTime>,
    pub last_login_at: Option<chrono::NaiveDateTime>,
    pub last_activity_at: Option<chrono::NaiveDateTime>,
    pub consent_given_at: Option<chrono::NaiveDateTime>,
    pub consent_source: Option<String>,
    pub gee_license_acknowledged: Option<bool>,
    pub gender_identity: Option<String>,
    pub gender_identity_description: Option<String>,
    pub max_concurrent_executions: Option<i32>,
    pub purpose_of_use: Option<String>,
    pub purpose_of_use_other: Option<String>,
    pub role_title: Option<String>,
    pub sector: Option<String>,
    pub sector_other: Option<String>,
    /// Whether the QGIS plugin registered the account.
    pub is_plugin_user: bool,
    pub is_in_mailing_list: bool,
    /// Always false: who is deleted has no row.
    pub deleted: bool,
}

/// How a path names an account: by id, else by its exact address.
#[derive(Debug, Clone)]
pub enum Key {
    Id(Id),
    Email(String),
}

/// What of a profile is changed: columns and their new values.
#[derive(Debug, Clone, Default)]
pub struct Changes(pub Vec<(&'static str, Option<Value>)>);

/// What other tables and columns know of a person, for `include`.
#[derive(Debug, sqlx::FromRow)]
pub struct Connections {
    pub id: Id,
    pub google_groups_trends_earth_users: bool,
    pub google_groups_trendsearth: bool,
    pub google_groups_registration_status: Option<String>,
    pub google_groups_last_sync: Option<Time>,
    pub gee_credentials_type: Option<String>,
    pub gee_credentials_created_at: Option<Time>,
    pub gee_cloud_project: Option<String>,
    pub has_openeo_credentials: bool,
}

/// What lists of people can be filtered and sorted by (contract/auth-users.md 7).
pub const COLUMNS: [Column; 19] = [
    Column::new("id", "id", Kind::Id),
    Column::new("email", "email", Kind::Text),
    Column::new("name", "name", Kind::Text),
    Column::new("role", "role", Kind::Text),
    Column::new("country", "country", Kind::Text),
    Column::new("institution", "institution", Kind::Text),
    Column::new("created_at", "created_at", Kind::Time),
    Column::new("updated_at", "updated_at", Kind::Time),
    Column::new("last_login_at", "last_login_at", Kind::Time),
    Column::new("last_activity_at", "last_activity_at", Kind::Time),
    Column::new("email_verified", "email_verified", Kind::Flag),
    Column::new("email_verified_at", "email_verified_at", Kind::Time),
    Column::new("role_title", "role_title", Kind::Text),
    Column::new("sector", "sector", Kind::Text),
    Column::new("gender_identity", "gender_identity", Kind::Text),
    Column::new("gee_license_acknowledged", "gee_license_acknowledged", Kind::Flag),
    Column::new("purpose_of_use", "purpose_of_use", Kind::Text),
    Column::new("gee_credentials_type", "gee_credentials_type", Kind::Text),
    Column::new("has_openeo_credentials", "(openeo_credentials_enc IS NOT NULL)", Kind::Flag),
];

/// A new account.
pub struct NewUser<'a> {
    pub email: &'a str,
    pub name: &'a str,
    pub role: Role,
    /// The hash, never the password.
    pub password: &'a str,
    /// Whether the address is known to be the person's.
    pub verified: bool,
}

/// Whether the token `$2`, or the service client `$3` that it was made for, is revoked at `$4`.
const REVOKED: &str = "(EXISTS (SELECT 1 FROM token_revocation r WHERE r.jti = $2)
    OR EXISTS (SELECT 1 FROM service_client c WHERE c.client_id = $3 AND (c.revoked OR c.expires_at <= $4))) AS revoked";

/// A token whose holder is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    pub user: Id,
    pub jti: &'a str,
    /// The service client that it was made for.
    pub client: Option<&'a str>,
    pub now: Time,
}

/// The account of a token, and whether the token is revoked: one query a request.
pub async fn holder(db: &Db, token: Held<'_>) -> sqlx::Result<Option<Holder>> {
    let text = sql(format!(r#"SELECT id, email, role, tokens_not_before, {REVOKED} FROM "user" WHERE id = $1"#));
    reading!(db, |on| sqlx::query_as(text)
        .bind(token.user)
        .bind(token.jti)
        .bind(token.client)
        .bind(token.now)
        .fetch_optional(on)
        .await)
}

/// The same with the whole profile.
pub async fn holder_with_profile(db: &Db, token: Held<'_>) -> sqlx::Result<Option<(Holder, Profile)>> {
    #[derive(sqlx::FromRow)]
    struct Row {
        #[sqlx(flatten)]
        profile: Profile,
        tokens_not_before: Option<Time>,
        revoked: bool,
    }
    let text = sql(format!(r#"SELECT {PROFILE}, tokens_not_before, {REVOKED} FROM "user" WHERE id = $1"#));
    let row: Option<Row> = reading!(db, |on| sqlx::query_as(text)
        .bind(token.user)
        .bind(token.jti)
        .bind(token.client)
        .bind(token.now)
        .fetch_optional(on)
        .await)?;
    Ok(row.map(|Row { profile, tokens_not_before, revoked }| {
        let Profile { id, email, role, .. } = &profile;
        let holder = Holder { id: *id, email: email.clone(), role: role.clone(), tokens_not_before, revoked };
        (holder, profile)
    }))
}

const PROFILE: &str = "id, email, name, role, country, institution, created_at, updated_at, email_notifications_enabled,
    email_subscription_news, email_subscription_engagement, email_subscription_system_updates, email_verified, email_verified_at,
    last_login_at, last_activity_at, consent_given_at, consent_source, gee_license_acknowledged, gender_identity,
    gender_identity_description, max_concurrent_executions, purpose_of_use, purpose_of_use_other, role_title, sector, sector_other,
    COALESCE(is_plugin_user, FALSE) AS is_plugin_user, COALESCE(is_in_mailing_list, email_subscription_news) AS is_in_mailing_list,
    FALSE AS deleted";

fn sql(text: String) -> sqlx::AssertSqlSafe<String> {
    // Only constants and the conditions of a search are joined; every value is bound.
    sqlx::AssertSqlSafe(text)
}

pub async fn profile(db: &Db, id: Id) -> sqlx::Result<Option<Profile>> {
    find(db, &Key::Id(id)).await
}

/// The account of this id or exact address.
pub async fn find(db: &Db, key: &Key) -> sqlx::Result<Option<Profile>> {
    let column = match key {
        Key::Id(_) => "id",
        Key::Email(_) => "email",
    };
    let text = sql(format!(r#"SELECT {PROFILE} FROM "user" WHERE {column} = $1"#));
    reading!(db, |on| {
        let query = sqlx::query_as(text);
        match key {
            Key::Id(id) => query.bind(*id),
            Key::Email(email) => query.bind(email.as_str()),
        }
        .fetch_optional(on)
        .await
    })
}

/// The account as this transaction sees it.
pub async fn profile_within(tx: &mut Tx, id: Id) -> sqlx::Result<Option<Profile>> {
    let text = sql(format!(r#"SELECT {PROFILE} FROM "user" WHERE id = $1"#));
    within!(tx, |on| sqlx::query_as(text).bind(id).fetch_optional(on).await)
}

/// People that a search finds, newest first if it does not say; `page` is (limit, offset).
pub async fn search(db: &Db, search: &Search, page: (i64, i64)) -> sqlx::Result<Vec<Profile>> {
    let (condition, values) = search.condition(db, 3);
    let order = search.order(db, "id", "created_at DESC, id");
    let text = sql(format!(r#"SELECT {PROFILE} FROM "user" WHERE {condition} {order} LIMIT $1 OFFSET $2"#));
    reading!(db, |on| bind_values!(sqlx::query_as(text).bind(page.0).bind(page.1), values).fetch_all(on).await)
}

/// How many people a search finds.
pub async fn count(db: &Db, search: &Search) -> sqlx::Result<i64> {
    let (condition, values) = search.condition(db, 1);
    let text = sql(format!(r#"SELECT count(*) FROM "user" WHERE {condition}"#));
    reading!(db, |on| bind_values!(sqlx::query_scalar(text), values).fetch_one(on).await)
}

/// The accounts of these ids, those that there are.
pub async fn profiles(db: &Db, ids: &[Id]) -> sqlx::Result<Vec<Profile>> {
    let values: Vec<Value> = ids.iter().map(|id| Value::Id(*id)).collect();
    let text = sql(format!(r#"SELECT {PROFILE} FROM "user" WHERE id IN ({})"#, placeholders(1, ids.len())));
    reading!(db, |on| bind_values!(sqlx::query_as(text), values).fetch_all(on).await)
}

/// What `include` shows of these people.
pub async fn connections(db: &Db, ids: &[Id]) -> sqlx::Result<Vec<Connections>> {
    let values: Vec<Value> = ids.iter().map(|id| Value::Id(*id)).collect();
    let text = sql(format!(
        r#"SELECT id, google_groups_trends_earth_users, google_groups_trendsearth, google_groups_registration_status,
                google_groups_last_sync, gee_credentials_type, gee_credentials_created_at, gee_cloud_project,
                (openeo_credentials_enc IS NOT NULL) AS has_openeo_credentials
            FROM "user" WHERE id IN ({})"#,
        placeholders(1, ids.len())
    ));
    reading!(db, |on| bind_values!(sqlx::query_as(text), values).fetch_all(on).await)
}

/// Applies changes; false if there is no such account.
pub async fn update(tx: &mut Tx, id: Id, changes: &Changes, now: Time) -> sqlx::Result<bool> {
    let mut text = String::from(r#"UPDATE "user" SET updated_at = $2"#);
    let mut values = Vec::new();
    for (column, value) in &changes.0 {
        match value {
            Some(value) => {
                values.push(value.clone());
                text.push_str(&format!(", {column} = ${}", values.len() + 2));
            }
            None => text.push_str(&format!(", {column} = NULL")),
        }
    }
    text.push_str(" WHERE id = $1");
    within!(tx, |on| bind_values!(sqlx::query(sql(text)).bind(id).bind(now), values)
        .execute(on)
        .await
        .map(|r| r.rows_affected() == 1))
}

/// Switches mails to many off for an address in any case; how many accounts that changes.
pub async fn suppress(tx: &mut Tx, email: &str, now: Time) -> sqlx::Result<u64> {
    within!(tx, |on| sqlx::query(
        r#"UPDATE "user" SET email_subscription_news = $3, email_subscription_engagement = $3,
               email_subscription_system_updates = $3, consent_source = 'sparkpost_suppression', updated_at = $2
           WHERE lower(email) = lower($1)
               AND (email_subscription_news OR email_subscription_engagement OR email_subscription_system_updates)"#
    )
    .bind(email)
    .bind(now)
    .bind(false)
    .execute(on)
    .await
    .map(|r| r.rows_affected()))
}

/// How many accounts have the role SUPERADMIN, their rows locked so that two do not step down at one time.
pub async fn superadmins(tx: &mut Tx) -> sqlx::Result<usize> {
    let text = sql(format!(r#"SELECT id FROM "user" WHERE role = 'SUPERADMIN' ORDER BY id {}"#, tx.for_update()));
    let ids: Vec<Id> = within!(tx, |on| sqlx::query_scalar(text).fetch_all(on).await)?;
    Ok(ids.len())
}

/// A new account. False if another one has the address.
pub async fn insert(tx: &mut Tx, id: Id, new: &NewUser<'_>, now: Time) -> sqlx::Result<bool> {
    within!(tx, |on| {
        sqlx::query(
        r#"INSERT INTO "user" (id, email, password, created_at, updated_at, role, name, email_verified,
               google_groups_trends_earth_users, google_groups_trendsearth, email_notifications_enabled, failed_login_count,
               email_subscription_news, email_subscription_engagement, email_subscription_system_updates)
           SELECT $1, $2, $3, $4, $4, $5, $6, $9, $8, $8, $7, 0, $8, $8, $7
           WHERE NOT EXISTS (SELECT 1 FROM "user" WHERE lower(email) = lower($2)) ON CONFLICT (email) DO NOTHING"#
    )
    .bind(id)
    .bind(new.email)
    .bind(new.password)
    .bind(now)
    .bind(new.role.as_str())
    .bind(new.name)
    .bind(true)
    .bind(false)
    .bind(new.verified)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1)
    })
}

/// Whether nobody has an account yet.
pub async fn none(db: &Db) -> sqlx::Result<bool> {
    let one: Option<Id> =
        reading!(db, |on| sqlx::query_scalar(r#"SELECT id FROM "user" LIMIT 1"#).fetch_optional(on).await)?;
    Ok(one.is_none())
}

/// Every account: address, name, role.
pub async fn list(db: &Db) -> sqlx::Result<Vec<(String, String, Option<String>)>> {
    reading!(db, |on| sqlx::query_as(r#"SELECT email, name, role FROM "user" ORDER BY created_at, email"#)
        .fetch_all(on)
        .await)
}

pub async fn set_role(tx: &mut Tx, id: Id, role: Role, now: Time) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query(r#"UPDATE "user" SET role = $2, updated_at = $3 WHERE id = $1"#)
        .bind(id)
        .bind(role.as_str())
        .bind(now)
        .execute(on)
        .await
        .map(|r| r.rows_affected() == 1))
}

/// Locks the row of a user until the transaction ends, so that two workers do not hand out his last slot twice, and says
/// how many runs he may have active; `None` if there is no limit.
pub async fn lock_slots(tx: &mut Tx, id: Id, default: i64) -> sqlx::Result<Option<i64>> {
    let text = sql(format!(r#"SELECT {SLOTS} FROM "user" u WHERE u.id = $2 {}"#, tx.for_update()));
    let slots: Option<Option<i64>> =
        within!(tx, |on| sqlx::query_scalar(text).bind(default).bind(id).fetch_optional(on).await)?;
    Ok(slots.unwrap_or(Some(default)))
}

/// How many runs a user may have active, `$1` if nothing else is said; NULL without a limit.
const SLOTS: &str = "CAST(CASE WHEN u.role IN ('ADMIN', 'SUPERADMIN') THEN NULL ELSE COALESCE(u.max_concurrent_executions, $1) END AS BIGINT) AS slots";

/// Runs of a user that hold a slot, counted to 1,000. The list of states is the condition of the index of open executions, word
/// for word.
const ACTIVE: &str = "(SELECT count(*) FROM (SELECT 1 FROM execution e WHERE e.user_id = u.id
    AND e.status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING') AND e.status <> 'PENDING' LIMIT 1000) few) AS active";

/// How a user stands who wants one more run.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub struct Standing {
    /// How many runs he may have active; `None` without a limit.
    pub slots: Option<i64>,
    /// Runs that hold a slot, counted to 1,000.
    pub active: i64,
    /// Runs of ours that wait, counted to `most`.
    pub waiting: i64,
}

/// How a user stands; `default` slots where his account names no number. On SQLite nobody else is accepted meanwhile; on
/// PostgreSQL those of the same moment are not seen.
pub async fn standing(tx: &mut Tx, id: Id, default: i64, most: i64) -> sqlx::Result<Standing> {
    let text = sql(format!(
        r#"SELECT {SLOTS}, {ACTIVE}, (SELECT count(*) FROM (SELECT 1 FROM execution e JOIN execution_run r ON r.execution_id = e.id
               WHERE e.user_id = u.id AND e.status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING')
                   AND e.status = 'PENDING' LIMIT $3) few) AS waiting
           FROM "user" u WHERE u.id = $2"#
    ));
    let found = within!(tx, |on| sqlx::query_as(text).bind(default).bind(id).bind(most).fetch_optional(on).await)?;
    Ok(found.unwrap_or(Standing { slots: Some(default), active: 0, waiting: 0 }))
}

/// Of each of these users the runs that hold a slot, and the slots.
pub async fn slots_of(db: &Db, ids: &[Id], default: i64) -> sqlx::Result<Vec<(Id, i64, Option<i64>)>> {
    let mut found = Vec::with_capacity(ids.len());
    for some in ids.chunks(500) {
        let values: Vec<Value> = some.iter().map(|id| Value::Id(*id)).collect();
        let marks = placeholders(2, some.len());
        let text = sql(format!(r#"SELECT u.id, {ACTIVE}, {SLOTS} FROM "user" u WHERE u.id IN ({marks})"#));
        let rows: Vec<(Id, i64, Option<i64>)> =
            reading!(db, |on| bind_values!(sqlx::query_as(text).bind(default), values).fetch_all(on).await)?;
        found.extend(rows);
    }
    Ok(found)
}
