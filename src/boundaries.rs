//! How boundaries come into the database: from a list in a file, or from geoBoundaries (contract/content-admin.md 1.5). A country
//! is stored whole or not at all, and only what is new gets a new time.

pub mod list;
mod metadata;
pub mod refresh;
mod source;

use std::collections::BTreeSet;

use anyhow::Context;

use crate::{
    app::App,
    clock::after,
    store::{
        self,
        boundaries::{Fields, Level},
        jobs::Job,
    },
};

/// A country as its source has it.
pub struct Country {
    /// Its code, `ITA`.
    pub iso: String,
    pub fields: Fields,
    /// `None` where no parts are known.
    pub parts: Option<Parts>,
}

/// The parts of a country.
pub struct Parts {
    pub fields: Fields,
    /// Id and name of each.
    pub units: Vec<(String, String)>,
}

/// Whether this can be the code of a country.
fn is_code(text: &str) -> bool {
    (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Stores a country; true if anything was new. With a job only as long as that is held.
pub async fn store(app: &App, release: &str, country: &Country, job: Option<&Job>) -> anyhow::Result<bool> {
    let now = app.clock.now();
    let iso = country.iso.as_str();
    let mut tx = app.db.begin().await?;
    if let Some(job) = job {
        let held = store::jobs::hold(&mut tx, job, after(now, app.config.lease_s)).await?;
        anyhow::ensure!(held, "another worker has taken the job over");
    }
    let mut new = store::boundaries::put(&mut tx, Level::Country, release, iso, &country.fields, now).await?;
    let mut keep = BTreeSet::new();
    if let Some(parts) = &country.parts {
        new |= store::boundaries::put(&mut tx, Level::Parts, release, iso, &parts.fields, now).await?;
        for (id, name) in &parts.units {
            new |= store::boundaries::put_unit(&mut tx, release, iso, id, name, now).await?;
            keep.insert(id.as_str());
        }
    }
    let mut gone = store::boundaries::keep_units(&mut tx, release, iso, &keep).await?;
    if country.parts.is_none() {
        gone |= store::boundaries::delete(&mut tx, Level::Parts, release, iso).await?;
    }
    if gone {
        store::boundaries::touch(&mut tx, release, now).await?;
    }
    tx.commit().await.with_context(|| format!("{iso} could not be stored"))?;
    Ok(new || gone)
}

/// Removes a country that its source no longer has.
pub async fn withdraw(app: &App, release: &str, iso: &str, job: Option<&Job>) -> anyhow::Result<()> {
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if let Some(job) = job {
        let held = store::jobs::hold(&mut tx, job, after(now, app.config.lease_s)).await?;
        anyhow::ensure!(held, "another worker has taken the job over");
    }
    store::boundaries::keep_units(&mut tx, release, iso, &BTreeSet::new()).await?;
    store::boundaries::delete(&mut tx, Level::Parts, release, iso).await?;
    store::boundaries::delete(&mut tx, Level::Country, release, iso).await?;
    store::boundaries::touch(&mut tx, release, now).await?;
    tx.commit().await?;
    Ok(())
}
