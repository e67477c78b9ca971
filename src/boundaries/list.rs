//! A list in a file, as `GET /data/boundaries/list` answers it and as the QGIS plugin keeps it, gzipped or not.

use std::io::Read;

use anyhow::Context;
use serde_json::{Map, Value as Json};

use super::{Country, Parts, is_code, metadata::text};
use crate::store::{
    boundaries::{Fields, RELEASES},
    search::Value,
};

/// Bytes of a list, unpacked.
const MAX_BYTES: u64 = 100 << 20;

/// The countries of a list, each with its release.
pub fn read(file: &[u8]) -> anyhow::Result<Vec<(&'static str, Country)>> {
    let mut unpacked = Vec::new();
    let bytes = match file.starts_with(&[0x1f, 0x8b]) {
        true => {
            flate2::read::MultiGzDecoder::new(file).take(MAX_BYTES + 1).read_to_end(&mut unpacked)?;
            &unpacked
        }
        false => file,
    };
    anyhow::ensure!(bytes.len() as u64 <= MAX_BYTES, "the list has more than {MAX_BYTES} bytes");
    let whole: Json = serde_json::from_slice(bytes).context("the list is not valid JSON")?;
    let rows = ["boundaries", "data"].iter().find_map(|key| whole.get(key)).unwrap_or(&whole);
    let rows = rows.as_array().context("the list has no countries under \"boundaries\" or \"data\"")?;
    anyhow::ensure!(!rows.is_empty(), "the list is empty");
    rows.iter().map(|row| row.as_object().context("a country of the list is no object").and_then(country)).collect()
}

fn country(row: &Map<String, Json>) -> anyhow::Result<(&'static str, Country)> {
    let iso = row.get("boundaryISO").and_then(Json::as_str).filter(|iso| is_code(iso));
    let iso = iso.context("a country of the list has no code under \"boundaryISO\"")?.to_owned();
    let release = row.get("releaseType").and_then(Json::as_str).unwrap_or(RELEASES[0]);
    let release = RELEASES.into_iter().find(|known| *known == release);
    let release = release.with_context(|| format!("the release of {iso} is none of {}", RELEASES.join(", ")))?;
    let said = |key: &str, longest: usize| text(row.get(key), longest).map(Value::Text);
    let fields: Fields = vec![
        ("boundaryName", said("boundaryName", 255)),
        ("gjDownloadURL", said("adm0_geojson_url", 10_000)),
        ("tjDownloadURL", said("adm0_topojson_url", 10_000)),
    ];
    let units: Vec<(String, String)> = row
        .get("admin1_units")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(|unit| {
            Some((text(unit.get("shapeID"), 100)?, text(unit.get("shapeName"), 255).unwrap_or_default()))
        })
        .collect();
    let links: Fields =
        vec![("gjDownloadURL", said("adm1_geojson_url", 10_000)), ("tjDownloadURL", said("adm1_topojson_url", 10_000))];
    let some = !units.is_empty() || links.iter().any(|(_, link)| link.is_some());
    Ok((release, Country { iso, fields, parts: some.then_some(Parts { fields: links, units }) }))
}
