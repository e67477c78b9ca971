//! `GET /api/v1/data/boundaries`: countries and parts of countries, page by page (contract/content-admin.md 1.1).

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{super::ErrorBody, Pairs, release};
use crate::{
    app::App,
    auth::User,
    clock,
    error::{Error, Result},
    store::{
        self,
        boundaries::{COUNTRY_COLUMNS, CountryRow, UNIT_COLUMNS, UnitRow},
        search::{Clause, Column, Op, Search, Value},
    },
};

/// A country or a part of one; the names of its keys are those of geoBoundaries.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum Row {
    Country {
        level: i64,
        #[serde(rename = "Continent")]
        continent: Option<String>,
        #[serde(rename = "boundaryID")]
        id: Option<String>,
        #[serde(rename = "boundaryISO")]
        iso: String,
        #[serde(rename = "boundaryName")]
        name: Option<String>,
        #[serde(rename = "boundaryType")]
        kind: Option<String>,
        #[serde(rename = "buildDate")]
        build_date: Option<String>,
        #[serde(rename = "createdAt")]
        created_at: Option<chrono::NaiveDateTime>,
        #[serde(rename = "gjDownloadURL")]
        geojson_url: Option<String>,
        #[serde(rename = "imagePreview")]
        preview_url: Option<String>,
        #[serde(rename = "releaseType")]
        release: &'static str,
        #[serde(rename = "simplifiedGeometryGeoJSON")]
        simplified_url: Option<String>,
        #[serde(rename = "staticDownloadLink")]
        static_url: Option<String>,
        #[serde(rename = "tjDownloadURL")]
        topojson_url: Option<String>,
        #[serde(rename = "updatedAt")]
        updated_at: Option<chrono::NaiveDateTime>,
    },
    Unit {
        level: i64,
        #[serde(rename = "boundaryISO")]
        iso: String,
        #[serde(rename = "createdAt")]
        created_at: Option<chrono::NaiveDateTime>,
        #[serde(rename = "releaseType")]
        release: &'static str,
        #[serde(rename = "shapeID")]
        id: String,
        #[serde(rename = "shapeName")]
        name: Option<String>,
        #[serde(rename = "updatedAt")]
        updated_at: Option<chrono::NaiveDateTime>,
    },
}

impl Row {
    fn country(row: CountryRow, release: &'static str) -> Self {
        Row::Country {
            level: 0,
            continent: row.continent,
            id: row.id,
            iso: row.iso,
            name: row.name,
            kind: row.kind,
            build_date: row.build_date,
            created_at: row.created_at,
            geojson_url: row.geojson_url,
            preview_url: row.preview_url,
            release,
            simplified_url: row.simplified_url,
            static_url: row.static_url,
            topojson_url: row.topojson_url,
            updated_at: row.updated_at,
        }
    }

    fn unit(row: UnitRow, release: &'static str) -> Self {
        Row::Unit {
            level: 1,
            iso: row.iso,
            created_at: row.created_at,
            release,
            id: row.id,
            name: row.name,
            updated_at: row.updated_at,
        }
    }

    fn updated_at(&self) -> Option<chrono::NaiveDateTime> {
        match self {
            Row::Country { updated_at, .. } | Row::Unit { updated_at, .. } => *updated_at,
        }
    }
}

/// Where the page stands, and what was asked for.
#[derive(Serialize, ToSchema)]
struct Meta {
    page: i64,
    per_page: i64,
    total: i64,
    has_more: bool,
    levels: Vec<i64>,
    note: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_iso: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_name: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct Found {
    boundaries: Vec<Row>,
    /// Of the newest row of this page.
    last_updated: Option<chrono::NaiveDateTime>,
    meta: Meta,
    release_type: &'static str,
}

const LEVELS: &str = "Invalid level parameter. Must be 0, 1, or 0,1";
/// A name is one of a country.
const NO_NAMES: &str = "Name filtering is not supported for level=1 (ADM1). GeoBoundaries only provides country-level downloads for \
                        admin1 units, not individual polygon downloads. Use the /hierarchy endpoint to see admin1 unit names, or filter \
                        by ISO country code.";
/// `%` in one pattern.
const MOST_WILD: usize = 4;

/// Countries (level 0) in the order of their codes, then their parts (level 1). `%` in `iso` is anything; `name` is a part of
/// a country's name.
#[utoipa::path(get, path = "/api/v1/data/boundaries", tag = "boundaries", security(("bearerAuth" = ["boundary:read"])),
    params(("level" = Option<String>, Query), ("release_type" = Option<String>, Query), ("iso" = Option<String>, Query),
        ("name" = Option<String>, Query), ("id" = Option<String>, Query), ("created_at_since" = Option<String>, Query),
        ("updated_at_since" = Option<String>, Query), ("page" = Option<i64>, Query), ("per_page" = Option<i64>, Query)),
    responses((status = 200, body = Found), (status = 400, body = ErrorBody)))]
