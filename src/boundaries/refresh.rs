//! Brings boundaries up to date with geoBoundaries, country by country. What has not changed there is not fetched again, so a
//! refresh that was cut off goes on where it was.

use std::collections::BTreeSet;

use anyhow::Context;
use serde_json::{Map, Value};

use super::{Country, Parts, is_code, metadata, source::Source};
use crate::{
    app::App,
    store::{self, boundaries::Level, jobs::Job},
};

/// A country that lists of all countries leave out.
const LEFT_OUT: &str = "IND";

/// What became of a release.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub countries: usize,
    pub changed: usize,
    pub withdrawn: usize,
    /// Countries that could not be fetched; they stay as they were.
    pub failed: usize,
}

/// Refreshes a release, or one country of it.
pub async fn refresh(
    app: &App,
    release: &'static str,
    only: Option<&str>,
    job: Option<&Job>,
) -> anyhow::Result<Outcome> {
    let url = app.config.geoboundaries_url.as_deref();
    let source = Source::new(url.context("TE_GEOBOUNDARIES_URL is not set, so there is nobody to ask.")?)?;
    let listed = match only {
        Some(iso) => {
            anyhow::ensure!(is_code(iso), "{iso:?} is no code of a country");
            source.country(release, iso).await?.into_iter().collect()
        }
        None => listed(&source, release).await?,
    };
    anyhow::ensure!(!listed.is_empty(), "geoBoundaries names no country");
    let there = store::boundaries::codes(&app.db, release).await?;
    let mut outcome = Outcome::default();
    let mut named = BTreeSet::new();
    for said in &listed {
        if app.stop.is_cancelled() {
            anyhow::bail!("the server stops");
        }
        let Some(iso) = said.get("boundaryISO").and_then(Value::as_str).filter(|iso| is_code(iso)) else { continue };
        named.insert(iso.to_owned());
        match country(app, &source, release, iso, said, job).await {
            Ok(changed) => outcome.changed += usize::from(changed),
            // The database, or a lost lease: that is no matter of one country.
            Err(error) if error.is::<sqlx::Error>() => return Err(error),
            Err(error) => {
                outcome.failed += 1;
                tracing::warn!(release, iso, error = format!("{error:#}"), "a country could not be refreshed");
            }
        }
    }
    outcome.countries = named.len();
    // A list that has lost half of the world is a mistake.
    if only.is_none() && named.len() * 2 > there.len() {
        for iso in there.difference(&named) {
            super::withdraw(app, release, iso, job).await?;
            outcome.withdrawn += 1;
        }
    }
    Ok(outcome)
}

/// All countries, also the one that the list leaves out.
async fn listed(source: &Source, release: &str) -> anyhow::Result<Vec<Map<String, Value>>> {
    let mut listed = source.countries(release).await?;
    if !listed.iter().any(|said| said.get("boundaryISO").and_then(Value::as_str) == Some(LEFT_OUT)) {
        listed.extend(source.country(release, LEFT_OUT).await?);
    }
    Ok(listed)
}

/// Stores one country; true if anything was new.
async fn country(
    app: &App,
    source: &Source,
    release: &str,
    iso: &str,
    said: &Map<String, Value>,
    job: Option<&Job>,
) -> anyhow::Result<bool> {
    let fields = metadata::read(said);
    let Some(of_parts) = source.parts(release, iso).await? else {
        return super::store(app, release, &Country { iso: iso.to_owned(), fields, parts: None }, job).await;
    };
    let of_units = metadata::read(&of_parts);
    let known = store::boundaries::says(&app.db, Level::Country, release, iso, &fields).await?
        && store::boundaries::says(&app.db, Level::Parts, release, iso, &of_units).await?;
    if known {
        return Ok(false);
    }
    let url = of_parts.get("simplifiedGeometryGeoJSON").and_then(Value::as_str);
    let file = source.units(url.context("there is no address of a file with the parts")?).await?;
    let units = file.iter().filter_map(|unit| {
        let name = metadata::text(unit.get("shapeName"), 255).unwrap_or_default();
        Some((metadata::text(unit.get("shapeID"), 100)?, name))
    });
    let parts = Parts { fields: of_units, units: units.collect() };
    super::store(app, release, &Country { iso: iso.to_owned(), fields, parts: Some(parts) }, job).await
}
