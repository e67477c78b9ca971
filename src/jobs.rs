//! The worker: claims jobs by lease and token, and drives each until it ends. A second worker may run beside it, here or
//! elsewhere; the database decides who holds what.

pub mod build_script;
pub mod cancel_tasks;
pub mod chores;
pub mod fold_statistics;
pub mod keep_output;
pub mod reconcile;
pub mod refresh_boundaries;
pub mod report_engine;
pub mod run_execution;
pub mod send_mail;
pub mod send_webhook;
pub mod sweep_accounts;
pub mod sweep_cache;
pub mod sweep_images;
pub mod sweep_runs;
pub mod sweep_units;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use tokio_util::task::TaskTracker;

use crate::{
    app::{App, DataDir},
    config::engines::EngineSetting,
    engine::Engine,
    execution::dispatch::{self, Taken},
    store::{
        self, Id, Time,
        jobs::{Claim, Free, Job},
        workers::NewWorker,
    },
};

/// Kind of job: a run, from READY to its end.
pub const RUN_EXECUTION: &str = "run_execution";
/// Kind of job: the build of a version.
pub const BUILD_SCRIPT: &str = "build_script";

/// Kind of job: a letter of the outbox.
pub const SEND_MAIL: &str = "send_mail";
/// Kind of job: a call to the address that the caller of a run gave.
pub const SEND_WEBHOOK: &str = "send_webhook";
/// Kind of job: boundaries of countries, from geoBoundaries.
pub const REFRESH_BOUNDARIES: &str = "refresh_boundaries";

/// Kind of job: the end of Earth Engine tasks that a cancelled run has begun.
pub const CANCEL_TASKS: &str = "cancel_tasks";

/// Minutes to wait after each failure to reach somebody outside, a day in all; after the last one it is given up.
const WAITS: [u64; 8] = [1, 5, 15, 60, 120, 240, 480, 520];

/// How long a worker waits for a wake-up before it looks by itself.
const POLL: Duration = Duration::from_secs(1);
/// How often units that nobody waits for are looked for, and it is written down what the engine holds.
const SWEEP: Duration = Duration::from_secs(60);

/// One worker of this process: it works for one engine.
pub struct Worker {
    pub app: App,
    pub kind: EngineSetting,
    pub engine: Arc<dyn Engine>,
    pub id: Id,
    /// The folder of this machine.
    pub data: Arc<DataDir>,
    /// The jobs that are being driven.
    driven: TaskTracker,
    /// Shared by the engines that have this machine together.
    used: Arc<Mutex<Used>>,
    /// What the files of this machine take.
    sizes: Arc<sweep_cache::Sizes>,
}

/// What the units of this worker hold.
#[derive(Debug, Default, Clone, Copy)]
struct Used {
    runs: usize,
    builds: usize,
    cpu_nanos: i64,
    memory_bytes: i64,
}

/// A share of the machine, given back when it is dropped.
pub struct Share {
    worker: Arc<Worker>,
    used: Used,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut used = self.worker.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.runs -= self.used.runs;
        used.builds -= self.used.builds;
        used.cpu_nanos -= self.used.cpu_nanos;
        used.memory_bytes -= self.used.memory_bytes;
        drop(used);
        self.worker.app.wake();
    }
}

/// A lease as the worker's own monotonic clock sees it: once it has passed, the worker does nothing outside any more.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    until: Instant,
    length: Duration,
}

impl Lease {
    fn new(length: Duration) -> Self {
        Lease { until: Instant::now() + length, length }
    }

    /// Counts anew from the moment at which a renewal was sent.
    pub fn renewed(&mut self, sent: Instant) {
        self.until = sent + self.length;
    }

    pub fn has_passed(&self) -> bool {
        Instant::now() >= self.until
    }
}

/// An engine that is still to be opened: its daemon may have to be waited for.
pub type Opening = BoxFuture<'static, anyhow::Result<Arc<dyn Engine>>>;

