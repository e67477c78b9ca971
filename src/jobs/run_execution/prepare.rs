//! A run is made ready for its engine: script, parameters and limits; where its version is not built for this engine or on this
//! machine, it is built first.

use std::{path::Path, time::Duration};

use secrecy::SecretString;

use super::Follower;
use crate::{
    build::{self, configuration::Configuration},
    engine::{Build, Made, NEEDS_SOURCES, Room, Run, Unit},
    store::{self, executions::Parts, script_versions::Version},
};

impl Follower<'_> {
    /// Everything that the engine needs; the script's files are laid out, and its environment is built, if they are not
    /// here yet. `None` if the job was lost meanwhile, or the run is to end.
    pub(super) async fn prepare(&mut self, attempt: i32, credential: SecretString) -> anyhow::Result<Option<Run>> {
        let app = &self.worker.app;
        let id = self.job.subject_id;
        let version = match self.run.script_version_id {
            Some(version) => store::script_versions::get(&app.db, version).await?,
            None => None,
        };
        let version = version.ok_or_else(|| anyhow::anyhow!("the version of execution {id} is gone"))?;
        let script = build::unpacked(&self.worker.data.path, &app.objects, &version).await?;
        let execution = store::executions::find(&app.db, id, Parts { params: true, ..Parts::FEW }).await?;
        let params =
            execution.and_then(|e| e.params).ok_or_else(|| anyhow::anyhow!("execution {id} has no parameters"))?;
        let configuration = build::stored(&version.config)?;
        let engine = &self.worker.engine;
        let mut made = version.made(engine.makes()).map(str::to_owned);
        let is_here = match &made {
            Some(made) => engine.has(made).await?,
            // A script without packages needs no environment, but every script needs an image.
            None => engine.makes() == Made::Environment,
        };
        if !is_here {
            made = self.build_here(&version, &configuration, &script).await?;
            if made.is_none() {
                return Ok(None);
            }
        }
        let (cpu, memory) = store::runs::reservation(&app.db, id).await?.unwrap_or_default();
        Ok(Some(Run {
            execution: id,
            script_id: version.script_id,
            attempt,
            script,
            made,
            reservation: Room { cpu_nanos: cpu.unsigned_abs(), memory_bytes: memory.unsigned_abs() },
            objects_secret: app.tokens.objects_secret(id, attempt),
            params: params.0.get().to_owned(),
            limits: self.limits.clone(),
            uses_gee: configuration.uses_gee,
            credential,
        }))
    }

    /// Builds a version here that another machine, or another engine, has built. `None` if the job was lost meanwhile, or the
    /// run is to end.
    async fn build_here(
        &mut self,
        version: &Version,
        configuration: &Configuration,
        script: &Path,
    ) -> anyhow::Result<Option<String>> {
        let engine = self.worker.engine.clone();
        let author = store::scripts::get(&self.worker.app.db, version.script_id).await?.and_then(|s| s.user_id);
        let requirements = tokio::fs::read_to_string(script.join("requirements.txt")).await.unwrap_or_default();
        let unit = Unit::Build(version.id);
        for sources in [false, true] {
            let author = author.unwrap_or(version.script_id);
            let requirements = requirements.clone();
            let build = Build {
                version: version.id,
                digest: version.digest.clone(),
                configuration: configuration.clone(),
                author,
                script: script.to_owned(),
                requirements,
                sources,
            };
            engine.build(&build).await?;
            let mut beat = tokio::time::interval(Duration::from_secs(self.worker.app.config.heartbeat_s));
            let mut offset = 0;
            let end = loop {
                tokio::select! {
                    biased;
                    () = self.worker.app.stop.cancelled() => return Ok(None),
                    _ = beat.tick() => {
                        if !self.beat().await? {
                            return Ok(None);
                        }
                        if self.stopping.is_some() {
                            engine.stop(unit).await?;
                            return Ok(None);
                        }
                    }
                    news = engine.follow(unit, offset) => {
                        let news = news?;
                        offset = news.offset;
                        if let Some(end) = news.end { break end }
                    }
                }
            };
            match end.exit.and_then(|exit| exit.code) {
                Some(0) => {
                    let built = engine.seal(&build).await?;
                    engine.forget(unit).await?;
                    let built = built.ok_or_else(|| anyhow::anyhow!("a build left nothing"))?;
                    let mut tx = self.worker.app.db.begin().await?;
                    store::script_versions::set_made(&mut tx, version.id, engine.makes(), &built).await?;
                    tx.commit().await?;
                    return Ok(Some(built));
                }
                Some(NEEDS_SOURCES) if !sources => engine.forget(unit).await?,
                code => anyhow::bail!("the environment could not be built on this machine (exit code {code:?})"),
            }
        }
        anyhow::bail!("the environment could not be built on this machine")
    }
}
