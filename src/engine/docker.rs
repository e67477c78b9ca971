//! The engine of one Docker daemon: a unit is a container on a network without a way out but a gate, a built version is an image.
//! Runs report to the API by themselves; what is followed here is their end. Builds are driven by whoever follows them, and a
//! build that nobody follows any more is begun anew.

pub mod daemon;
pub mod image;
pub mod network;
pub mod registry;
pub mod unit;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bollard::{
    body_full,
    models::ContainerStateStatusEnum,
    query_parameters::{
        CreateContainerOptions, KillContainerOptions, ListContainersOptions, LogsOptions, RemoveContainerOptions,
        StartContainerOptions, UploadToContainerOptions,
    },
};
use futures::{StreamExt, future::BoxFuture};

use self::{
    daemon::{Daemon, is_away, patiently, settled, status, there, unit_of},
    image::{Journal, Kind, Task},
    network::{Gates, Way},
};
use super::{
    Build, End, Engine, Exit, Found, Machine, Made, News, OUTPUT_BYTES, OUTPUT_LINES, Room, Run, Unit,
    process::environment::Index,
};
use crate::{config::Config, store::Id};

/// How long one call of `follow` waits for news, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(250);
/// How long a container gets to end by itself once it was told to.
const GRACE: Duration = Duration::from_secs(8);
/// Seconds that may pass between the making of a container and its start.
const HALF_MADE_S: f64 = 60.0;
/// The engine of one daemon.
pub struct Docker {
    scope: String,
    pub daemon: Arc<Daemon>,
    gates: Arc<Gates>,
    builds: Builds,
    api_url: String,
    /// Units that were told to end, and when.
    asked: Mutex<HashMap<Id, Instant>>,
}