/// Works for each of these engines until the server stops. One that cannot be opened keeps none of the others from it.
///
/// # Errors
/// None of them could be opened.
pub async fn work(app: &App, engines: Vec<(EngineSetting, Opening)>, data: &Arc<DataDir>) -> anyhow::Result<()> {
    let boot = Id::random().to_string();
    let (machine, sizes): (Arc<Mutex<Used>>, Arc<sweep_cache::Sizes>) = Default::default();
    let workers = engines.into_iter().map(async |(kind, opening)| {
        let worker = Worker {
            id: Id::ordered(),
            kind,
            engine: opening.await?,
            data: data.clone(),
            driven: TaskTracker::new(),
            used: if kind == EngineSetting::Swarm { Arc::default() } else { machine.clone() },
            sizes: sizes.clone(),
            app: app.clone(),
        };
        work_alone(Arc::new(worker), &boot).await
    });
    let mut ends = futures::future::join_all(workers).await;
    if ends.iter().all(Result::is_err) {
        return ends.pop().unwrap_or(Ok(()));
    }
    for error in ends.into_iter().filter_map(Result::err) {
        tracing::error!(error = format!("{error:#}"), "an engine is not at work");
    }
    Ok(())
}

/// Signs on and works until the server stops.
async fn work_alone(worker: Arc<Worker>, boot: &str) -> anyhow::Result<()> {
    let app = &worker.app;
    let new = NewWorker { id: worker.id, node: &worker.data.node, boot, scope: worker.engine.scope() };
    while let Err(error) = store::workers::sign_on(&app.db, &new, app.clock.now()).await {
        tracing::warn!(error = format!("{error:#}"), "the worker cannot sign on; it tries again");
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = app.stop.cancelled() => return Ok(()),
        }
    }
    let mut woken = app.woken();
    let mut seen = Instant::now();
    let since = app.clock.now();
    let (mut swept, mut images_swept): (Option<Instant>, Option<Instant>) = (None, None);
    loop {
        // Interest is registered before the queue is read, so that no wake-up is lost between the two.
        woken.mark_unchanged();
        if let Err(error) = worker.round().await {
            tracing::warn!(error = format!("{error:#}"), "the queue could not be read");
        }
        if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
            swept = Some(Instant::now());
            if let Err(error) = sweep_units::sweep(&worker).await {
                tracing::warn!(error = format!("{error:#}"), "units could not be looked through");
            }
            if let Err(error) = sweep_cache::sweep(&worker).await {
                tracing::warn!(error = format!("{error:#}"), "the cache could not be looked through");
            }
            if let Err(error) = sweep_images::sweep(&worker, &mut images_swept).await {
                tracing::warn!(error = format!("{error:#}"), "images could not be looked through");
            }
            if let Err(error) = report_engine::report(&worker, since, true).await {
                tracing::warn!(error = format!("{error:#}"), "the state of the engine could not be written down");
            }
        }
        if seen.elapsed() >= Duration::from_secs(app.config.heartbeat_s) {
            seen = Instant::now();
            if let Err(error) = store::workers::seen(&app.db, worker.id, app.clock.now()).await {
                tracing::warn!(error = %error, "the worker could not say that it lives");
            }
        }
        tokio::select! {
            _ = woken.changed() => {}
            () = tokio::time::sleep(POLL) => {}
            () = app.stop.cancelled() => break,
        }
    }
    // Whoever drives a job stops at the same word; then the leases are given back, so that the next worker goes on at once.
    worker.driven.close();
    worker.driven.wait().await;
    store::jobs::release(&app.db, worker.id, app.clock.now()).await?;
    report_engine::report(&worker, since, false).await?;
    store::workers::sign_off(&app.db, worker.id, app.clock.now()).await?;
    Ok(())
}

impl Worker {
    /// Takes on whatever is due and fits.
    async fn round(self: &Arc<Self>) -> anyhow::Result<()> {
        // Runs whose worker is gone come first: they are under way, and need no room that is not theirs already.
        while let Some(job) = store::jobs::claim_run(&self.app.db, &self.claim()).await? {
            let (cpu, memory) = store::runs::reservation(&self.app.db, job.subject_id).await?.unwrap_or_default();
            let share = self.share(Used { runs: 1, cpu_nanos: cpu, memory_bytes: memory, ..Used::default() });
            self.spawn(share, move |worker, lease| {
                Box::pin(async move { run_execution::adopt(&worker, &job, lease).await })
            });
        }
        let room = self.has_room_on_disk() && store::workers::may_take(&self.app.db, self.id).await?;
        loop {
            let fits = room && self.used().runs < self.app.config.max_runs(self.kind);
            let free = if fits { self.free() } else { Free::NOTHING };
            let Some(taken) = dispatch::next(&self.app, self.kind, &self.claim(), free).await? else { break };
            let Taken::Run { job, attempt, credential, cpu_nanos, memory_bytes } = taken else { continue };
            let share = self.share(Used { runs: 1, cpu_nanos, memory_bytes, ..Used::default() });
            self.spawn(share, move |worker, lease| {
                Box::pin(async move { run_execution::begin(&worker, &job, attempt, credential, lease).await })
            });
        }
        while room && self.used().builds < self.app.config.max_builds {
            let Some(job) = self.next_build().await? else { break };
            let share = self.share(Used { builds: 1, ..Used::default() });
            self.spawn(share, move |worker, lease| {
                Box::pin(async move { build_script::drive(&worker, &job, lease).await })
            });
        }
        Ok(())
    }

