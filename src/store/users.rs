//! Table `user`: people and the accounts that programs sign in with.

use serde::Serialize;

use super::{Db, Id, Time, Tx};
use crate::{
    auth::lockout::{self, Failures},
    reading, within,
};

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

/// What sign-in needs.
#[derive(Debug, sqlx::FromRow)]
pub struct Login {
    pub id: Id,
    pub email: String,
    pub password: String,
    pub locked_until: Option<Time>,
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
}

/// A new account.
pub struct NewUser<'a> {
    pub email: &'a str,
    pub name: &'a str,
    pub role: Role,
    /// The hash, never the password.
    pub password: &'a str,
}

/// The account with this id, and whether the token `jti`, or the service client that it was made for, is revoked: one query
/// a request.
pub async fn holder(db: &Db, id: Id, jti: &str, client: Option<&str>, now: Time) -> sqlx::Result<Option<Holder>> {
    reading!(db, |on| {
        sqlx::query_as(
        r#"SELECT id, email, role, tokens_not_before,
                  (EXISTS (SELECT 1 FROM token_revocation r WHERE r.jti = $2)
                   OR EXISTS (SELECT 1 FROM service_client c WHERE c.client_id = $3 AND (c.revoked OR c.expires_at <= $4))) AS revoked
           FROM "user" WHERE id = $1"#
    )
    .bind(id)
    .bind(jti)
    .bind(client)
    .bind(now)
    .fetch_optional(on)
    .await
    })
}

/// The accounts of an address: the one that is spelled exactly so, else all that differ in case only.
pub async fn logins(db: &Db, email: &str) -> sqlx::Result<Vec<Login>> {
    let exact: Vec<Login> =
        reading!(db, |on| sqlx::query_as(r#"SELECT id, email, password, locked_until FROM "user" WHERE email = $1"#)
            .bind(email)
            .fetch_all(on)
            .await)?;
    if !exact.is_empty() {
        return Ok(exact);
    }
    reading!(db, |on| sqlx::query_as(
        r#"SELECT id, email, password, locked_until FROM "user" WHERE lower(email) = lower($1) LIMIT 2"#
    )
    .bind(email)
    .fetch_all(on)
    .await)
}

const PROFILE: &str = r#"SELECT id, email, name, role, country, institution, created_at, updated_at, email_notifications_enabled,
    email_subscription_news, email_subscription_engagement, email_subscription_system_updates, email_verified, email_verified_at,
    last_login_at, last_activity_at, consent_given_at, consent_source, gee_license_acknowledged, gender_identity,
    gender_identity_description, max_concurrent_executions, purpose_of_use, purpose_of_use_other, role_title, sector, sector_other
    FROM "user" WHERE id = $1"#;

pub async fn profile(db: &Db, id: Id) -> sqlx::Result<Option<Profile>> {
    reading!(db, |on| sqlx::query_as(PROFILE).bind(id).fetch_optional(on).await)
}

pub async fn insert(tx: &mut Tx, id: Id, new: &NewUser<'_>, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        r#"INSERT INTO "user" (id, email, password, created_at, updated_at, role, name, email_verified,
               google_groups_trends_earth_users, google_groups_trendsearth, email_notifications_enabled, failed_login_count,
               email_subscription_news, email_subscription_engagement, email_subscription_system_updates)
           VALUES ($1, $2, $3, $4, $4, $5, $6, $7, $8, $8, $7, 0, $8, $8, $7)"#
    )
    .bind(id)
    .bind(new.email)
    .bind(new.password)
    .bind(now)
    .bind(new.role.as_str())
    .bind(new.name)
    .bind(true)
    .bind(false)
    .execute(on)
    .await
    .map(drop)
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

/// Notes a sign-in and forgets failed ones. False if the password was changed meanwhile.
pub async fn signed_in(tx: &mut Tx, id: Id, password: &str, now: Time) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query(
        r#"UPDATE "user" SET last_login_at = $3, last_activity_at = $3, failed_login_count = 0, locked_until = NULL
           WHERE id = $1 AND password = $2"#
    )
    .bind(id)
    .bind(password)
    .bind(now)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1))
}

