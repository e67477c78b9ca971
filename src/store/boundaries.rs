//! Tables `admin_boundary_0_metadata`, `admin_boundary_1_metadata` and `admin_boundary_1_unit`: countries and their parts,
//! by a release of geoBoundaries. Geometry is elsewhere; these rows hold links (contract/content-admin.md 1.4).

use std::collections::BTreeSet;

use super::{
    Db, Time, Tx,
    search::{Column, Kind, Search, Value},
};
use crate::{bind_values, reading, within};

/// Releases of geoBoundaries; the first is the default.
pub const RELEASES: [&str; 3] = ["gbOpen", "gbHumanitarian", "gbAuthoritative"];

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

/// A row of a list of countries.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct CountryRow {
    pub iso: String,
    pub id: Option<String>,
    pub name: Option<String>,
    pub kind: Option<String>,
    pub build_date: Option<String>,
    pub continent: Option<String>,
    pub static_url: Option<String>,
    pub geojson_url: Option<String>,
    pub topojson_url: Option<String>,
    pub simplified_url: Option<String>,
    pub preview_url: Option<String>,
    pub created_at: Option<Time>,
    pub updated_at: Option<Time>,
}

/// A row of a list of parts.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct UnitRow {
    pub iso: String,
    pub id: String,
    pub name: Option<String>,
    pub created_at: Option<Time>,
    pub updated_at: Option<Time>,
}

const COUNTRIES: &str = "admin_boundary_0_metadata";
const UNITS: &str = "admin_boundary_1_unit";

/// What lists of countries are narrowed by.
pub const COUNTRY_COLUMNS: [Column; 6] = [
    Column::new("release", "\"releaseType\"", Kind::Text),
    Column::new("iso", "\"boundaryISO\"", Kind::Text),
    Column::new("id", "\"boundaryID\"", Kind::Text),
    Column::new("name", "\"boundaryName\"", Kind::Text),
    Column::new("created_at", "created_at", Kind::Time),
    Column::new("updated_at", "updated_at", Kind::Time),
];
/// What lists of parts are narrowed by.
pub const UNIT_COLUMNS: [Column; 5] = [
    Column::new("release", "\"releaseType\"", Kind::Text),
    Column::new("iso", "\"boundaryISO\"", Kind::Text),
    Column::new("id", "\"shapeID\"", Kind::Text),
    Column::new("created_at", "created_at", Kind::Time),
    Column::new("updated_at", "updated_at", Kind::Time),
];

/// A window of the countries that fit, in the order of their codes.
pub async fn list_countries(db: &Db, search: &Search, (limit, offset): (i64, i64)) -> sqlx::Result<Vec<CountryRow>> {
    let (condition, values) = search.condition(db, 3);
    let text = sqlx::AssertSqlSafe(format!(
        r#"SELECT "boundaryISO" AS iso, "boundaryID" AS id, "boundaryName" AS name, "boundaryType" AS kind, "buildDate" AS build_date,
             "Continent" AS continent, "staticDownloadLink" AS static_url, "gjDownloadURL" AS geojson_url,
             "tjDownloadURL" AS topojson_url, "simplifiedGeometryGeoJSON" AS simplified_url, "imagePreview" AS preview_url,
             created_at, updated_at
         FROM {COUNTRIES} WHERE {condition} ORDER BY "boundaryISO" LIMIT $1 OFFSET $2"#
    ));
    reading!(db, |on| bind_values!(sqlx::query_as(text).bind(limit).bind(offset), values).fetch_all(on).await)
}

/// A window of the parts that fit, in the order of their countries' codes and their names.
pub async fn list_units(db: &Db, search: &Search, (limit, offset): (i64, i64)) -> sqlx::Result<Vec<UnitRow>> {
    let (condition, values) = search.condition(db, 3);
    let text = sqlx::AssertSqlSafe(format!(
        r#"SELECT "boundaryISO" AS iso, "shapeID" AS id, "shapeName" AS name, created_at, updated_at
         FROM {UNITS} WHERE {condition} ORDER BY "boundaryISO", "shapeName", "shapeID" LIMIT $1 OFFSET $2"#
    ));
    reading!(db, |on| bind_values!(sqlx::query_as(text).bind(limit).bind(offset), values).fetch_all(on).await)
}

/// How many countries fit.
pub async fn count_countries(db: &Db, search: &Search) -> sqlx::Result<i64> {
    count(db, COUNTRIES, search).await
}

/// How many parts fit.
pub async fn count_units(db: &Db, search: &Search) -> sqlx::Result<i64> {
    count(db, UNITS, search).await
}

async fn count(db: &Db, table: &str, search: &Search) -> sqlx::Result<i64> {
    let (condition, values) = search.condition(db, 1);
    let text = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table} WHERE {condition}"));
    reading!(db, |on| bind_values!(sqlx::query_scalar(text), values).fetch_one(on).await)
}

/// Which of the two tables of metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Country,
    Parts,
}

impl Level {
    fn table(self) -> &'static str {
        match self {
            Level::Country => COUNTRIES,
            Level::Parts => "admin_boundary_1_metadata",
        }
    }
}

