//! The engine of a Docker Swarm: a unit is a service of one task that is never started again, as the existing server has them,
//! and hardened. All tasks are looked at together, once a second at most. Images are built on the manager that is spoken to.

mod gate;
mod nodes;
mod service;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bollard::{
    models::{NodeState, SecretSpec, TaskState},
    query_parameters::{
        InspectServiceOptions, ListNodesOptions, ListSecretsOptions, ListServicesOptions, ListTasksOptions, LogsOptions,
    },
};

use self::service::Seen;
use super::{
    Build, End, Engine, Exit, Found, Hindrance, Made, News, OUTPUT_LINES, Room, Run, Unit,
    docker::{
        Builds,
        daemon::{Daemon, INSTANCE, is_away, patiently, settled, there, unit_of},
        image::Kind,
        network::{Gates, Way},
        printed, unit,
    },
    state::Node,
};
use crate::{config::Config, store::Id};

/// How long one call of `follow` waits for news, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(250);
/// How long what was seen of all tasks counts as seen.
const FRESH: Duration = Duration::from_millis(900);
/// How long a task of a service that was removed is waited for, where its node may be gone.
const GRACE: Duration = Duration::from_secs(30);
/// How long the printed lines of a service are waited for: a node that is gone sends none.
const LINES: Duration = Duration::from_secs(5);
/// Bytes of one secret of a cluster, which takes a little more.
const SECRET_BYTES: usize = 500_000;

/// The engine of one cluster.
pub struct Swarm {
    scope: String,
    daemon: Arc<Daemon>,
    gates: Arc<Gates>,
    builds: Builds,
    api_url: String,
    lost: Duration,
    view: tokio::sync::Mutex<Option<(Instant, Arc<View>)>>,
    known: Mutex<HashMap<Id, Known>>,
}

/// What all tasks of this installation were seen to do.
#[derive(Default)]
struct View {
    tasks: HashMap<Id, Seen>,
    down: HashSet<String>,
}

/// What this worker knows of a unit beside what the cluster tells.
#[derive(Default, Clone)]
struct Known {
    /// Since when it is told to end, and whether because its time was over.
    asked: Option<(Instant, bool)>,
    /// Since when its node is gone, or it is shut down although nobody asked.
    lost: Option<Instant>,
    /// What it had printed when its service was removed.
    printed: Option<String>,
}

impl Swarm {
    /// Finds the manager of the settings.
    ///
    /// # Errors
    /// It does not answer, or is no manager.
    pub async fn open(config: &Config, instance: Id) -> anyhow::Result<Self> {
        let daemon = Arc::new(Daemon::open(config, instance).await?);
        let swarm = daemon.docker.info().await?.swarm.and_then(|swarm| swarm.cluster);
        let cluster = swarm.and_then(|cluster| cluster.id).filter(|id| !id.is_empty()).with_context(|| {
            format!("The Docker daemon at {} is no manager of a Swarm (docker swarm init).", daemon.settings.host)
        })?;
        Ok(Swarm {
            scope: format!("swarm:{cluster}"),
            gates: Arc::new(Gates::new(config)?),
            builds: Builds::new(config),
            api_url: config.internal_url(),
            lost: Duration::from_secs(config.containers.lost_s),
            view: tokio::sync::Mutex::default(),
            known: Mutex::default(),
            daemon,
        })
    }