    /// Claims the next build that this engine takes. Of a script that is gone any takes it: there is nothing to build.
    async fn next_build(&self) -> anyhow::Result<Option<Job>> {
        let (engines, claim) = (&self.app.config.engines, self.claim());
        for build in store::jobs::builds(&self.app.db, &claim).await? {
            let wanted = |compute_type: &String| engines.wanted(build.environment.as_deref(), compute_type);
            if build.compute_type.as_ref().is_none_or(|kind| engines.takes(self.kind, wanted(kind)))
                && let Some(job) = store::jobs::claim_build(&self.app.db, build.job, &claim).await?
            {
                return Ok(Some(job));
            }
        }
        Ok(None)
    }

    fn claim(&self) -> Claim<'_> {
        let now = self.app.clock.now();
        Claim {
            worker: self.id,
            scope: self.engine.scope(),
            lease_until: self.lease_until(),
            lost_before: crate::clock::before(now, self.app.config.node_lost_s),
            now,
        }
    }

    /// Until when a lease that is taken or renewed now lasts.
    pub fn lease_until(&self) -> Time {
        crate::clock::after(self.app.clock.now(), self.app.config.lease_s)
    }

    fn spawn<F>(self: &Arc<Self>, share: Share, drive: F)
    where
        F: FnOnce(Arc<Worker>, Lease) -> futures::future::BoxFuture<'static, anyhow::Result<()>> + Send + 'static,
    {
        let worker = self.clone();
        self.driven.spawn(async move {
            let lease = Lease::new(Duration::from_secs(worker.app.config.lease_s));
            if let Err(error) = drive(worker.clone(), lease).await {
                // The lease passes, and the job is claimed again.
                tracing::error!(error = format!("{error:#}"), "a job was given up");
            }
            drop(share);
        });
    }

    fn used(&self) -> Used {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn share(self: &Arc<Self>, share: Used) -> Share {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.runs += share.runs;
        used.builds += share.builds;
        used.cpu_nanos += share.cpu_nanos;
        used.memory_bytes += share.memory_bytes;
        Share { worker: self.clone(), used: share }
    }

    /// What runs may still reserve.
    fn free(&self) -> Free {
        let used = self.used();
        let room = self.engine.room();
        let all_cpu_nanos = i64::try_from(room.cpu_nanos).unwrap_or(i64::MAX);
        let all_memory_bytes = i64::try_from(room.memory_bytes).unwrap_or(i64::MAX);
        Free {
            cpu_nanos: all_cpu_nanos - used.cpu_nanos,
            memory_bytes: all_memory_bytes - used.memory_bytes,
            all_cpu_nanos,
            all_memory_bytes,
        }
    }

    fn has_room_on_disk(&self) -> bool {
        free_bytes(&self.data.path).is_none_or(|free| free >= self.app.config.min_free_bytes)
    }
}

/// Bytes that are free on the disk of a folder; `None` if the system does not say.
pub fn free_bytes(folder: &std::path::Path) -> Option<u64> {
    let stat = nix::sys::statvfs::statvfs(folder).ok()?;
    Some(stat.blocks_available() * stat.fragment_size())
}

/// Bytes of memory that runs may have together: 80 % of the machine's.
pub fn memory_for_runs() -> u64 {
    memory_bytes() / 10 * 8
}

/// Bytes of memory of this machine.
pub fn memory_bytes() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = info
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .unwrap_or(1 << 20);
    kilobytes * 1_024
}

/// Nano-CPUs that runs may have together: every core.
pub fn cpu_for_runs() -> u64 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64) * 1_000_000_000
}

/// Whether a job is still this worker's, asked and renewed in one round trip; tells the state of its execution.
pub async fn heartbeat(
    worker: &Worker,
    job: &Job,
    lease: &mut Lease,
) -> anyhow::Result<Option<Option<crate::execution::status::Status>>> {
    let sent = Instant::now();
    let answer = store::jobs::heartbeat(&worker.app.db, job, worker.lease_until()).await?;
    if answer.is_some() {
        lease.renewed(sent);
    }
    Ok(answer)
}
