//! The end of an account: what goes with it, what stays without it, and the row that remembers that there was one.

use crate::{
    reading,
    store::{Db, Id, Time, Tx},
    within,
};

/// What a deleted account had, for the statistics of who leaves (contract/auth-users.md 15).
#[derive(Debug, sqlx::FromRow)]
struct Counts {
    country: Option<String>,
    created_at: Option<Time>,
    last_login_at: Option<Time>,
    last_activity_at: Option<Time>,
    email_verified: Option<bool>,
    role: Option<String>,
    executions: i64,
    finished: i64,
    failed: i64,
    scripts: i64,
}

/// Why and by whom an account is deleted.
pub struct Why<'a> {
    /// `user_request`, `admin_request`, …
    pub reason: &'a str,
    /// The administrator who acts.
    pub by: Option<Id>,
    /// SHA-256 of the address in lower case, and until when it is kept.
    pub email_sha256: &'a str,
    pub hash_until: Option<Time>,
}

/// The account that scripts and other work of a deleted person go to: the environment account, else the oldest SUPERADMIN.
pub async fn heir(db: &Db, environment: Option<&str>, leaving: Id) -> sqlx::Result<Option<Id>> {
    reading!(db, |on| sqlx::query_scalar(
        r#"SELECT id FROM "user" WHERE id <> $2 AND (lower(email) = $1 OR role = 'SUPERADMIN')
           ORDER BY CASE WHEN lower(email) = $1 THEN 0 ELSE 1 END, created_at, id LIMIT 1"#
    )
    .bind(environment)
    .bind(leaving)
    .fetch_optional(on)
    .await)
}

/// Scripts of the account that nobody else has a use for: neither public, nor opened to somebody, nor run by others.
pub async fn own_scripts(tx: &mut Tx, id: Id) -> sqlx::Result<Vec<Id>> {
    within!(tx, |on| sqlx::query_scalar(
        "SELECT id FROM script s WHERE user_id = $1 AND NOT public AND NOT restricted
             AND NOT EXISTS (SELECT 1 FROM execution e WHERE e.script_id = s.id AND e.user_id <> $1) ORDER BY id"
    )
    .bind(id)
    .fetch_all(on)
    .await)
}

/// Writes the row that remembers the account, without its name or address.
pub async fn remember(tx: &mut Tx, id: Id, why: &Why<'_>, now: Time) -> sqlx::Result<bool> {
    let counts: Option<Counts> = within!(tx, |on| sqlx::query_as(
        r#"SELECT country, created_at, last_login_at, last_activity_at, email_verified, role,
               (SELECT count(*) FROM execution WHERE user_id = $1) AS executions,
               (SELECT count(*) FROM execution WHERE user_id = $1 AND status = 'FINISHED') AS finished,
               (SELECT count(*) FROM execution WHERE user_id = $1 AND status = 'FAILED') AS failed,
               (SELECT count(*) FROM script WHERE user_id = $1) AS scripts
           FROM "user" WHERE id = $1"#
    )
    .bind(id)
    .fetch_optional(on)
    .await)?;
    let Some(counts) = counts else { return Ok(false) };
    let days = |since: Option<Time>| since.and_then(|since| i32::try_from((now - since).num_days()).ok());
    let small = |n: i64| i32::try_from(n).unwrap_or(i32::MAX);
    within!(tx, |on| {
        sqlx::query(
        "INSERT INTO user_deletion_audit (id, deleted_at, deletion_reason, email_hash, email_hash_expires_at, country,
             account_created_at, account_age_days, last_login_at, days_since_last_login, last_activity_at, days_since_last_activity,
             total_executions, total_scripts, completed_executions, failed_executions, email_verified, role, deleted_by_admin_id)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)"
    )
    .bind(Id::random())
    .bind(now)
    .bind(why.reason)
    .bind(why.email_sha256)
    .bind(why.hash_until)
    .bind(&counts.country)
    .bind(counts.created_at)
    .bind(days(counts.created_at))
    .bind(counts.last_login_at)
    .bind(days(counts.last_login_at))
    .bind(counts.last_activity_at)
    .bind(days(counts.last_activity_at))
    .bind(small(counts.executions))
    .bind(small(counts.scripts))
    .bind(small(counts.finished))
    .bind(small(counts.failed))
    .bind(counts.email_verified)
    .bind(&counts.role)
    .bind(why.by)
    .execute(on)
    .await
    .map(drop)
    })?;
    Ok(true)
}

