//! Units of this machine that nobody waits for any more: their run has ended, is gone, or was given up while the machine
//! was away. They are stopped, and what one has left goes with its row or after a while, at each start of a worker and every minute.

use super::Worker;
use crate::{
    clock::before,
    engine::Unit,
    store::{self, Id},
};

/// Stops every living unit without a run or build that is open and here, and forgets the ended ones whose row is gone.
pub async fn sweep(worker: &Worker) -> anyhow::Result<()> {
    for unit in worker.engine.list().await? {
        if !is_wanted(worker, unit).await? {
            tracing::warn!(unit = %unit, "a unit that nobody waits for is stopped");
            worker.engine.stop(unit).await?;
        }
    }
    let (mut executions, mut versions): (Vec<Id>, Vec<Id>) = Default::default();
    for unit in worker.engine.ended().await? {
        match unit {
            Unit::Execution(id) => executions.push(id),
            Unit::Build(id) => versions.push(id),
        }
    }
    let db = &worker.app.db;
    let keep_s = if worker.engine.keeps_ended() { worker.app.config.keep_runs_s } else { 0 };
    let kept_since = before(worker.app.clock.now(), keep_s);
    for id in store::sweep::ended(db, &executions, kept_since).await? {
        worker.engine.forget(Unit::Execution(id)).await?;
    }
    for id in store::sweep::gone(db, "execution", &executions).await? {
        worker.engine.forget(Unit::Execution(id)).await?;
    }
    for id in store::sweep::gone(db, "script_version", &versions).await? {
        worker.engine.forget(Unit::Build(id)).await?;
    }
    Ok(())
}

async fn is_wanted(worker: &Worker, unit: Unit) -> anyhow::Result<bool> {
    let db = &worker.app.db;
    Ok(match unit {
        Unit::Execution(id) => {
            let open = store::executions::glance(db, id).await?.is_some_and(|(status, _)| !status.is_terminal());
            let here = store::runs::find(db, id).await?.and_then(|run| run.scope);
            open && here.as_deref() == Some(worker.engine.scope())
        }
        Unit::Build(id) => {
            let building = store::script_versions::get(db, id).await?.is_some_and(|v| v.status == "BUILDING");
            // A version that another machine has built, or whose environment went from the cache, is made again for its run.
            building || store::runs::waits_for_version(db, id, worker.engine.scope()).await?
        }
    })
}
