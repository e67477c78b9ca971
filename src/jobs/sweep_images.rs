//! Images of versions that are gone with their script: they leave the engine and its registry. Looked for once an hour.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use super::Worker;
use crate::{engine::Made, store};

/// How often it is looked for them.
const EVERY: Duration = Duration::from_secs(3_600);
/// How old an image must be: one that was made a moment ago may not be written down yet.
const FRESH: Duration = Duration::from_secs(3_600);

/// Sweeps, if it is time.
pub async fn sweep(worker: &Worker, swept: &mut Option<Instant>) -> anyhow::Result<()> {
    if worker.engine.makes() != Made::Image || swept.is_some_and(|at| at.elapsed() < EVERY) {
        return Ok(());
    }
    *swept = Some(Instant::now());
    let images = store::script_versions::images(&worker.app.db).await?;
    let needed: BTreeSet<String> =
        images.iter().filter_map(|image| image.split('@').next()).map(str::to_owned).collect();
    worker.engine.keep_images(&needed, FRESH).await
}
