//! `/api/v1/data/boundaries/…`: countries and their parts, with links to their geometry (contract/content-admin.md 1).

mod search;

use std::collections::HashMap;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Data, ErrorBody, data, extract::query::Pairs};
use crate::{
    app::App,
    auth::User,
    error::{Error, Result},
    store::{self, boundaries::RELEASES},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(search::search)).routes(routes!(list)).routes(routes!(last_updated))
}

#[derive(Serialize, utoipa::ToSchema)]
struct UnitView {
    #[serde(rename = "shapeID")]
    id: String,
    #[serde(rename = "shapeName")]
    name: Option<String>,
}

/// A country; the names of its keys are those of geoBoundaries.
#[derive(Serialize, utoipa::ToSchema)]
struct CountryView {
    #[serde(rename = "boundaryISO")]
    iso: String,
    #[serde(rename = "boundaryName")]
    name: Option<String>,
    #[serde(rename = "releaseType")]
    release: &'static str,
    adm0_geojson_url: Option<String>,
    adm0_topojson_url: Option<String>,
    adm1_geojson_url: Option<String>,
    adm1_topojson_url: Option<String>,
    admin1_units: Vec<UnitView>,
}

#[derive(Serialize, utoipa::ToSchema)]
struct Boundaries {
    boundaries: Vec<CountryView>,
    last_updated: Option<chrono::NaiveDateTime>,
    release_type: &'static str,
}

#[derive(Serialize, utoipa::ToSchema)]
struct Updated {
    last_updated: chrono::NaiveDateTime,
    release_type: &'static str,
}

fn release(query: &Pairs) -> Result<&'static str> {
    let asked = query.get("release_type").unwrap_or(RELEASES[0]);
    RELEASES.into_iter().find(|release| *release == asked).ok_or_else(|| {
        Error::invalid("Invalid release_type parameter. Must be one of: gbOpen, gbHumanitarian, gbAuthoritative")
    })
}

/// All countries of a release with their parts, by name.
#[utoipa::path(get, path = "/api/v1/data/boundaries/list", tag = "boundaries", security(("bearerAuth" = ["boundary:read"])),
    params(("release_type" = Option<String>, Query)),
    responses((status = 200, body = Boundaries), (status = 400, body = ErrorBody)))]
async fn list(State(app): State<App>, _: User, query: Pairs) -> Result<Json<Boundaries>> {
    let release = release(&query)?;
    let mut units: HashMap<String, Vec<UnitView>> = HashMap::new();
    for unit in store::boundaries::units(&app.db, release).await? {
        units.entry(unit.iso).or_default().push(UnitView { id: unit.id, name: unit.name });
    }
    let countries = store::boundaries::countries(&app.db, release).await?;
    let boundaries = countries.into_iter().map(|country| CountryView {
        admin1_units: units.remove(&country.iso).unwrap_or_default(),
        iso: country.iso,
        name: country.name,
        release,
        adm0_geojson_url: country.adm0_geojson_url,
        adm0_topojson_url: country.adm0_topojson_url,
        adm1_geojson_url: country.adm1_geojson_url,
        adm1_topojson_url: country.adm1_topojson_url,
    });
    let last_updated = store::boundaries::last_updated(&app.db, release).await?;
    Ok(Json(Boundaries { boundaries: boundaries.collect(), last_updated, release_type: release }))
}

/// When a release was changed last, for clients that keep the list.
#[utoipa::path(get, path = "/api/v1/data/boundaries/last-updated", tag = "boundaries", security(("bearerAuth" = ["boundary:read"])),
    params(("release_type" = Option<String>, Query)),
    responses((status = 200, body = Data<Updated>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn last_updated(State(app): State<App>, _: User, query: Pairs) -> Result<Json<Data<Updated>>> {
    let release_type = release(&query)?;
    let last_updated = store::boundaries::last_updated(&app.db, release_type).await?;
    let missing = || Error::not_found(format!("No boundary data found for release type: {release_type}"));
    Ok(data(Updated { last_updated: last_updated.ok_or_else(missing)?, release_type }))
}