impl Docker {
    /// Finds the daemon of the settings.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn open(config: &Config, instance: Id) -> anyhow::Result<Self> {
        let daemon = Arc::new(Daemon::open(config, instance).await?);
        Ok(Docker {
            scope: format!("docker:{}", daemon.id),
            gates: Arc::new(Gates::new(config)?),
            builds: Builds::new(config),
            api_url: config.internal_url(),
            asked: Mutex::default(),
            daemon,
        })
    }

    async fn create(&self, run: &Run) -> anyhow::Result<()> {
        let daemon = &self.daemon;
        let name = Unit::Execution(run.execution).to_string();
        let image = run.made.as_deref().ok_or_else(|| anyhow::anyhow!("the version has no image"))?;
        let kind = Kind::of(image);
        if self.begin(run, kind).await? {
            return Ok(());
        }
        let way = if unit::may_go_out(&run.limits) { Way::Open } else { Way::Closed };
        let opened = self.gates.open(daemon, way).await?;
        let env = unit::environment(run, &self.api_url, opened.proxy, kind);
        let reference = daemon.reference(image);
        let body = unit::container(daemon, run, reference, kind, env, &opened.network);
        let options = || Some(CreateContainerOptions { name: Some(name.clone()), ..CreateContainerOptions::default() });
        let mut made = daemon.docker.create_container(options(), body.clone()).await;
        if made.as_ref().is_err_and(|error| status(error) == Some(404)) {
            // The image was built elsewhere, or is not here any more.
            daemon.pull(reference, &Journal::default()).await?;
            made = daemon.docker.create_container(options(), body).await;
        }
        // One of this name that is there meanwhile is this very run's.
        match made {
            Err(error) if status(&error) == Some(409) => {}
            other => drop(other?),
        }
        anyhow::ensure!(self.begin(run, kind).await?, "the container was removed before it was started");
        Ok(())
    }

    /// Starts a container that is made and was never started; false if there is none. One that has ended is not started again.
    async fn begin(&self, run: &Run, kind: Kind) -> anyhow::Result<bool> {
        let docker = &self.daemon.docker;
        let name = Unit::Execution(run.execution).to_string();
        let Some(found) = there(docker.inspect_container(&name, None).await)? else { return Ok(false) };
        if found.state.and_then(|state| state.status) == Some(ContainerStateStatusEnum::CREATED) {
            if let Some(folder) = kind.folder() {
                // Into its scratch folder: the runner takes it away as it reads it.
                let options = UploadToContainerOptions { path: folder, ..UploadToContainerOptions::default() };
                docker.upload_to_container(&name, Some(options), body_full(unit::secret_file(run)?)).await?;
            }
            settled(docker.start_container(&name, None::<StartContainerOptions>).await)?;
        }
        Ok(true)
    }

    async fn look(&self, execution: Id) -> anyhow::Result<Option<End>> {
        let name = Unit::Execution(execution).to_string();
        let lost = || Some(End { exit: None, result: None });
        let Some(found) = there(self.daemon.docker.inspect_container(&name, None).await)? else { return Ok(lost()) };
        let Some(state) = found.state else { return Ok(None) };
        let labels = found.config.and_then(|config| config.labels);
        let timeout_s = labels.and_then(|labels| labels.get(daemon::TIMEOUT)?.parse::<u64>().ok());
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).get(&execution).copied();
        if let Some(exit) = unit::exit(&state, timeout_s, asked.is_some()) {
            return Ok(Some(End { exit: Some(exit), result: None }));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        if state.status == Some(ContainerStateStatusEnum::CREATED) {
            let old = unit::since(found.created.as_deref(), now).is_some_and(|age| age > HALF_MADE_S);
            return Ok(if old { lost() } else { None });
        }
        let age = unit::since(state.started_at.as_deref(), now);
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let beyond =
            |extra: Duration| timeout_s.zip(age).is_some_and(|(limit, age)| age >= limit as f64 + extra.as_secs_f64());
        if asked.is_some_and(|since| since.elapsed() >= GRACE) || beyond(GRACE) {
            self.end(&name, true).await?;
        } else if beyond(Duration::ZERO) {
            self.end(&name, false).await?;
        }
        Ok(None)
    }

    /// Tells a container to end, or ends it.
    async fn end(&self, name: &str, at_once: bool) -> anyhow::Result<()> {
        let signal = if at_once { "SIGKILL" } else { "SIGTERM" };
        let options = KillContainerOptions { signal: signal.into() };
        Ok(settled(self.daemon.docker.kill_container(name, Some(options)).await)?)
    }

    async fn containers(&self, all: bool) -> anyhow::Result<Vec<(Unit, bool)>> {
        let options =
            ListContainersOptions { all, filters: Some(self.daemon.units()), ..ListContainersOptions::default() };
        let found = self.daemon.docker.list_containers(Some(options)).await?;
        let ended = |status: &str| matches!(status, "exited" | "dead");
        Ok(found
            .into_iter()
            .filter_map(|one| {
                let state = one.state.map(|state| state.to_string()).unwrap_or_default();
                Some((unit_of(one.labels.as_ref())?, ended(&state)))
            })
            .collect())
    }
}

#[async_trait::async_trait]
impl Engine for Docker {
    fn scope(&self) -> &str {
        &self.scope
    }

    fn api_url(&self) -> &str {
        &self.api_url
    }

    fn makes(&self) -> Made {
        Made::Image
    }

    fn machine(&self, _node: &str) -> Machine {
        self.daemon.machine.clone()
    }

    fn room(&self) -> Room {
        let machine = &self.daemon.machine;
        Room { cpu_nanos: machine.cpu_nanos, memory_bytes: machine.memory_bytes / 10 * 8 }
    }

    fn keeps_ended(&self) -> bool {
        false
    }

    async fn start(&self, run: &Run) -> anyhow::Result<()> {
        // Nothing is done twice: whoever finds the name taken has done it before.
        patiently(|| self.create(run)).await
    }

    async fn build(&self, build: &Build) -> anyhow::Result<()> {
        self.builds.begin(self.daemon.clone(), self.gates.clone(), build);
        Ok(())
    }

