//! One build of a version, from its claim to SUCCESS or FAIL. Its unit outlives this process, and its log is stored
//! while it runs; a build whose unit is lost is begun anew.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::types::Json as SqlJson;

use super::{Lease, Worker, heartbeat};
use crate::{
    build,
    engine::{Build, End, Found, NEEDS_SOURCES, News, Unit, Word},
    objects,
    store::{self, Tx, jobs::Job, script_versions::Version},
};

/// How often a build is begun before the machine's troubles count as a failure.
const ATTEMPTS: i32 = 3;

/// Bytes of the log of one build, and characters of one line of it.
const LOG_BYTES: u64 = 10 << 20;
const LINE_CHARS: usize = 10_000;

/// What must be remembered of a build between two workers, in the job's payload.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Memory {
    /// Bytes of the unit's journal that are stored.
    #[serde(default)]
    offset: u64,
    /// Bytes of log stored.
    #[serde(default)]
    bytes: u64,
    /// The last line: the sentence of a build that fails.
    #[serde(default)]
    last: String,
    /// How often a unit was begun.
    #[serde(default)]
    begun: i32,
    /// A package has no wheel: its sources may be used.
    #[serde(default)]
    sources: bool,
}

struct Builder<'a> {
    worker: &'a Worker,
    job: &'a Job,
    lease: Lease,
    version: Version,
    build: Build,
    memory: Memory,
}

/// Builds the version, or goes on with a build whose worker is gone.
pub async fn drive(worker: &Worker, job: &Job, lease: Lease) -> anyhow::Result<()> {
    let app = &worker.app;
    let Some(version) = store::script_versions::get(&app.db, job.subject_id).await? else {
        worker.engine.stop(Unit::Build(job.subject_id)).await?;
        return forget(worker, job).await;
    };
    let found = store::scripts::get(&app.db, version.script_id).await?;
    if let Some(script) = found.as_ref().filter(|_| app.coexists && app.objects.are_remote()) {
        // Where the existing server looks for it.
        app.objects.copy(&version.archive_key, &objects::archive_of_slug(&script.slug)).await?;
    }
    let author = found.and_then(|s| s.user_id).unwrap_or(version.script_id);
    let script = match build::unpacked(&worker.data.path, &app.objects, &version).await {
        Ok(script) => script,
        // The lease passes, and the build is tried again.
        Err(error) if error.is::<object_store::Error>() => return Err(error),
        Err(error) if error.is::<build::Gone>() => {
            return fail(worker, job, &version, "The archive is not there any more; publish the script again.").await;
        }
        Err(error) => {
            tracing::error!(script.id = %version.script_id, error = format!("{error:#}"), "an archive could not be laid out");
            return fail(worker, job, &version, "The archive could not be unpacked on this machine.").await;
        }
    };
    let requirements = tokio::fs::read_to_string(script.join("requirements.txt")).await.unwrap_or_default();
    let memory: Memory = serde_json::from_str(job.payload.0.get()).unwrap_or_default();
    let build = Build {
        version: version.id,
        digest: version.digest.clone(),
        configuration: build::stored(&version.config)?,
        author,
        script,
        requirements,
        is_shared: app.coexists,
        sources: memory.sources,
    };
    Builder { worker, job, lease, version, build, memory }.run().await
}

