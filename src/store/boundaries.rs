//! Tables `admin_boundary_0_metadata`, `admin_boundary_1_metadata` and `admin_boundary_1_unit`: countries and their parts,
//! by a release of geoBoundaries. Geometry is elsewhere; these rows hold links (contract/content-admin.md 1.4).

use super::{Db, Time};
use crate::reading;

/// A country with its links.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Country {
    pub iso: String,
    pub name: Option<String>,
    pub adm0_geojson_url: Option<String>,
    pub adm0_topojson_url: Option<String>,
    pub adm1_geojson_url: Option<String>,
    pub adm1_topojson_url: Option<String>,
}

/// A part of a country.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Unit {
    pub iso: String,
    pub id: String,
    pub name: Option<String>,
}

/// All countries of a release, by name.
pub async fn countries(db: &Db, release: &str) -> sqlx::Result<Vec<Country>> {
    reading!(db, |on| {
        sqlx::query_as(
        r#"SELECT c."boundaryISO" AS iso, c."boundaryName" AS name, c."gjDownloadURL" AS adm0_geojson_url,
             c."tjDownloadURL" AS adm0_topojson_url, p."gjDownloadURL" AS adm1_geojson_url, p."tjDownloadURL" AS adm1_topojson_url
         FROM admin_boundary_0_metadata c LEFT JOIN admin_boundary_1_metadata p
             ON p."boundaryISO" = c."boundaryISO" AND p."releaseType" = c."releaseType"
         WHERE c."releaseType" = $1 ORDER BY c."boundaryName", c."boundaryISO""#
    )
    .bind(release)
    .fetch_all(on)
    .await
    })
}

/// All parts of all countries of a release, by name.
pub async fn units(db: &Db, release: &str) -> sqlx::Result<Vec<Unit>> {
    reading!(db, |on| sqlx::query_as(
        r#"SELECT "boundaryISO" AS iso, "shapeID" AS id, "shapeName" AS name FROM admin_boundary_1_unit
         WHERE "releaseType" = $1 ORDER BY "shapeName", "shapeID""#
    )
    .bind(release)
    .fetch_all(on)
    .await)
}

/// When a row of a release was changed last; `None` if there is none.
pub async fn last_updated(db: &Db, release: &str) -> sqlx::Result<Option<Time>> {
    reading!(db, |on| sqlx::query_scalar(
        r#"SELECT updated_at FROM (
             SELECT updated_at FROM admin_boundary_0_metadata WHERE "releaseType" = $1
             UNION ALL SELECT updated_at FROM admin_boundary_1_metadata WHERE "releaseType" = $1
             UNION ALL SELECT updated_at FROM admin_boundary_1_unit WHERE "releaseType" = $1) AS rows
         WHERE updated_at IS NOT NULL ORDER BY updated_at DESC LIMIT 1"#
    )
    .bind(release)
    .fetch_optional(on)
    .await)
}
