//! What a unit has printed is kept beside its execution: now and then while it runs, and with its end. Its folder can be read on
//! its machine alone, and goes some day.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use super::Worker;
use crate::{
    engine::Unit,
    execution::secrets::Mask,
    store::{self, Id},
};

/// How often it is looked at while it runs.
const EVERY: Duration = Duration::from_secs(30);

/// What was kept of a unit last.
pub struct Kept {
    looked: Instant,
    digest: u64,
}

impl Kept {
    /// A short run is looked at only when it has ended.
    pub fn nothing() -> Self {
        Kept { looked: Instant::now(), digest: 0 }
    }

    /// Keeps what a running unit has printed, if it is time and there is anything new.
    pub async fn look(&mut self, worker: &Worker, execution: Id, mask: &Mask) {
        if self.looked.elapsed() < EVERY {
            return;
        }
        self.looked = Instant::now();
        let Some(text) = printed(worker, execution, mask).await else { return };
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let digest = hasher.finish();
        if digest == std::mem::replace(&mut self.digest, digest) {
            return;
        }
        let stored = async {
            let mut tx = worker.app.db.begin().await?;
            store::execution_output::put(&mut tx, execution, &text, worker.app.clock.now()).await?;
            tx.commit().await
        };
        if let Err(error) = stored.await {
            self.digest = 0;
            tracing::warn!(execution.id = %execution, error = %error, "what a run printed could not be kept");
        }
    }
}

/// The last lines that a unit has printed. That they cannot be read is no reason to lose a run.
pub async fn printed(worker: &Worker, execution: Id, mask: &Mask) -> Option<String> {
    match worker.engine.output(Unit::Execution(execution)).await {
        Ok(text) => text.map(|text| mask.hide(text)),
        Err(error) => {
            tracing::warn!(execution.id = %execution, error = format!("{error:#}"), "what a run printed cannot be read");
            None
        }
    }
}
