//! What a run needs before its unit can start: the files of its script, its parameters, its secrets; and where its version is not
//! built for this engine or on this machine, what a build makes of it.

use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;

use super::Follower;
use crate::{
    build::{self, configuration::Configuration, requirements::Requirements},
    engine::{Build, Made, NEEDS_SOURCES, Room, Run, Unit},
    execution::{
        loan::{self, Lending},
        secrets::{self, Mask},
    },
    objects,
    store::{self, Id, executions::Parts, logs::Line, script_versions::Version},
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
        let Some(script) = self.fetch(&version).await? else { return Ok(None) };
        let execution = store::executions::find(&app.db, id, Parts { params: true, ..Parts::FEW }).await?;
        let params =
            execution.and_then(|e| e.params).ok_or_else(|| anyhow::anyhow!("execution {id} has no parameters"))?;
        let configuration = build::stored(&version.config)?;
        let engine = self.worker.engine.clone();
        let mut made = version.made(engine.makes()).map(str::to_owned);
        if let Some(image) = made.take_if(|made| engine.makes() == Made::Image && !made.contains('@')) {
            // The existing server has built it; from now on it is known by its digest.
            let Some(inherited) = self.meanwhile(engine.inherited(&image)).await? else { return Ok(None) };
            if let Some(inherited) = &inherited {
                self.note(version.id, inherited).await?;
            }
            made = inherited;
        }
        let is_missing = match &made {
            Some(made) => {
                let Some(has) = self.meanwhile(engine.has(made)).await? else { return Ok(None) };
                !has
            }
            // A script without packages needs no environment, but every script needs an image.
            None => engine.makes() == Made::Image || needs_packages(&script).await?,
        };
        if is_missing {
            if made.is_none() {
                self.tell_of_the_build().await?;
            }
            made = self.build_here(&version, &configuration, &script).await?;
            if made.is_none() {
                return Ok(None);
            }
        }
        let app = &self.worker.app;
        if app.coexists && app.objects.are_remote() {
            // Where the existing server would have put them.
            app.objects.put(&objects::params_of(id), gzip(params.0.get())?.into()).await?;
        }
        let Some(secrets) = self.give(&version, attempt, configuration.uses_gee).await? else { return Ok(None) };
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
            secrets,
            credential,
        }))
    }

    /// Says why the run does not begin yet.
    async fn tell_of_the_build(&self) -> anyhow::Result<()> {
        let app = &self.worker.app;
        let engine = self.worker.kind.name();
        let text = format!("This version was never built for the engine {engine}; it is built now, once.");
        let line = Line { level: "INFO".into(), text, at: app.clock.now() };
        store::logs::add(&app.db, self.job.subject_id, &line).await?;
        Ok(())
    }

    /// The folder with the files of a version, which may be far away. `None` if the job was lost, or the run is to end.
    async fn fetch(&mut self, version: &Version) -> anyhow::Result<Option<PathBuf>> {
        let worker = self.worker;
        self.meanwhile(build::unpacked(&worker.data.path, &worker.app.objects, version)).await
    }

    /// Waits for what may take longer than the lease, and renews it meanwhile. `None` if the job was lost, or the run is to end.
    async fn meanwhile<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>> + Send,
    ) -> anyhow::Result<Option<T>> {
        let mut work = Box::pin(work);
        let mut beat = tokio::time::interval(Duration::from_secs(self.worker.app.config.heartbeat_s));
        loop {
            tokio::select! {
                biased;
                _ = beat.tick() => if !self.beat().await? || self.stopping.is_some() { return Ok(None) },
                done = &mut work => return done.map(Some),
            }
        }
    }

    /// Keeps what this engine runs a version with.
    async fn note(&self, version: Id, made: &str) -> anyhow::Result<()> {
        let mut tx = self.worker.app.db.begin().await?;
        store::script_versions::set_made(&mut tx, version, self.worker.engine.makes(), made).await?;
        Ok(tx.commit().await?)
    }

    /// What is granted to the script, for this run, and what the run is lent. It is remembered first. `None` if the job was lost.
    async fn give(
        &mut self,
        version: &Version,
        attempt: i32,
        uses_gee: bool,
    ) -> anyhow::Result<Option<BTreeMap<String, SecretString>>> {
        let (app, id) = (&self.worker.app, self.job.subject_id);
        let sealed = store::script_secrets::sealed(&app.db, version.script_id).await?;
        let mut given = secrets::open(app, version.script_id, &sealed)?;
        let lending = match uses_gee {
            true => loan::lend(app, id, version, self.worker.engine.api_url()).await?,
            false => Lending::Nothing,
        };
        let mut hidden: Vec<SecretString> = given.values().cloned().collect();
        if let Lending::Lent(loan) = &lending {
            hidden.extend(loan.hidden.iter().cloned());
            for (name, value) in &loan.variables {
                // A person's own come before what is granted to the script, that before what the settings hold.
                if loan.source == loan::OF_USER || !given.contains_key(name) {
                    given.insert(name.clone(), value.clone());
                }
            }
        }
        self.mask = Mask::of(&hidden);
        if self.memory.secrets == sealed && matches!(lending, Lending::Nothing) {
            return Ok(Some(given));
        }
        self.memory.secrets = sealed;
        let mut tx = app.db.begin().await?;
        if !store::jobs::hold(&mut tx, self.job, self.worker.lease_until()).await? {
            return Ok(None);
        }
        if store::executions::lock(&mut tx, id).await?.is_none() {
            return Ok(None);
        }
        match &lending {
            Lending::Lent(loan) => store::loans::replace(&mut tx, id, attempt, loan.source, &loan.sealed).await?,
            Lending::Withheld => {
                let text =
                    "Earth Engine credentials are lent to scripts of administrators only; this run has none.".into();
                let line = Line { level: "WARNING".into(), text, at: app.clock.now() };
                store::logs::insert(&mut tx, id, &[line]).await?;
            }
            Lending::Nothing => {}
        }
        self.remember(&mut tx).await?;
        tx.commit().await?;
        Ok(Some(given))
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
                is_shared: false,
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
            let exit = end.exit.unwrap_or_default();
            if let Some(error) = exit.error {
                return Err(crate::engine::Hindrance(format!(
                    "The script could not be built for this engine: {error}"
                ))
                .into());
            }
            match exit.code {
                Some(0) => {
                    let built = engine.seal(&build).await?;
                    engine.forget(unit).await?;
                    let built = built.ok_or_else(|| anyhow::anyhow!("a build left nothing"))?;
                    self.note(version.id, &built).await?;
                    return Ok(Some(built));
                }
                Some(NEEDS_SOURCES) if !sources => engine.forget(unit).await?,
                code => anyhow::bail!("the version could not be built here (exit code {code:?})"),
            }
        }
        anyhow::bail!("the version could not be built here")
    }
}

/// Whether a script names packages that it needs.
async fn needs_packages(script: &Path) -> anyhow::Result<bool> {
    let text = tokio::fs::read_to_string(script.join("requirements.txt")).await.unwrap_or_default();
    Ok(!Requirements::parse(&text)?.is_empty())
}

fn gzip(text: &str) -> std::io::Result<Vec<u8>> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(text.as_bytes())?;
    packed.finish()
}