    /// What the cluster does, asked anew if it was not lately.
    async fn view(&self) -> anyhow::Result<Arc<View>> {
        let mut view = self.view.lock().await;
        if let Some((_, seen)) = view.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Ok(seen.clone());
        }
        let label = format!("{}={}", INSTANCE, self.daemon.instance);
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let docker = &self.daemon.docker;
        let (tasks, nodes) = tokio::try_join!(
            docker.list_tasks(Some(ListTasksOptions { filters: Some(filters) })),
            docker.list_nodes(None::<ListNodesOptions>),
        )?;
        let mut seen = View::default();
        for node in nodes {
            if node.status.and_then(|status| status.state) != Some(NodeState::READY) {
                seen.down.extend(node.id);
            }
        }
        for (id, task) in tasks.iter().filter_map(service::seen) {
            let newest = seen.tasks.get(&id).is_none_or(|other| other.made < task.made);
            if newest {
                seen.tasks.insert(id, task);
            }
        }
        let seen = Arc::new(seen);
        *view = Some((Instant::now(), seen.clone()));
        Ok(seen)
    }

    fn known<T>(&self, execution: Id, with: impl FnOnce(&mut Known) -> T) -> T {
        with(self.known.lock().unwrap_or_else(PoisonError::into_inner).entry(execution).or_default())
    }

    async fn service_is_there(&self, unit: Unit) -> anyhow::Result<bool> {
        let found = self.daemon.docker.inspect_service(&unit.to_string(), None::<InspectServiceOptions>).await;
        Ok(there(found)?.is_some())
    }

    async fn look(&self, execution: Id) -> anyhow::Result<Option<End>> {
        let view = self.view().await?;
        let known = self.known(execution, |known| known.clone());
        let end = |exit: Option<Exit>| Ok(Some(End { exit, result: None }));
        let Some(task) = view.tasks.get(&execution) else {
            return match known.asked {
                Some((_, late)) => end(Some(told(late))),
                // A service that was made a moment ago has no task yet.
                None if self.service_is_there(Unit::Execution(execution)).await? => Ok(None),
                None => end(None),
            };
        };
        if let Some((since, late)) = known.asked {
            let over = task.is_over() || since.elapsed() >= GRACE;
            return if over { end(Some(told(late))) } else { Ok(None) };
        }
        match task.state {
            TaskState::COMPLETE | TaskState::FAILED => return end(Some(task.exit())),
            TaskState::REJECTED => {
                let error = Some(format!("The cluster could not start the run: {}", task.error));
                return end(Some(Exit { error, ..Exit::default() }));
            }
            TaskState::SHUTDOWN | TaskState::ORPHANED | TaskState::REMOVE => return end(None),
            _ => {}
        }
        let gone = task.desired == Some(TaskState::SHUTDOWN)
            || task.node.as_ref().is_some_and(|node| view.down.contains(node));
        if gone {
            let since = self.known(execution, |known| *known.lost.get_or_insert_with(Instant::now));
            return if since.elapsed() >= self.lost { end(None) } else { Ok(None) };
        }
        self.known(execution, |known| known.lost = None);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        if task.state == TaskState::RUNNING && task.is_late(now) {
            self.end(execution, true).await?;
        }
        Ok(None)
    }

    /// Removes the service of a run; what it has printed is kept before. Its task gets ten seconds to end.
    async fn end(&self, execution: Id, late: bool) -> anyhow::Result<()> {
        let unit = Unit::Execution(execution);
        let text = self.output(unit).await.unwrap_or_default();
        self.known(execution, |known| {
            known.asked.get_or_insert_with(|| (Instant::now(), late));
            known.printed = known.printed.take().or(text);
        });
        self.remove(unit).await
    }

    async fn remove(&self, unit: Unit) -> anyhow::Result<()> {
        settled(self.daemon.docker.delete_service(&unit.to_string()).await)?;
        Ok(settled(self.daemon.docker.delete_secret(&unit.to_string()).await)?)
    }

    async fn create(&self, run: &Run) -> anyhow::Result<()> {
        let daemon = &self.daemon;
        if self.service_is_there(Unit::Execution(run.execution)).await? {
            return Ok(());
        }
        let image = run.made.as_deref().context("the version has no image")?;
        let kind = Kind::of(image);
        let way = if unit::may_go_out(&run.limits) { Way::Open } else { Way::Closed };
        let opened = gate::open(&self.gates, daemon, way).await?;
        let name = Unit::Execution(run.execution).to_string();
        // The existing Environment knows no other way than variables.
        let secret = match kind {
            Kind::Environment => None,
            Kind::Ours => {
                let data = unit::secret(run);
                if data.len() > SECRET_BYTES {
                    let text =
                        "The secrets of the script are more than a Docker Swarm can keep for one run: 500,000 bytes.";
                    return Err(Hindrance(text.into()).into());
                }
                let spec = SecretSpec {
                    name: Some(name.clone()),
                    labels: Some(daemon.mine()),
                    data: Some(BASE64.encode(data)),
                    ..SecretSpec::default()
                };
                settled(daemon.docker.create_secret(spec).await)?;
                let secret = daemon.docker.inspect_secret(&name).await?;
                Some(secret.id.context("a secret has an id")?)
            }
        };
        let env = unit::environment(run, &self.api_url, opened.proxy, kind);
        let spec = service::spec(daemon, run, image, kind, env, &opened.network, secret);
        // One of this name that is there meanwhile is this very run's.
        Ok(settled(daemon.docker.create_service(spec, daemon.credentials()).await)?)
    }

    async fn services(&self) -> anyhow::Result<Vec<Id>> {
        let options = ListServicesOptions { filters: Some(self.daemon.units()), status: None };
        let found = self.daemon.docker.list_services(Some(options)).await?;
        let ids = found.into_iter().filter_map(|service| match unit_of(service.spec?.labels.as_ref())? {
            Unit::Execution(id) => Some(id),
            Unit::Build(_) => None,
        });
        Ok(ids.collect())
    }

    /// Runs for which a secret is kept.
    async fn secrets(&self) -> anyhow::Result<Vec<Id>> {
        let label = format!("{INSTANCE}={}", self.daemon.instance);
        let filters = Some(HashMap::from([("label".to_owned(), vec![label])]));
        let found = self.daemon.docker.list_secrets(Some(ListSecretsOptions { filters })).await?;
        let names = found.into_iter().filter_map(|secret| secret.spec?.name);
        Ok(names.filter_map(|name| Id::parse(name.strip_prefix("execution-")?)).collect())
    }

    async fn services_that(&self, are_over: bool) -> anyhow::Result<Vec<Unit>> {
        let (services, view) = tokio::try_join!(self.services(), self.view())?;
        let over = |id: &Id| view.tasks.get(id).is_some_and(Seen::is_over);
        Ok(services.into_iter().filter(|id| over(id) == are_over).map(Unit::Execution).collect())
    }
}

