//! Table `user`: its columns of Earth Engine credentials (contract/auth-users.md 10). The secrets among them stay here.

use serde::Serialize;

use crate::{
    reading,
    store::{Db, Id},
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

pub async fn credentials(db: &Db, id: Id) -> sqlx::Result<Option<GeeCredentials>> {
    reading!(db, |on| sqlx::query_as(
        r#"SELECT gee_credentials_type, gee_credentials_created_at, gee_cloud_project FROM "user" WHERE id = $1"#
    )
    .bind(id)
    .fetch_optional(on)
    .await)
}
