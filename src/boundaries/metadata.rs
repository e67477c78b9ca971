//! What geoBoundaries tells of a country or of its parts, as columns.

use serde_json::{Map, Value as Json};

use crate::store::{boundaries::Fields, search::Value};

#[derive(Clone, Copy)]
enum Kind {
    /// Text of so many characters at most.
    Text(usize),
    Whole,
    Real,
}

/// Column, its name at geoBoundaries, and what it holds.
const COLUMNS: [(&str, &str, Kind); 30] = [
    ("boundaryID", "boundaryID", Kind::Text(100)),
    ("boundaryName", "boundaryName", Kind::Text(255)),
    ("boundaryType", "boundaryType", Kind::Text(10)),
    ("boundaryCanonical", "boundaryCanonical", Kind::Text(255)),
    ("boundaryYearRepresented", "boundaryYearRepresented", Kind::Text(50)),
    ("boundarySource", "boundarySource-1", Kind::Text(10_000)),
    ("boundaryLicense", "boundaryLicense", Kind::Text(10_000)),
    ("licenseDetail", "licenseDetail", Kind::Text(10_000)),
    ("licenseSource", "licenseSource", Kind::Text(10_000)),
    ("sourceDataUpdateDate", "sourceDataUpdateDate", Kind::Text(100)),
    ("buildDate", "buildDate", Kind::Text(100)),
    ("Continent", "Continent", Kind::Text(100)),
    ("UNSDG_region", "UNSDG-region", Kind::Text(100)),
    ("UNSDG_subregion", "UNSDG-subregion", Kind::Text(100)),
    ("worldBankIncomeGroup", "worldBankIncomeGroup", Kind::Text(100)),
    ("admUnitCount", "admUnitCount", Kind::Whole),
    ("meanVertices", "meanVertices", Kind::Real),
    ("minVertices", "minVertices", Kind::Whole),
    ("maxVertices", "maxVertices", Kind::Whole),
    ("meanPerimeterLengthKM", "meanPerimeterLengthKM", Kind::Real),
    ("minPerimeterLengthKM", "minPerimeterLengthKM", Kind::Real),
    ("maxPerimeterLengthKM", "maxPerimeterLengthKM", Kind::Real),
    ("meanAreaSqKM", "meanAreaSqKM", Kind::Real),
    ("minAreaSqKM", "minAreaSqKM", Kind::Real),
    ("maxAreaSqKM", "maxAreaSqKM", Kind::Real),
    ("staticDownloadLink", "staticDownloadLink", Kind::Text(10_000)),
    ("gjDownloadURL", "gjDownloadURL", Kind::Text(10_000)),
    ("tjDownloadURL", "tjDownloadURL", Kind::Text(10_000)),
    ("simplifiedGeometryGeoJSON", "simplifiedGeometryGeoJSON", Kind::Text(10_000)),
    ("imagePreview", "imagePreview", Kind::Text(10_000)),
];

/// The columns of what geoBoundaries says; a number that is missing is 0.
pub fn read(said: &Map<String, Json>) -> Fields {
    COLUMNS.iter().map(|(column, name, kind)| (*column, value(said.get(*name), *kind))).collect()
}

fn value(said: Option<&Json>, kind: Kind) -> Option<Value> {
    let number = || match said {
        Some(Json::Number(number)) => number.as_f64(),
        Some(Json::String(text)) => text.trim().parse::<f64>().ok(),
        _ => None,
    };
    match kind {
        Kind::Text(longest) => text(said, longest).map(Value::Text),
        Kind::Whole => {
            let number = number().unwrap_or(0.0);
            Some(Value::Integer(if (0.0..2e9).contains(&number) { number.round() as i64 } else { 0 }))
        }
        Kind::Real => Some(Value::Number(number().filter(|number| number.is_finite()).unwrap_or(0.0))),
    }
}

/// Text without what no column takes, cut.
pub fn text(said: Option<&Json>, longest: usize) -> Option<String> {
    let text = match said? {
        Json::String(text) => text.clone(),
        Json::Number(number) => number.to_string(),
        _ => return None,
    };
    Some(text.chars().filter(|c| *c != '\0').take(longest).collect())
}