    async fn seal(&self, build: &Build) -> anyhow::Result<Option<String>> {
        Ok(self.builds.made(build.version))
    }

    async fn has(&self, made: &str) -> anyhow::Result<bool> {
        patiently(|| self.daemon.has(made, true)).await
    }

    async fn inherited(&self, image: &str) -> anyhow::Result<Option<String>> {
        patiently(|| self.daemon.inherited(image)).await
    }

    async fn keep_images(&self, needed: &BTreeSet<String>, younger: Duration) -> anyhow::Result<()> {
        // What is built now is not written down yet.
        if self.builds.living().is_empty() { self.daemon.keep_images(needed, younger).await } else { Ok(()) }
    }

    async fn find(&self, unit: Unit) -> anyhow::Result<Option<Found>> {
        match unit {
            Unit::Build(version) => Ok(self.builds.find(version)),
            Unit::Execution(_) => {
                let found = there(self.daemon.docker.inspect_container(&unit.to_string(), None).await)?;
                Ok(found.map(|_| Found::Living))
            }
        }
    }

    async fn follow(&self, unit: Unit, offset: u64) -> anyhow::Result<News> {
        let id = match unit {
            Unit::Build(version) => return Ok(self.builds.follow(version, offset).await),
            Unit::Execution(id) => id,
        };
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.look(id).await {
                Ok(None) => {}
                Ok(end) => return Ok(News { offset, end, ..News::default() }),
                // The run goes on, whether its daemon answers or not.
                Err(error) if is_away(&error) => {
                    tracing::warn!(execution.id = %id, error = format!("{error:#}"), "the daemon does not answer");
                }
                Err(error) => return Err(error),
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(News { offset, ..News::default() });
            }
            tokio::time::sleep(TICK).await;
        }
    }

    async fn stop(&self, unit: Unit) -> anyhow::Result<()> {
        let id = match unit {
            Unit::Build(version) => {
                self.builds.stop(version);
                return Ok(());
            }
            Unit::Execution(id) => id,
        };
        let first = {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            *asked.entry(id).or_insert_with(Instant::now)
        };
        self.end(&unit.to_string(), first.elapsed() >= GRACE).await
    }

    async fn forget(&self, unit: Unit) -> anyhow::Result<()> {
        let id = match unit {
            Unit::Build(version) => {
                self.builds.forget(version);
                return Ok(());
            }
            Unit::Execution(id) => id,
        };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        // With its scratch volume. One that lives is refused with 409, and stays.
        let options = RemoveContainerOptions { v: true, ..RemoveContainerOptions::default() };
        Ok(settled(self.daemon.docker.remove_container(&unit.to_string(), Some(options)).await)?)
    }

    async fn output(&self, unit: Unit) -> anyhow::Result<Option<String>> {
        let Unit::Execution(_) = unit else { return Ok(None) };
        let options =
            LogsOptions { stdout: true, stderr: true, tail: OUTPUT_LINES.to_string(), ..LogsOptions::default() };
        printed(self.daemon.docker.logs(&unit.to_string(), Some(options))).await
    }

    async fn list(&self) -> anyhow::Result<Vec<Unit>> {
        let living = self.containers(false).await?.into_iter().filter(|(_, ended)| !ended).map(|(unit, _)| unit);
        Ok(living.chain(self.builds.living()).collect())
    }

    async fn ended(&self) -> anyhow::Result<Vec<Unit>> {
        Ok(self.containers(true).await?.into_iter().filter(|(_, ended)| *ended).map(|(unit, _)| unit).collect())
    }
}

