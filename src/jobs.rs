//! The worker: claims jobs by lease and token, and drives each until it ends. A second worker may run beside it, here or
//! elsewhere; the database decides who holds what.

pub mod build_script;
pub mod chores;
pub mod fold_statistics;
pub mod keep_output;
pub mod reconcile;
pub mod refresh_boundaries;
pub mod report_engine;
pub mod run_execution;
pub mod send_bulk_mail;
pub mod send_mail;
pub mod send_webhook;
pub mod sweep_accounts;
pub mod sweep_cache;
pub mod sweep_runs;
pub mod sweep_units;
pub mod sync_suppressions;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::task::TaskTracker;

use crate::{
    app::{App, DataDir},
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
/// Kind of job: the letters of a mail to many are written.
pub const SEND_BULK_MAIL: &str = "send_bulk_mail";
/// Kind of job: one of these letters; other letters come before it.
pub const SEND_BULK_LETTER: &str = "send_bulk_letter";
/// Kind of job: who wants no more mails, from SparkPost.
pub const SYNC_SUPPRESSIONS: &str = "sync_suppressions";
/// Kind of job: boundaries of countries, from geoBoundaries.
pub const REFRESH_BOUNDARIES: &str = "refresh_boundaries";

/// Minutes to wait after each failure to reach somebody outside, a day in all; after the last one it is given up.
const WAITS: [u64; 8] = [1, 5, 15, 60, 120, 240, 480, 520];

/// How long a worker waits for a wake-up before it looks by itself.
const POLL: Duration = Duration::from_secs(1);
/// How often units that nobody waits for are looked for, and it is written down what the engine holds.
const SWEEP: Duration = Duration::from_secs(60);

/// One worker of this process.
pub struct Worker {
    pub app: App,
    pub engine: Arc<dyn Engine>,
    pub id: Id,
    /// The folder of this machine.
    pub data: Arc<DataDir>,
    /// The jobs that are being driven.
    driven: TaskTracker,
    used: Mutex<Used>,
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

/// Signs on and works until the server stops.
pub async fn work(app: App, engine: Arc<dyn Engine>, data: Arc<DataDir>) -> anyhow::Result<()> {
    let worker = Arc::new(Worker {
        id: Id::ordered(),
        engine,
        data,
        driven: TaskTracker::new(),
        used: Mutex::default(),
        sizes: Arc::default(),
        app,
    });
    let app = &worker.app;
    let boot = Id::random().to_string();
    let new = NewWorker { id: worker.id, node: &worker.data.node, boot: &boot, scope: worker.engine.scope() };
    while let Err(error) = store::workers::sign_on(&app.db, &new, app.clock.now()).await {
        tracing::warn!(error = format!("{error:#}"), "the worker cannot sign on; it tries again");
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = app.stop.cancelled() => return Ok(()),
        }
    }
    let mut woken = app.woken();
    let mut seen = Instant::now();
    let (since, mut swept): (Time, Option<Instant>) = (app.clock.now(), None);
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
        while let Some(job) = store::jobs::claim(&self.app.db, RUN_EXECUTION, false, &self.claim()).await? {
            let (cpu, memory) = store::runs::reservation(&self.app.db, job.subject_id).await?.unwrap_or_default();
            let share = self.share(Used { runs: 1, cpu_nanos: cpu, memory_bytes: memory, ..Used::default() });
            self.spawn(share, move |worker, lease| {
                Box::pin(async move { run_execution::adopt(&worker, &job, lease).await })
            });
        }
        let room = self.has_room_on_disk() && store::workers::may_take(&self.app.db, self.id).await?;
        loop {
            let fits = room && self.used().runs < self.app.config.max_runs;
            let free = if fits { self.free() } else { Free::NOTHING };
            let Some(taken) = dispatch::next(&self.app, &self.claim(), free).await? else { break };
            let Taken::Run { job, attempt, credential, cpu_nanos, memory_bytes } = taken else { continue };
            let share = self.share(Used { runs: 1, cpu_nanos, memory_bytes, ..Used::default() });
            self.spawn(share, move |worker, lease| {
                Box::pin(async move { run_execution::begin(&worker, &job, attempt, credential, lease).await })
            });
        }
        while room && self.used().builds < self.app.config.max_builds {
            let Some(job) = store::jobs::claim(&self.app.db, BUILD_SCRIPT, true, &self.claim()).await? else { break };
            let share = self.share(Used { builds: 1, ..Used::default() });
            self.spawn(share, move |worker, lease| {
                Box::pin(async move { build_script::drive(&worker, &job, lease).await })
            });
        }
        Ok(())
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

    /// What runs may still reserve: all cores, and 80 % of the memory.
    fn free(&self) -> Free {
        let used = self.used();
        let all_cpu_nanos = i64::try_from(cpu_for_runs()).unwrap_or(i64::MAX);
        let all_memory_bytes = i64::try_from(memory_for_runs()).unwrap_or(i64::MAX);
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
