//! Table `user_client_metadata`: with which programs people work, one row a person and kind of program.

use serde::Serialize;

use super::{Db, Id, Json, Time, Tx};
use crate::{reading, within};

/// What a program says of itself; what is `None` keeps the value of before.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// `qgis_plugin`, `api_ui` or `cli`.
    pub client_type: String,
    pub version: Option<String>,
    pub os: Option<String>,
    pub qgis_version: Option<String>,
    pub language: Option<String>,
    pub extra: Option<Json>,
}

/// A row as its person sees it.
#[derive(Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct UserClient {
    pub id: Id,
    pub user_id: Id,
    pub client_type: String,
    pub client_version: Option<String>,
    pub os: Option<String>,
    pub qgis_version: Option<String>,
    pub language: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub extra_metadata: Option<Json>,
    pub last_seen_at: chrono::NaiveDateTime,
    pub created_at: chrono::NaiveDateTime,
}

/// People with the same program, version, system and language.
#[derive(Debug, sqlx::FromRow)]
pub struct Group {
    pub client_type: String,
    pub client_version: Option<String>,
    pub qgis_version: Option<String>,
    pub os: Option<String>,
    pub language: Option<String>,
    pub n: i64,
}

/// Notes that a person was seen with a program.
pub async fn upsert(tx: &mut Tx, user: Id, client: &Client, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| {
        sqlx::query(
        "INSERT INTO user_client_metadata AS m
             (id, user_id, client_type, client_version, os, qgis_version, language, extra_metadata, last_seen_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
         ON CONFLICT (user_id, client_type) DO UPDATE SET last_seen_at = excluded.last_seen_at,
             client_version = COALESCE(excluded.client_version, m.client_version), os = COALESCE(excluded.os, m.os),
             qgis_version = COALESCE(excluded.qgis_version, m.qgis_version), language = COALESCE(excluded.language, m.language),
             extra_metadata = COALESCE(excluded.extra_metadata, m.extra_metadata)"
    )
    .bind(Id::random())
    .bind(user)
    .bind(&client.client_type)
    .bind(&client.version)
    .bind(&client.os)
    .bind(&client.qgis_version)
    .bind(&client.language)
    .bind(&client.extra)
    .bind(now)
    .execute(on)
    .await
    .map(drop)
    })
}

/// The programs of a person, in the order in which they were first seen.
pub async fn list(db: &Db, user: Id) -> sqlx::Result<Vec<UserClient>> {
    reading!(db, |on| {
        sqlx::query_as(
        "SELECT id, user_id, client_type, client_version, os, qgis_version, language, extra_metadata, last_seen_at, created_at
         FROM user_client_metadata WHERE user_id = $1 ORDER BY created_at, client_type"
    )
    .bind(user)
    .fetch_all(on)
    .await
    })
}

/// Everybody who was seen at or after `since`, grouped.
pub async fn groups(db: &Db, since: Time) -> sqlx::Result<Vec<Group>> {
    reading!(db, |on| sqlx::query_as(
        "SELECT client_type, client_version, qgis_version, os, language, count(*) AS n FROM user_client_metadata
         WHERE last_seen_at >= $1 GROUP BY client_type, client_version, qgis_version, os, language"
    )
    .bind(since)
    .fetch_all(on)
    .await)
}

/// People by language, whatever they work with.
pub async fn languages(db: &Db, since: Time) -> sqlx::Result<Vec<(Option<String>, i64)>> {
    reading!(db, |on| {
        sqlx::query_as(
        "SELECT language, count(DISTINCT user_id) AS n FROM user_client_metadata WHERE last_seen_at >= $1 AND language IS NOT NULL
         GROUP BY language ORDER BY n DESC, language"
    )
    .bind(since)
    .fetch_all(on)
    .await
    })
}

/// How many ever worked with each kind of program.
pub async fn totals(db: &Db) -> sqlx::Result<Vec<(String, i64)>> {
    reading!(db, |on| sqlx::query_as(
        "SELECT client_type, count(*) FROM user_client_metadata GROUP BY client_type ORDER BY client_type"
    )
    .fetch_all(on)
    .await)
}