/// What is deleted, in this order; `$1` is the account. What is ours goes by `ON DELETE CASCADE`.
const GOES: [&str; 8] = [
    "DELETE FROM job WHERE state = 'waiting' AND subject_id IN (SELECT id FROM execution WHERE user_id = $1)",
    "DELETE FROM status_log WHERE execution_id IN (SELECT CAST(id AS TEXT) FROM execution WHERE user_id = $1)",
    "DELETE FROM execution_log WHERE execution_id IN (SELECT id FROM execution WHERE user_id = $1)",
    "DELETE FROM execution WHERE user_id = $1",
    "DELETE FROM service_client WHERE user_id = $1",
    "DELETE FROM refresh_tokens WHERE user_id = $1",
    "DELETE FROM password_reset_token WHERE user_id = $1",
    "DELETE FROM mail_outbox WHERE lower(recipient) = (SELECT lower(email) FROM \"user\" WHERE id = $1)",
];

/// What stays, without a word of the person.
const STAYS: [&str; 2] = [
    "UPDATE rate_limit_event SET user_id = NULL, user_email = NULL, ip_address = NULL, user_agent = NULL,
         limit_key = NULL WHERE user_id = $1",
    "UPDATE audit_event SET ip_address = NULL, detail = NULL WHERE actor_id = $1
         OR (target_type = 'user' AND target_id = CAST($1 AS TEXT))",
];

/// Deletes the account with what is its own; scripts, news and mails to many that stay go to the heir.
pub async fn erase(tx: &mut Tx, id: Id, heir: Option<Id>) -> sqlx::Result<bool> {
    if let Tx::Postgres(tx) = tx {
        // A person of many runs takes longer than any other request may.
        sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut **tx).await?;
        sqlx::query(r#"SELECT id FROM "user" WHERE id = $1 FOR UPDATE"#).bind(id).execute(&mut **tx).await?;
        sqlx::query("SELECT id FROM execution WHERE user_id = $1 ORDER BY id FOR UPDATE")
            .bind(id)
            .execute(&mut **tx)
            .await?;
    }
    for step in GOES.iter().chain(&STAYS) {
        within!(tx, |on| sqlx::query(*step).bind(id).execute(on).await.map(drop))?;
    }
    for step in [
        "UPDATE script SET user_id = $2 WHERE user_id = $1",
        "UPDATE news_item SET created_by_id = $2 WHERE created_by_id = $1",
    ] {
        within!(tx, |on| sqlx::query(step).bind(id).bind(heir).execute(on).await.map(drop))?;
    }
    // Whoever made them cannot be nobody: the existing server's column says so.
    for table in ["bulk_email", "bulk_email_recipient_list"] {
        let text = match heir {
            Some(_) => format!("UPDATE {table} SET created_by_id = $2 WHERE created_by_id = $1"),
            None => format!("DELETE FROM {table} WHERE created_by_id = $1 AND $2 IS NULL"),
        };
        let text = sqlx::AssertSqlSafe(text);
        within!(tx, |on| sqlx::query(text).bind(id).bind(heir).execute(on).await.map(drop))?;
    }
    within!(tx, |on| sqlx::query(r#"DELETE FROM "user" WHERE id = $1"#)
        .bind(id)
        .execute(on)
        .await
        .map(|r| r.rows_affected() == 1))
}