impl Builder<'_> {
    fn unit(&self) -> Unit {
        Unit::Build(self.version.id)
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let living = self.worker.engine.find(self.unit()).await? == Some(Found::Living);
        if !living || self.memory.begun == 0 {
            if self.memory.begun >= ATTEMPTS {
                return fail(self.worker, self.job, &self.version, "The build was interrupted three times.").await;
            }
            if !self.begin().await? {
                return Ok(());
            }
        }
        let app = &self.worker.app;
        let mut beat = tokio::time::interval(Duration::from_secs(app.config.heartbeat_s));
        loop {
            tokio::select! {
                biased;
                () = app.stop.cancelled() => return Ok(()),
                _ = beat.tick() => match heartbeat(self.worker, self.job, &mut self.lease).await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(()),
                    Err(error) if self.lease.has_passed() => return Err(error),
                    Err(error) => tracing::warn!(error = format!("{error:#}"), "no heartbeat"),
                },
                news = self.worker.engine.follow(self.unit(), self.memory.offset) => {
                    let before = self.memory.clone();
                    match self.tell(news?).await {
                        Ok(false) => {}
                        Ok(true) => return Ok(()),
                        Err(error) if self.lease.has_passed() => return Err(error),
                        // Nothing was stored, and the same news come again.
                        Err(error) => {
                            self.memory = before;
                            tracing::warn!(error = format!("{error:#}"), "a build's words could not be stored yet");
                            tokio::time::sleep(Duration::from_millis(500)).await;
                        }
                    }
                }
            }
        }
    }

    /// Says that the build begins, then begins it. False if the job is lost, or the version is built already.
    async fn begin(&mut self) -> anyhow::Result<bool> {
        let app = &self.worker.app;
        let now = app.clock.now();
        self.memory = Memory { begun: self.memory.begun + 1, sources: self.memory.sources, ..Memory::default() };
        let mut tx = app.db.begin().await?;
        if !store::jobs::hold(&mut tx, self.job, self.worker.lease_until()).await? {
            return Ok(false);
        }
        store::scripts::lock(&mut tx, self.version.script_id).await?;
        if !store::script_versions::set_status(&mut tx, self.version.id, "BUILDING", None, now).await? {
            store::jobs::finish(&mut tx, self.job, None, now).await?;
            tx.commit().await?;
            return Ok(false);
        }
        if store::script_versions::is_newest(&mut tx, self.version.script_id, self.version.id).await? {
            store::scripts::set_status(&mut tx, self.version.script_id, "BUILDING", None).await?;
        }
        store::script_logs::insert(&mut tx, self.version.script_id, &["Build started.".to_owned()], now).await?;
        self.remember(&mut tx).await?;
        tx.commit().await?;
        if let Err(error) = self.worker.engine.build(&self.build).await {
            tracing::error!(script.id = %self.version.script_id, error = format!("{error:#}"), "a build could not be started");
            fail(self.worker, self.job, &self.version, &format!("{error}")).await?;
            return Ok(false);
        }
        Ok(true)
    }

    async fn remember(&self, tx: &mut Tx) -> anyhow::Result<()> {
        let payload = SqlJson(serde_json::value::to_raw_value(&self.memory)?);
        store::jobs::set_payload(tx, self.job, &payload).await?;
        Ok(())
    }

    /// Stores what the build said, and its end. True when the job is done or lost.
    async fn tell(&mut self, news: News) -> anyhow::Result<bool> {
        if news.entries.is_empty() && news.end.is_none() {
            // What was read may have held no word of the unit; it is not read again.
            self.memory.offset = news.offset;
            return Ok(false);
        }
        if self.lease.has_passed() {
            return Ok(true);
        }
        let app = &self.worker.app;
        let lines: Vec<String> = news
            .entries
            .into_iter()
            .filter_map(|entry| if let Word::Log { text, .. } = entry.word { Some(text) } else { None })
            .map(|text| text.chars().take(LINE_CHARS).collect::<String>())
            .collect();
        if !lines.is_empty() {
            let mut tx = app.db.begin().await?;
            if !store::jobs::hold(&mut tx, self.job, self.worker.lease_until()).await? {
                return Ok(true);
            }
            if !store::scripts::lock(&mut tx, self.version.script_id).await? {
                drop(tx);
                self.worker.engine.stop(self.unit()).await?;
                return forget(self.worker, self.job).await.map(|()| true);
            }
            if let Some(last) = lines.iter().rev().find(|line| !line.trim().is_empty()) {
                self.memory.last = last.chars().take(2_000).collect();
            }
            self.memory.offset = news.offset;
            // What a package's own code writes into the journal ends where the keeper's own lines would have ended.
            let room = LOG_BYTES.saturating_sub(self.memory.bytes);
            self.memory.bytes += lines.iter().map(|line| line.len() as u64 + 64).sum::<u64>();
            let lines = if room == 0 { Vec::new() } else { lines };
            store::script_logs::insert(&mut tx, self.version.script_id, &lines, app.clock.now()).await?;
            self.remember(&mut tx).await?;
            tx.commit().await?;
        }
        self.memory.offset = news.offset;
        match news.end {
            None => Ok(false),
            Some(end) => self.end(end).await.map(|()| true),
        }
    }

    async fn end(&mut self, end: End) -> anyhow::Result<()> {
        let Some(exit) = end.exit else {
            // The keeper is gone without a word: the machine or somebody killed it. A build may be repeated.
            if self.memory.begun < ATTEMPTS {
                return self.again("The build was interrupted and begins anew.").await;
            }
            return fail(self.worker, self.job, &self.version, "The build was interrupted three times.").await;
        };
        let error = match (&exit.error, exit.code) {
            _ if exit.timed_out => {
                format!("The build took longer than {} seconds.", self.worker.app.config.build_timeout_s)
            }
            _ if exit.oom => "The build used more memory than a build may.".to_owned(),
            (Some(error), _) => error.clone(),
            (None, Some(0)) => return self.succeed().await,
            (None, Some(NEEDS_SOURCES)) if !self.memory.sources => {
                self.memory = Memory { sources: true, ..Memory::default() };
                return self
                    .again("A package has no wheel; its source package is built, for this script's author alone.")
                    .await;
            }
            (None, _) if self.memory.last.is_empty() => "The build ended without a word.".to_owned(),
            (None, _) => self.memory.last.clone(),
        };
        fail(self.worker, self.job, &self.version, &error).await
    }

    async fn again(&mut self, why: &str) -> anyhow::Result<()> {
        // Before the job says so: whoever takes it next must not find this unit's end and take it for the next one's.
        self.worker.engine.forget(self.unit()).await?;
        let app = &self.worker.app;
        let now = app.clock.now();
        let mut tx = app.db.begin().await?;
        if store::jobs::hold(&mut tx, self.job, self.worker.lease_until()).await? {
            store::script_logs::insert(&mut tx, self.version.script_id, &[why.to_owned()], now).await?;
            self.remember(&mut tx).await?;
            store::jobs::retry(&mut tx, self.job, why, now).await?;
            tx.commit().await?;
            app.wake();
        }
        Ok(())
    }

    async fn succeed(&mut self) -> anyhow::Result<()> {
        let made = match self.worker.engine.seal(&self.build).await {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(script.id = %self.version.script_id, error = format!("{error:#}"), "an environment could not be kept");
                return fail(
                    self.worker,
                    self.job,
                    &self.version,
                    "The environment could not be kept on this machine.",
                )
                .await;
            }
        };
        let app = &self.worker.app;
        let now = app.clock.now();
        let mut tx = app.db.begin().await?;
        if !store::jobs::hold(&mut tx, self.job, self.worker.lease_until()).await? {
            return Ok(());
        }
        store::scripts::lock(&mut tx, self.version.script_id).await?;
        if let Some(made) = made {
            store::script_versions::set_made(&mut tx, self.version.id, self.worker.engine.makes(), &made).await?;
        }
        store::script_versions::set_status(&mut tx, self.version.id, "SUCCESS", None, now).await?;
        store::script_versions::supersede(&mut tx, self.version.script_id, self.version.number).await?;
        conclude(&mut tx, self.job, &self.version, "SUCCESS", None, now).await?;
        tx.commit().await?;
        app.wake();
        tracing::info!(script.id = %self.version.script_id, version = self.version.number, "version {} is built", self.version.number);
        self.worker.engine.forget(self.unit()).await
    }
}