pub async fn search(State(app): State<App>, _: User, query: Pairs) -> Result<Json<Found>> {
    let release = release(&query)?;
    let levels: Option<Vec<i64>> = query.get("level").unwrap_or("0").split(',').map(level).collect();
    let levels = levels.ok_or_else(|| Error::invalid(LEVELS))?;
    let mut asked = vec![("release", Op::Eq, Value::Text(release.to_owned()))];
    for (key, column) in [("created_at_since", "created_at"), ("updated_at_since", "updated_at")] {
        if let Some(text) = given(&query, key) {
            let wrong = || Error::invalid(format!("Invalid {key} format. Use ISO format (e.g., 2023-01-01T00:00:00Z)"));
            asked.push((column, Op::Ge, Value::Time(clock::parse(&text).ok_or_else(wrong)?)));
        }
    }
    let number = |key: &str, default: i64| match query.get(key) {
        None => Ok(default),
        Some(text) => text.trim().parse().map_err(|_| Error::invalid("Invalid page or per_page parameter")),
    };
    let (page, per_page) = (number("page", 1)?.max(1), number("per_page", 100)?.min(1_000));
    let (id, iso, name) = (given(&query, "id"), given(&query, "iso"), given(&query, "name"));
    if name.is_some() && levels.contains(&1) && !levels.contains(&0) {
        return Err(Error::invalid(NO_NAMES));
    }
    if let Some(id) = &id {
        asked.push(("id", Op::Eq, Value::Text(id.clone())));
    }
    if let Some(iso) = &iso {
        let op = if iso.contains('%') { Op::Like } else { Op::Eq };
        asked.push(("iso", op, Value::Text(pattern(iso, op)?)));
    }
    if let Some(name) = &name {
        asked.push(("name", Op::Like, Value::Text(format!("%{}%", pattern(name, Op::Like)?))));
    }
    let size = if per_page < 1 { 100 } else { per_page };
    let (boundaries, total) = window(&app, release, &levels, &asked, (size, (page - 1).saturating_mul(size))).await?;
    let meta = Meta {
        page,
        per_page,
        total,
        has_more: page.saturating_mul(per_page) < total,
        levels,
        note: "Use gjDownloadURL field to fetch GeoJSON geometry data",
        filter_id: id,
        filter_iso: iso.map(|iso| iso.to_uppercase()),
        filter_name: name,
    };
    let last_updated = boundaries.iter().filter_map(Row::updated_at).max();
    Ok(Json(Found { boundaries, last_updated, meta, release_type: release }))
}

fn level(text: &str) -> Option<i64> {
    match text.trim() {
        "0" => Some(0),
        "1" => Some(1),
        _ => None,
    }
}

fn given(query: &Pairs, key: &str) -> Option<String> {
    query.get(key).map(|text| text.replace('\0', "")).filter(|text| !text.is_empty())
}

/// Text for a comparison; in a pattern a backslash is one.
fn pattern(text: &str, op: Op) -> Result<String> {
    if op != Op::Like {
        return Ok(text.to_owned());
    }
    if text.matches('%').count() > MOST_WILD {
        return Err(Error::invalid(format!("{text:?} has more than {MOST_WILD} % in it")));
    }
    Ok(text.replace('\\', "\\\\"))
}

/// What of this is asked of a table with these columns.
fn narrowed(asked: &[(&str, Op, Value)], columns: &[Column]) -> Search {
    let clause = |(name, op, value): &(&str, Op, Value)| {
        let column = columns.iter().find(|column| column.name == *name)?;
        Some(vec![Clause { column: *column, op: *op, value: value.clone() }])
    };
    Search { filter: asked.iter().filter_map(clause).collect(), ..Search::default() }
}

/// A window over the levels, one after the other, and how many rows they have together.
async fn window(
    app: &App,
    release: &'static str,
    levels: &[i64],
    asked: &[(&str, Op, Value)],
    (mut limit, mut offset): (i64, i64),
) -> Result<(Vec<Row>, i64)> {
    let (of_countries, of_units) = (narrowed(asked, &COUNTRY_COLUMNS), narrowed(asked, &UNIT_COLUMNS));
    let (mut rows, mut total) = (Vec::new(), 0);
    for level in levels {
        let count = match level {
            0 => store::boundaries::count_countries(&app.db, &of_countries).await?,
            _ => store::boundaries::count_units(&app.db, &of_units).await?,
        };
        total += count;
        if limit > 0 && offset < count {
            let before = rows.len();
            match level {
                0 => {
                    let some = store::boundaries::list_countries(&app.db, &of_countries, (limit, offset)).await?;
                    rows.extend(some.into_iter().map(|row| Row::country(row, release)));
                }
                _ => {
                    let some = store::boundaries::list_units(&app.db, &of_units, (limit, offset)).await?;
                    rows.extend(some.into_iter().map(|row| Row::unit(row, release)));
                }
            }
            limit -= i64::try_from(rows.len() - before).unwrap_or(limit);
        }
        offset = (offset - count).max(0);
    }
    Ok((rows, total))
}
