//! Table `user`: its columns of Earth Engine credentials (contract/auth-users.md 10). The secrets among them stay here.

use serde::Serialize;

use crate::{
    reading,
    store::{Db, Id, Time, Tx},
    within,
};

/// What may be told of a person's credentials.
#[derive(Debug, Clone, Default, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct GeeCredentials {
    /// `oauth` or `service_account`; `null` if there are none.
    #[sqlx(rename = "gee_credentials_type")]
    pub credentials_type: Option<String>,
    #[sqlx(rename = "gee_credentials_created_at")]
    pub created_at: Option<chrono::NaiveDateTime>,
    #[sqlx(rename = "gee_cloud_project")]
    pub cloud_project: Option<String>,
}

/// The encrypted columns of one person.
pub type Encrypted = (Option<String>, Option<String>, Option<String>, Option<String>);

/// What is encrypted of everybody who has stored something.
pub async fn encrypted(db: &Db) -> sqlx::Result<Vec<Encrypted>> {
    reading!(db, |on| sqlx::query_as(
        r#"SELECT gee_oauth_token, gee_refresh_token, gee_service_account_key, openeo_credentials_enc FROM "user"
           WHERE gee_oauth_token IS NOT NULL OR gee_refresh_token IS NOT NULL OR gee_service_account_key IS NOT NULL
               OR openeo_credentials_enc IS NOT NULL"#
    )
    .fetch_all(on)
    .await)
}

/// Everything about the credentials of one person, secrets encrypted.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Stored {
    pub email: String,
    #[sqlx(flatten)]
    pub told: GeeCredentials,
    pub gee_refresh_token: Option<String>,
    pub gee_service_account_key: Option<String>,
    /// The account at Google that consented.
    pub gee_google_email: Option<String>,
}

/// `None` if there is no such person.
pub async fn stored(db: &Db, id: Id) -> sqlx::Result<Option<Stored>> {
    reading!(db, |on| sqlx::query_as(
        r#"SELECT email, gee_credentials_type, gee_credentials_created_at, gee_cloud_project, gee_refresh_token,
               gee_service_account_key, gee_google_email FROM "user" WHERE id = $1"#
    )
    .bind(id)
    .fetch_optional(on)
    .await)
}

/// Keeps what a person's consent became, encrypted; a key of a service account goes.
pub async fn put_oauth(
    tx: &mut Tx,
    id: Id,
    (access, refresh): (&str, &str),
    google_email: Option<&str>,
    now: Time,
) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query(
        r#"UPDATE "user" SET gee_credentials_type = 'oauth', gee_credentials_created_at = $2, gee_oauth_token = $3,
               gee_refresh_token = $4, gee_google_email = $5, gee_service_account_key = NULL WHERE id = $1"#
    )
    .bind(id)
    .bind(now)
    .bind(access)
    .bind(refresh)
    .bind(google_email)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1))
}

/// Keeps the key of a service account, encrypted; what a consent became goes.
pub async fn put_service_account(tx: &mut Tx, id: Id, key: &str, now: Time) -> sqlx::Result<bool> {
    within!(tx, |on| {
        sqlx::query(
            r#"UPDATE "user" SET gee_credentials_type = 'service_account', gee_credentials_created_at = $2,
               gee_service_account_key = $3, gee_oauth_token = NULL, gee_refresh_token = NULL, gee_google_email = NULL,
               gee_cloud_project = NULL WHERE id = $1"#,
        )
        .bind(id)
        .bind(now)
        .bind(key)
        .execute(on)
        .await
        .map(|r| r.rows_affected() == 1)
    })
}

/// Takes everything away; false if there was nothing.
pub async fn clear(tx: &mut Tx, id: Id) -> sqlx::Result<bool> {
    within!(tx, |on| {
        sqlx::query(
            r#"UPDATE "user" SET gee_credentials_type = NULL, gee_credentials_created_at = NULL, gee_oauth_token = NULL,
               gee_refresh_token = NULL, gee_service_account_key = NULL, gee_google_email = NULL, gee_cloud_project = NULL
           WHERE id = $1 AND gee_credentials_type IS NOT NULL"#,
        )
        .bind(id)
        .execute(on)
        .await
        .map(|r| r.rows_affected() == 1)
    })
}

/// Keeps the project that a consent is used with.
pub async fn set_project(tx: &mut Tx, id: Id, project: &str) -> sqlx::Result<bool> {
    within!(tx, |on| sqlx::query(
        r#"UPDATE "user" SET gee_cloud_project = $2 WHERE id = $1 AND gee_credentials_type = 'oauth'"#
    )
    .bind(id)
    .bind(project)
    .execute(on)
    .await
    .map(|r| r.rows_affected() == 1))
}

/// Keeps whose account at Google it is.
pub async fn set_google_email(tx: &mut Tx, id: Id, email: &str) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(r#"UPDATE "user" SET gee_google_email = $2 WHERE id = $1"#)
        .bind(id)
        .bind(email)
        .execute(on)
        .await
        .map(drop))
}