/// Notes that somebody was there.
pub async fn active(tx: &mut Tx, id: Id, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(r#"UPDATE "user" SET last_activity_at = $2 WHERE id = $1"#)
        .bind(id)
        .bind(now)
        .execute(on)
        .await
        .map(drop))
}

/// Counts a failed sign-in, and locks from a certain number on; `None`, and nothing is counted, if it is locked already.
pub async fn count_failure(tx: &mut Tx, id: Id, now: Time) -> sqlx::Result<Option<Failures>> {
    let [first, second, last] = lockout::STEPS.map(|(n, minutes)| (n, now + chrono::TimeDelta::minutes(minutes)));
    within!(tx, |on| {
        sqlx::query_as(
        r#"UPDATE "user" SET failed_login_count = failed_login_count + 1, locked_until =
               CASE WHEN failed_login_count + 1 >= $7 THEN $8 WHEN failed_login_count + 1 >= $5 THEN $6
                    WHEN failed_login_count + 1 >= $3 THEN $4 END
           WHERE id = $1 AND (locked_until IS NULL OR locked_until <= $2) RETURNING failed_login_count AS failed_count, locked_until"#
    )
    .bind(id)
    .bind(now)
    .bind(first.0)
    .bind(first.1)
    .bind(second.0)
    .bind(second.1)
    .bind(last.0)
    .bind(last.1)
    .fetch_optional(on)
    .await
    })
}

/// Until when an account is locked.
pub async fn locked_until(db: &Db, id: Id) -> sqlx::Result<Option<Time>> {
    let row: Option<Option<Time>> =
        reading!(db, |on| sqlx::query_scalar(r#"SELECT locked_until FROM "user" WHERE id = $1"#)
            .bind(id)
            .fetch_optional(on)
            .await)?;
    Ok(row.flatten())
}

/// Replaces a hash by another one of the same password. Nothing happens if the password was changed meanwhile.
pub async fn upgrade_hash(tx: &mut Tx, id: Id, old: &str, new: &str) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(r#"UPDATE "user" SET password = $3 WHERE id = $1 AND password = $2"#)
        .bind(id)
        .bind(old)
        .bind(new)
        .execute(on)
        .await
        .map(drop))
}

/// Replaces the hash and ends every token made before `not_before`. False if there is no such account.
pub async fn set_password(tx: &mut Tx, id: Id, hash: &str, not_before: Time) -> sqlx::Result<bool> {
    within!(tx, |on| {
        sqlx::query(
        r#"UPDATE "user" SET password = $2, tokens_not_before = $3, failed_login_count = 0, locked_until = NULL WHERE id = $1"#
    )
    .bind(id)
    .bind(hash)
    .bind(not_before)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1)
    })
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

/// Before when tokens of an account are dead.
pub async fn tokens_not_before(db: &Db, id: Id) -> sqlx::Result<Option<Time>> {
    let row: Option<Option<Time>> =
        reading!(db, |on| sqlx::query_scalar(r#"SELECT tokens_not_before FROM "user" WHERE id = $1"#)
            .bind(id)
            .fetch_optional(on)
            .await)?;
    Ok(row.flatten())
}

/// Ends every token made before this second.
pub async fn end_tokens(tx: &mut Tx, id: Id, not_before: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(r#"UPDATE "user" SET tokens_not_before = $2 WHERE id = $1"#)
        .bind(id)
        .bind(not_before)
        .execute(on)
        .await
        .map(drop))
}

/// Locks the row of a user until the transaction ends, so that two workers do not hand out his last slot twice, and says
/// how many runs he may have active; `None` if there is no limit.
pub async fn slots(tx: &mut Tx, id: Id, default: i64) -> sqlx::Result<Option<i64>> {
    let text = sqlx::AssertSqlSafe(format!(
        r#"SELECT role, max_concurrent_executions FROM "user" WHERE id = $1 {}"#,
        tx.for_update()
    ));
    let row: Option<(Option<String>, Option<i32>)> =
        within!(tx, |on| sqlx::query_as(text).bind(id).fetch_optional(on).await)?;
    let (role, limit) = row.unwrap_or((None, None));
    Ok((Role::of(role.as_deref()) < Role::Admin).then(|| limit.map_or(default, i64::from)))
}