/// Ends a build that cannot succeed.
async fn fail(worker: &Worker, job: &Job, version: &Version, error: &str) -> anyhow::Result<()> {
    let app = &worker.app;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::jobs::hold(&mut tx, job, worker.lease_until()).await? {
        return Ok(());
    }
    store::scripts::lock(&mut tx, version.script_id).await?;
    store::script_versions::set_status(&mut tx, version.id, "FAIL", Some(error), now).await?;
    conclude(&mut tx, job, version, "FAIL", Some(error), now).await?;
    tx.commit().await?;
    app.wake();
    // Half an environment may be gigabytes, and nobody will use it.
    if let Err(error) = worker.engine.forget(Unit::Build(version.id)).await {
        tracing::warn!(script.id = %version.script_id, error = format!("{error:#}"), "a failed build could not be removed");
    }
    tracing::info!(script.id = %version.script_id, version = version.number, "version {} could not be built", version.number);
    Ok(())
}

/// What follows either end: the script's status if this was its newest upload, the last line, the job's end.
async fn conclude(
    tx: &mut Tx,
    job: &Job,
    version: &Version,
    status: &str,
    error: Option<&str>,
    now: store::Time,
) -> anyhow::Result<()> {
    store::jobs::finish(tx, job, error, now).await?;
    if !store::scripts::lock(tx, version.script_id).await? {
        // Deleted while it was built: there is nobody left to tell.
        return Ok(());
    }
    if store::script_versions::is_newest(tx, version.script_id, version.id).await? {
        store::scripts::set_status(tx, version.script_id, status, error).await?;
    }
    let line = error.map_or_else(|| "Build successful.".to_owned(), |error| format!("Build failed: {error}"));
    store::script_logs::insert(tx, version.script_id, &[line], now).await?;
    tx.notify();
    Ok(())
}

/// The version is gone with its script: nothing is left to tell.
async fn forget(worker: &Worker, job: &Job) -> anyhow::Result<()> {
    let mut tx = worker.app.db.begin().await?;
    if store::jobs::hold(&mut tx, job, worker.lease_until()).await? {
        store::jobs::finish(&mut tx, job, None, worker.app.clock.now()).await?;
        tx.commit().await?;
    }
    Ok(())
}