/// The end of a unit that was told to end.
fn told(late: bool) -> Exit {
    Exit { timed_out: late, stopped: !late, ..Exit::default() }
}

#[async_trait::async_trait]
impl Engine for Swarm {
    fn scope(&self) -> &str {
        &self.scope
    }

    fn api_url(&self) -> &str {
        &self.api_url
    }

    fn makes(&self) -> Made {
        Made::Image
    }

    /// The cluster's own scheduler has a task wait for a node that fits; how many runs there are is `TE_MAX_RUNS`.
    fn room(&self) -> Room {
        Room { cpu_nanos: u64::MAX, memory_bytes: u64::MAX }
    }

    fn keeps_ended(&self) -> bool {
        false
    }

    async fn start(&self, run: &Run) -> anyhow::Result<()> {
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
        patiently(|| self.daemon.has(made, false)).await
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
            Unit::Execution(_) => Ok(self.service_is_there(unit).await?.then_some(Found::Living)),
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
                Err(error) if is_away(&error) => {
                    tracing::warn!(execution.id = %id, error = format!("{error:#}"), "the manager does not answer");
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
        match unit {
            Unit::Build(version) => self.builds.stop(version),
            Unit::Execution(id) => self.end(id, false).await?,
        }
        Ok(())
    }

    async fn forget(&self, unit: Unit) -> anyhow::Result<()> {
        match unit {
            Unit::Build(version) => self.builds.forget(version),
            Unit::Execution(id) => {
                self.remove(unit).await?;
                self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            }
        }
        Ok(())
    }

    async fn output(&self, unit: Unit) -> anyhow::Result<Option<String>> {
        let Unit::Execution(id) = unit else { return Ok(None) };
        let kept =
            self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&id).and_then(|known| known.printed.clone());
        if kept.is_some() {
            return Ok(kept);
        }
        let options =
            LogsOptions { stdout: true, stderr: true, tail: OUTPUT_LINES.to_string(), ..LogsOptions::default() };
        let lines = Box::pin(self.daemon.docker.service_logs(&unit.to_string(), Some(options)));
        tokio::time::timeout(LINES, printed(lines)).await.unwrap_or(Ok(None))
    }

    async fn nodes(&self) -> anyhow::Result<Option<Vec<Node>>> {
        let docker = &self.daemon.docker;
        // Whatever runs there takes its room, whoever started it.
        let (nodes, tasks) =
            tokio::try_join!(docker.list_nodes(None::<ListNodesOptions>), docker.list_tasks(None::<ListTasksOptions>))?;
        Ok(Some(nodes.iter().map(|node| nodes::shown(node, &tasks)).collect()))
    }

    async fn list(&self) -> anyhow::Result<Vec<Unit>> {
        Ok(self.services_that(false).await?.into_iter().chain(self.builds.living()).collect())
    }

    async fn ended(&self) -> anyhow::Result<Vec<Unit>> {
        let mut ended = self.services_that(true).await?;
        // A worker that died between the two has left a secret without its service.
        let (services, secrets) = tokio::try_join!(self.services(), self.secrets())?;
        ended.extend(secrets.into_iter().filter(|id| !services.contains(id)).map(Unit::Execution));
        Ok(ended)
    }
}