/// The last lines of what the daemon tells of a unit's output; `None` where there is nothing to ask.
pub async fn printed(
    mut lines: impl futures::Stream<Item = Result<bollard::container::LogOutput, bollard::errors::Error>> + Unpin,
) -> anyhow::Result<Option<String>> {
    let most = usize::try_from(OUTPUT_BYTES)?;
    let mut bytes = Vec::new();
    while let Some(line) = lines.next().await {
        match line {
            Ok(line) => bytes.extend_from_slice(&line.into_bytes()),
            Err(error) if status(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        if bytes.len() > 2 * most {
            bytes.drain(..bytes.len() - most);
        }
    }
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(most)..]).replace('\0', "\u{fffd}");
    let lines: Vec<&str> = text.lines().collect();
    Ok(Some(lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n")))
}

/// The builds of this process.
pub struct Builds {
    index: Index,
    timeout: Duration,
    all: Mutex<HashMap<Id, Arc<State>>>,
}

/// What became of a build: the image, or a sentence why there is none. `Err` if it was lost.
type Outcome = anyhow::Result<Result<String, String>>;

struct State {
    begun: Instant,
    journal: Journal,
    /// What is still to be done; `None` when it is done.
    work: tokio::sync::Mutex<Option<BoxFuture<'static, Outcome>>>,
    outcome: Mutex<Option<Outcome>>,
}

impl Builds {
    pub fn new(config: &Config) -> Self {
        let timeout = Duration::from_secs(config.build_timeout_s);
        Builds { index: Index::from_env(&config.machine), timeout, all: Mutex::default() }
    }

    fn state(&self, version: Id) -> Option<Arc<State>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).get(&version).cloned()
    }

    pub fn begin(&self, daemon: Arc<Daemon>, gates: Arc<Gates>, build: &Build) {
        let journal = Journal::default();
        let task = Task { daemon, build: build.clone(), index: self.index.clone(), gates };
        let work: BoxFuture<'static, Outcome> = Box::pin(task.run(journal.clone()));
        let state = State {
            begun: Instant::now(),
            journal,
            work: tokio::sync::Mutex::new(Some(work)),
            outcome: Mutex::default(),
        };
        self.all.lock().unwrap_or_else(PoisonError::into_inner).insert(build.version, Arc::new(state));
    }

    pub fn find(&self, version: Id) -> Option<Found> {
        self.state(version).map(|_| Found::Living)
    }

    /// Goes on with a build for a while, and tells what it has said since.
    pub async fn follow(&self, version: Id, offset: u64) -> News {
        let lost = || Some(End { exit: None, result: None });
        let Some(state) = self.state(version) else { return News { offset, end: lost(), ..News::default() } };
        let mut work = state.work.lock().await;
        if let Some(future) = work.as_mut()
            && let Ok(outcome) = tokio::time::timeout(PATIENCE, future).await
        {
            *work = None;
            if let Err(error) = &outcome {
                tracing::warn!(version = %version, error = format!("{error:#}"), "a build is lost");
            }
            *state.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        }
        let entries = state.journal.after(offset);
        if !entries.is_empty() {
            let offset = offset + entries.len() as u64;
            return News { entries, offset, end: None };
        }
        let outcome = state.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let end = match outcome.as_ref() {
            Some(Ok(Ok(_))) => Some(Exit { code: Some(0), ..Exit::default() }),
            Some(Ok(Err(refused))) => Some(Exit { code: Some(1), error: Some(refused.clone()), ..Exit::default() }),
            Some(Err(_)) => return News { offset, end: lost(), ..News::default() },
            None if state.begun.elapsed() >= self.timeout => Some(Exit { timed_out: true, ..Exit::default() }),
            None => None,
        };
        News { offset, end: end.map(|exit| End { exit: Some(exit), result: None }), ..News::default() }
    }

    pub fn made(&self, version: Id) -> Option<String> {
        let state = self.state(version)?;
        let outcome = state.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome.as_ref() {
            Some(Ok(Ok(made))) => Some(made.clone()),
            _ => None,
        }
    }

    /// Nobody follows it any more: the daemon hears that the connection is closed.
    pub fn stop(&self, version: Id) {
        self.forget(version);
    }

    pub fn forget(&self, version: Id) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&version);
    }

    pub fn living(&self) -> Vec<Unit> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.keys().map(|version| Unit::Build(*version)).collect()
    }
}
