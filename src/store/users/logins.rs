//! What of `user` signing in needs: hashes, failures and locks, and from when on tokens live.

use crate::{
    auth::lockout::{self, Failures},
    reading,
    store::{Db, Id, Time, Tx},
    within,
};

/// What sign-in needs.
#[derive(Debug, sqlx::FromRow)]
pub struct Login {
    pub id: Id,
    pub email: String,
    pub password: String,
    pub locked_until: Option<Time>,
}

/// The accounts of an address: the one that is spelled exactly so, else all that differ in case only.
pub async fn find(db: &Db, email: &str) -> sqlx::Result<Vec<Login>> {
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

/// Notes that the address is the person's.
pub async fn verify_email(tx: &mut Tx, id: Id, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        r#"UPDATE "user" SET email_verified = $2, email_verified_at = COALESCE(email_verified_at, $3) WHERE id = $1"#
    )
    .bind(id)
    .bind(true)
    .bind(now)
    .execute(on)
    .await
    .map(drop))
}

/// The stored hash of an account.
pub async fn password(db: &Db, id: Id) -> sqlx::Result<Option<String>> {
    reading!(db, |on| sqlx::query_scalar(r#"SELECT password FROM "user" WHERE id = $1"#)
        .bind(id)
        .fetch_optional(on)
        .await)
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