/// Columns and what they hold; `None` is NULL. The names come from tables of this program.
pub type Fields = Vec<(&'static str, Option<Value>)>;

/// The literals of some fields, and for each field what stands for it in a statement, from `$first` on.
fn places(fields: &Fields, first: usize) -> (Vec<Value>, Vec<String>) {
    let mut values = Vec::new();
    let places = fields.iter().map(|(_, value)| match value {
        None => "NULL".to_owned(),
        Some(value) => {
            values.push(value.clone());
            format!("${}", first + values.len() - 1)
        }
    });
    let places = places.collect();
    (values, places)
}

/// Whether a row says this already.
pub async fn says(db: &Db, level: Level, release: &str, iso: &str, fields: &Fields) -> sqlx::Result<bool> {
    let (values, places) = places(fields, 3);
    let same = fields.iter().zip(places).map(|((name, _), place)| match place.as_str() {
        "NULL" => format!(r#" AND "{name}" IS NULL"#),
        place => format!(r#" AND "{name}" = {place}"#),
    });
    let text = sqlx::AssertSqlSafe(format!(
        r#"SELECT count(*) FROM {} WHERE "releaseType" = $1 AND "boundaryISO" = $2{}"#,
        level.table(),
        same.collect::<String>()
    ));
    let rows: i64 =
        reading!(db, |on| bind_values!(sqlx::query_scalar(text).bind(release).bind(iso), values).fetch_one(on).await)?;
    Ok(rows > 0)
}

/// Stores a row with these fields; other columns stay as they are. True if anything is new.
pub async fn put(
    tx: &mut Tx,
    level: Level,
    release: &str,
    iso: &str,
    fields: &Fields,
    now: Time,
) -> sqlx::Result<bool> {
    let (values, places) = places(fields, 4);
    let (mut names, mut set, mut new) = (String::new(), String::new(), String::from("FALSE"));
    for (name, _) in fields {
        names.push_str(&format!(r#", "{name}""#));
        set.push_str(&format!(r#", "{name}" = EXCLUDED."{name}""#));
        new.push_str(&format!(r#" OR t."{name}" IS DISTINCT FROM EXCLUDED."{name}""#));
    }
    let places: String = places.into_iter().map(|place| format!(", {place}")).collect();
    let text = sqlx::AssertSqlSafe(format!(
        r#"INSERT INTO {} AS t ("releaseType", "boundaryISO", created_at, updated_at{names}) VALUES ($1, $2, $3, $3{places})
         ON CONFLICT ("boundaryISO", "releaseType") DO UPDATE SET updated_at = EXCLUDED.updated_at{set} WHERE {new}"#,
        level.table()
    ));
    within!(tx, |on| bind_values!(sqlx::query(text).bind(release).bind(iso).bind(now), values)
        .execute(on)
        .await
        .map(|r| r.rows_affected() > 0))
}

/// Stores a part of a country. True if anything is new.
pub async fn put_unit(tx: &mut Tx, release: &str, iso: &str, id: &str, name: &str, now: Time) -> sqlx::Result<bool> {
    within!(tx, |on| {
        sqlx::query(
        r#"INSERT INTO admin_boundary_1_unit AS t ("shapeID", "releaseType", "boundaryISO", "shapeName", created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $5)
         ON CONFLICT ("shapeID", "releaseType") DO UPDATE SET "boundaryISO" = EXCLUDED."boundaryISO",
             "shapeName" = EXCLUDED."shapeName", updated_at = EXCLUDED.updated_at
         WHERE t."boundaryISO" <> EXCLUDED."boundaryISO" OR t."shapeName" IS DISTINCT FROM EXCLUDED."shapeName""#
    )
    .bind(id)
    .bind(release)
    .bind(iso)
    .bind(name)
    .bind(now)
    .execute(on)
    .await
    .map(|r| r.rows_affected() > 0)
    })
}

/// Removes the parts of a country that are not among these; true if there were any.
pub async fn keep_units(tx: &mut Tx, release: &str, iso: &str, keep: &BTreeSet<&str>) -> sqlx::Result<bool> {
    let there: Vec<String> = within!(tx, |on| sqlx::query_scalar(
        r#"SELECT "shapeID" FROM admin_boundary_1_unit WHERE "releaseType" = $1 AND "boundaryISO" = $2"#
    )
    .bind(release)
    .bind(iso)
    .fetch_all(on)
    .await)?;
    let mut removed = false;
    for id in there.iter().filter(|id| !keep.contains(id.as_str())) {
        removed = true;
        within!(tx, |on| sqlx::query(
            r#"DELETE FROM admin_boundary_1_unit WHERE "shapeID" = $1 AND "releaseType" = $2"#
        )
        .bind(id)
        .bind(release)
        .execute(on)
        .await
        .map(drop))?;
    }
    Ok(removed)
}

/// Removes the row of a level; true if there was one. Its parts are gone before.
pub async fn delete(tx: &mut Tx, level: Level, release: &str, iso: &str) -> sqlx::Result<bool> {
    let text = sqlx::AssertSqlSafe(format!(
        r#"DELETE FROM {} WHERE "releaseType" = $1 AND "boundaryISO" = $2"#,
        level.table()
    ));
    within!(tx, |on| sqlx::query(text).bind(release).bind(iso).execute(on).await.map(|r| r.rows_affected() > 0))
}

/// Notes that a release has changed where nothing is left to say so; the first country stands for it.
pub async fn touch(tx: &mut Tx, release: &str, now: Time) -> sqlx::Result<()> {
    within!(tx, |on| sqlx::query(
        r#"UPDATE admin_boundary_0_metadata SET updated_at = $2 WHERE "releaseType" = $1 AND "boundaryISO" =
             (SELECT min("boundaryISO") FROM admin_boundary_0_metadata WHERE "releaseType" = $1)"#
    )
    .bind(release)
    .bind(now)
    .execute(on)
    .await
    .map(drop))
}

/// The codes of all countries of a release.
pub async fn codes(db: &Db, release: &str) -> sqlx::Result<BTreeSet<String>> {
    let codes: Vec<String> = reading!(db, |on| sqlx::query_scalar(
        r#"SELECT "boundaryISO" FROM admin_boundary_0_metadata WHERE "releaseType" = $1"#
    )
    .bind(release)
    .fetch_all(on)
    .await)?;
    Ok(codes.into_iter().collect())
}
