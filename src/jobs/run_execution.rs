//! One run, from READY to its end: starts its unit, stores what it says, stops it when somebody asked, tells its end.
//! The unit outlives this process; whoever holds the job next goes on where the journal's offset stands.

mod ready;

use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sqlx::types::Json as SqlJson;

use super::{
    Lease, Worker, heartbeat,
    keep_output::{self, Kept},
};
use crate::{
    build,
    engine::{End, Entry, Exit, Hindrance, Limits, News, Unit, grouped},
    execution::{
        dispatch::{self, actor},
        failure::{Class, Failure},
        journal, loan,
        report::{self, By, Report},
        results,
        secrets::{self, Mask},
        status::Status,
    },
    json::mend,
    store::{self, Id, Time, Tx, jobs::Job, logs::Line, runs::ExecutionRun, script_secrets::Sealed},
};

/// What must be remembered of a run between two workers, in the job's payload.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Memory {
    /// Class and sentence of the failure that the runner reported.
    #[serde(default)]
    failed: Option<(String, String)>,
    /// What the run was given of its script's secrets, sealed: its words are kept free of them to their end, whatever is
    /// granted later.
    #[serde(default)]
    secrets: Vec<Sealed>,
}

/// The state of the one who follows a unit.
struct Follower<'a> {
    worker: &'a Worker,
    job: &'a Job,
    lease: Lease,
    run: ExecutionRun,
    script: Option<Id>,
    limits: Limits,
    /// How often a run that was lost is started anew, by the script's own word.
    retries: i32,
    memory: Memory,
    /// Register date of the last stored line: dates of one run never go back.
    last_line: Option<Time>,
    /// Since when this worker drives it; like the unit's own clock it stands still while the machine sleeps.
    followed: Instant,
    /// Since when its end is reported, while it lives.
    reported: Option<Instant>,
    /// Since when its unit is asked to end.
    stopping: Option<Instant>,
    /// What the unit has printed, as far as it is kept.
    output: Kept,
    /// What must not be read in its words.
    mask: Mask,
}

/// How long a unit may take to end once it was asked to, or after its time: then its execution ends without it.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// How long a unit may still live whose end was reported.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Seconds that a unit gets beyond its own limit of time before it is ended from outside.
const BEYOND_S: u64 = 60;

/// The cause of an end of which nothing was heard.
const LOST: &str = "lost";

/// How soon after a heartbeat a wake-up may cause the next one.
const WOKEN: Duration = Duration::from_secs(1);

/// What grows while the same thing fails again and again.
#[derive(Default)]
struct Pause {
    failures: u32,
}

impl Pause {
    /// Waits: longer each time, at most two seconds.
    async fn after(&mut self, error: &anyhow::Error) {
        tracing::warn!(error = format!("{error:#}"), "something failed; it is tried again");
        self.failures += 1;
        tokio::time::sleep(Duration::from_millis(u64::from(100 * self.failures.min(20)))).await;
    }

    /// Whether more of it will not help.
    fn is_hopeless(&self) -> bool {
        self.failures >= 20
    }
}

/// What is to be done with a run next.
enum Next {
    Start {
        attempt: i32,
        credential: SecretString,
    },
    Follow,
    /// Its unit is gone without a word.
    Lost,
    /// Its end is stored, or it is no longer ours.
    Nothing,
}

/// Starts the unit of a run that this worker has just made READY, and follows it.
pub async fn begin(
    worker: &Worker,
    job: &Job,
    attempt: i32,
    credential: SecretString,
    lease: Lease,
) -> anyhow::Result<()> {
    // This worker knows that the unit is not started yet, which nobody after it could know: so a database that is away for
    // a moment is waited for, as long as the lease lasts.
    let mut pause = Pause::default();
    let made = loop {
        match Follower::new(worker, job, lease).await {
            Err(error) if !lease.has_passed() => pause.after(&error).await,
            made => break made?,
        }
    };
    let Some(mut follower) = made else { return Ok(()) };
    follower.live(Next::Start { attempt, credential }).await
}

/// Goes on with a run whose worker is gone. Nothing is started twice: without a trace of a unit it may have run and be lost.
pub async fn adopt(worker: &Worker, job: &Job, lease: Lease) -> anyhow::Result<()> {
    let Some(mut follower) = Follower::new(worker, job, lease).await? else { return Ok(()) };
    tracing::info!(execution.id = %job.subject_id, "a run is taken over");
    let here = follower.run.scope.as_deref() == Some(worker.engine.scope());
    let found = if here { worker.engine.find(follower.unit()).await? } else { None };
    follower.live(if found.is_some() { Next::Follow } else { Next::Lost }).await
}

impl<'a> Follower<'a> {
    /// `None` if the execution is gone, or has ended without its job: then only the unit is left to stop.
    async fn new(worker: &'a Worker, job: &'a Job, lease: Lease) -> anyhow::Result<Option<Self>> {
        let id = job.subject_id;
        let run = store::runs::find(&worker.app.db, id).await?;
        let Some(run) = run else {
            worker.engine.stop(Unit::Execution(id)).await?;
            let mut tx = worker.app.db.begin().await?;
            if store::jobs::hold(&mut tx, job, worker.lease_until()).await? {
                store::jobs::finish(&mut tx, job, None, worker.app.clock.now()).await?;
                tx.commit().await?;
            }
            return Ok(None);
        };
        let version = match run.script_version_id {
            Some(version) => store::script_versions::get(&worker.app.db, version).await?,
            None => None,
        };
        let memory: Memory = serde_json::from_str(job.payload.0.get()).unwrap_or_default();
        let script = version.as_ref().map(|version| version.script_id);
        // Sealed with another key since, they cannot be hidden; the run has to come to its end all the same.
        let given = script.and_then(|script| secrets::open(&worker.app, script, &memory.secrets).ok());
        let mut hidden = loan::hidden(&worker.app, id).await?;
        hidden.extend(given.unwrap_or_default().into_values());
        let configuration = version.map(|v| build::stored(&v.config)).transpose()?.unwrap_or_default();
        let limits = configuration.limits(&build::caps(&worker.app.config));
        let retries = i32::try_from(configuration.retry.unwrap_or(0)).unwrap_or(0);
        Ok(Some(Follower {
            worker,
            job,
            lease,
            run,
            script,
            limits,
            retries,
            memory,
            last_line: None,
            reported: None,
            stopping: None,
            followed: Instant::now(),
            output: Kept::nothing(),
            mask: Mask::of(&hidden),
        }))
    }

    fn unit(&self) -> Unit {
        Unit::Execution(self.job.subject_id)
    }

    fn by(&self, cause: &'static str) -> By {
        By::new(actor(self.worker.id), cause)
    }

    async fn live(&mut self, mut next: Next) -> anyhow::Result<()> {
        loop {
            next = match next {
                Next::Start { attempt, credential } => self.start(attempt, credential).await?,
                Next::Follow => self.follow().await?,
                Next::Lost => self.again().await?,
                Next::Nothing => return Ok(()),
            };
        }
    }

    async fn start(&mut self, attempt: i32, credential: SecretString) -> anyhow::Result<Next> {
        let mut pause = Pause::default();
        let run = loop {
            match self.prepare(attempt, credential.clone()).await {
                Ok(Some(run)) => break run,
                // Somebody asked for the end while it was made ready: there is no unit that could tell of it.
                Ok(None) if self.stopping.is_some() => {
                    let report = Report { status: Some(Status::Cancelled), ..Report::default() };
                    return self.finish(report, "cancelled").await;
                }
                Ok(None) => return Ok(Next::Nothing),
                Err(error) if error.is::<sqlx::Error>() && !self.lease.has_passed() => pause.after(&error).await,
                // What lies far away is asked for again; each try renews the lease.
                Err(error) if error.is::<object_store::Error>() && self.may_try_again(&pause) => {
                    pause.after(&error).await;
                }
                Err(error) => {
                    let sentence = match error.downcast_ref::<secrets::Unreadable>() {
                        Some(unreadable) => unreadable.to_string(),
                        None if error.is::<Hindrance>() => error.to_string(),
                        None if error.is::<build::Gone>() => "The files of the script are not there any more.".into(),
                        None if error.is::<object_store::Error>() => {
                            "The files of the script cannot be fetched.".into()
                        }
                        None => "The run could not be made ready on this machine.".into(),
                    };
                    return self.give_up(error, &sentence).await;
                }
            }
        };
        if self.lease.has_passed() {
            return Ok(Next::Nothing);
        }
        let engine = &self.worker.engine;
        match self.beating(engine.start(&run)).await {
            Ok(Some(())) => Ok(Next::Follow),
            Ok(None) => Ok(Next::Nothing),
            Err(error) => {
                let sentence = match error.downcast_ref::<Hindrance>() {
                    Some(hindrance) => hindrance.to_string(),
                    None => "The run could not be started on this machine.".into(),
                };
                self.give_up(error, &sentence).await
            }
        }
    }

    /// Waits for something that may take longer than the lease, and renews it meanwhile. `None` if the job was lost.
    async fn beating<T>(&mut self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<Option<T>> {
        let mut work = std::pin::pin!(work);
        let mut beat = tokio::time::interval(Duration::from_secs(self.worker.app.config.heartbeat_s));
        loop {
            tokio::select! {
                done = &mut work => return done.map(Some),
                _ = beat.tick() => match heartbeat(self.worker, self.job, &mut self.lease).await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(None),
                    Err(error) if self.lease.has_passed() => return Err(error),
                    Err(error) => tracing::warn!(error = format!("{error:#}"), "no heartbeat"),
                }
            }
        }
    }

    /// Whether it makes sense to do again what has failed, and there is time.
    fn may_try_again(&self, pause: &Pause) -> bool {
        !pause.is_hopeless() && !self.lease.has_passed() && !self.worker.app.stop.is_cancelled()
    }

    async fn give_up(&mut self, error: anyhow::Error, sentence: &str) -> anyhow::Result<Next> {
        tracing::error!(execution.id = %self.job.subject_id, error = format!("{error:#}"), "{sentence}");
        self.finish_failed(Failure::new(Class::Infrastructure, sentence)).await
    }

    /// A lost run ends, unless its script says that it may be repeated: then a new attempt begins, with a new credential.
    async fn again(&mut self) -> anyhow::Result<Next> {
        if self.run.attempt > self.retries || !self.suits().await? {
            return self.finish_failed(Failure::lost()).await;
        }
        let app = &self.worker.app;
        let (id, now, scope) = (self.job.subject_id, app.clock.now(), self.worker.engine.scope());
        self.worker.engine.forget(self.unit()).await?;
        let mut tx = app.db.begin().await?;
        if !store::jobs::hold(&mut tx, self.job, self.worker.lease_until()).await? {
            return Ok(Next::Nothing);
        }
        let status = store::executions::lock(&mut tx, id).await?;
        if !matches!(status, Some(Status::Ready | Status::Running)) {
            drop(tx);
            return self.finish_failed(Failure::lost()).await;
        }
        let (attempt, credential) = dispatch::attempt(&mut tx, id, scope, now).await?;
        let text = format!("The run was lost with its machine or process; attempt {attempt} begins.");
        store::logs::insert(&mut tx, id, &[Line { level: "WARNING".into(), text, at: now }]).await?;
        self.memory = Memory { secrets: std::mem::take(&mut self.memory.secrets), ..Memory::default() };
        self.remember(&mut tx).await?;
        tx.commit().await?;
        self.run.attempt = attempt;
        self.run.journal_offset = 0;
        Ok(Next::Start { attempt, credential })
    }

    /// Whether the script may run on this worker's engine; who judges a lost place may be another one's.
    async fn suits(&self) -> anyhow::Result<bool> {
        let app = &self.worker.app;
        let Some(script) = self.script else { return Ok(false) };
        let Some(script) = store::scripts::get(&app.db, script).await? else { return Ok(false) };
        let wanted = app.config.engines.wanted(script.environment.as_deref(), &script.compute_type);
        Ok(app.config.engines.takes(self.worker.kind, wanted))
    }

    async fn follow(&mut self) -> anyhow::Result<Next> {
        let app = &self.worker.app;
        let mut woken = app.woken();
        let mut beat = tokio::time::interval(Duration::from_secs(app.config.heartbeat_s));
        let mut beaten = tokio::time::Instant::now();
        let mut pause = Pause::default();
        loop {
            let offset = u64::try_from(self.run.journal_offset).unwrap_or(0);
            tokio::select! {
                biased;
                () = app.stop.cancelled() => return Ok(Next::Nothing),
                _ = beat.tick() => {
                    beaten = tokio::time::Instant::now();
                    if !self.beat().await? { return Ok(Next::Nothing) }
                    if let Some(report) = self.overdue() {
                        return self.finish(report, "timed_out").await;
                    }
                    self.output.look(self.worker, self.job.subject_id, &self.mask).await;
                }
                news = self.worker.engine.follow(self.unit(), offset) => match self.hear(news).await {
                    Ok(Some(next)) => return Ok(next),
                    Ok(None) => pause = Pause::default(),
                    Err(error) if self.lease.has_passed() => return Err(error),
                    Err(error) if pause.is_hopeless() && !error.is::<sqlx::Error>() => {
                        return self.give_up(error, "What the run said could not be stored.").await;
                    }
                    Err(error) => pause.after(&error).await,
                },
                // Something changed somewhere: perhaps this run is to end. Asking costs a write, so not more than once a second.
                _ = woken.changed() => beat.reset_at((beaten + WOKEN).max(tokio::time::Instant::now())),
            }
        }
    }

    /// Renews the lease and hears whether the run is to end. False if the job is no longer ours.
    async fn beat(&mut self) -> anyhow::Result<bool> {
        let answer = match heartbeat(self.worker, self.job, &mut self.lease).await {
            Ok(answer) => answer,
            // The database is away: as long as the lease lasts, the run goes on and its words wait in the journal.
            Err(error) if !self.lease.has_passed() => {
                tracing::warn!(execution.id = %self.job.subject_id, error = format!("{error:#}"), "no heartbeat");
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let Some(status) = answer else { return Ok(false) };
        let over = match status {
            // It said so itself and is about to end.
            Some(Status::Finished | Status::Failed) => {
                self.reported.get_or_insert_with(Instant::now).elapsed() >= LAST_WORDS
            }
            Some(status) => status == Status::Cancelling || status.is_terminal(),
            None => true,
        };
        if (over || self.is_late()) && self.stopping.is_none() {
            match self.worker.engine.stop(self.unit()).await {
                Ok(()) => self.stopping = Some(Instant::now()),
                Err(error) if !self.lease.has_passed() => {
                    let id = self.job.subject_id;
                    tracing::warn!(execution.id = %id, error = format!("{error:#}"), "a unit could not be told to end");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Whether the unit lasts longer than it should have let itself, by what this worker has seen.
    fn is_late(&self) -> bool {
        self.followed.elapsed().as_secs() >= self.limits.timeout_s.saturating_add(BEYOND_S)
    }

    /// How the execution ends whose unit does not, although it was asked to: nobody can wait for it any longer. The unit is
    /// asked again every minute, as one that nobody waits for.
    fn overdue(&self) -> Option<Report> {
        self.stopping.filter(|since| since.elapsed() >= STOP_PATIENCE)?;
        Some(if self.is_late() {
            let limit = grouped(self.limits.timeout_s);
            let text = format!(
                "The run took longer than its limit of {limit} seconds, and does not end although it is told to."
            );
            failed(Failure::new(Class::Timeout, text))
        } else {
            let text = "The run was cancelled; its processes do not end although they are told to, and are told again.";
            let failure = Failure::new(Class::Cancelled, text);
            Report { status: Some(Status::Cancelled), failure: Some(failure), ..Report::default() }
        })
    }

    /// Stores news; if that fails, nothing is forgotten, and the same news come again.
    async fn hear(&mut self, news: anyhow::Result<News>) -> anyhow::Result<Option<Next>> {
        let before = (self.run.clone(), self.memory.clone(), self.last_line);
        let told = match news {
            Ok(news) => self.tell(news).await,
            Err(error) => Err(error),
        };
        if told.is_err() {
            (self.run, self.memory, self.last_line) = before;
        }
        told
    }

    /// Stores what the unit said, and its end; what is next if the run does not simply go on.
    async fn tell(&mut self, news: News) -> anyhow::Result<Option<Next>> {
        if news.entries.is_empty() && news.end.is_none() {
            // What was read may have held no word of the runner; it is not read again.
            self.run.journal_offset = i64::try_from(news.offset)?;
            return Ok(None);
        }
        if self.lease.has_passed() {
            return Ok(Some(Next::Nothing));
        }
        let mut entries = news.entries;
        entries.iter_mut().for_each(|entry| self.mask.hide_in(entry));
        // Before the transaction: a result may be large, and nobody else can write meanwhile.
        let end = match news.end {
            Some(End { exit: Some(mut exit), result }) => {
                exit.error = exit.error.map(|error| self.mask.hide(error));
                Some(Some(self.judge(&exit, result.as_deref()).await?))
            }
            Some(End { exit: None, .. }) => Some(None),
            None => None,
        };
        let printed = match end {
            Some(_) => keep_output::printed(self.worker, self.job.subject_id, &self.mask).await,
            None => None,
        };
        let app = &self.worker.app;
        let now = app.clock.now();
        let mut tx = app.db.begin().await?;
        if !store::jobs::hold(&mut tx, self.job, self.worker.lease_until()).await? {
            return Ok(Some(Next::Nothing));
        }
        if store::executions::lock(&mut tx, self.job.subject_id).await?.is_none() {
            store::jobs::finish(&mut tx, self.job, None, now).await?;
            tx.commit().await?;
            self.worker.engine.stop(self.unit()).await?;
            return Ok(Some(Next::Nothing));
        }
        self.store(&mut tx, entries, news.offset, now).await?;
        if let Some(text) = printed {
            store::execution_output::put(&mut tx, self.job.subject_id, &text, now).await?;
        }
        let next = match end {
            None => None,
            Some(None) => Some(Next::Lost),
            Some(Some((report, cause))) => {
                report::apply(&mut tx, &self.worker.app, self.job.subject_id, &report, &self.by(cause), now).await?;
                store::jobs::finish(&mut tx, self.job, None, now).await?;
                Some(Next::Nothing)
            }
        };
        tx.commit().await?;
        if next.is_some() {
            app.wake();
            self.tidy().await;
        }
        Ok(next)
    }

    /// Removes what an ended unit has left where nobody looks at it: what it printed is kept. If that fails, it is done with
    /// other remains every minute.
    async fn tidy(&self) {
        if self.worker.engine.keeps_ended() {
            return;
        }
        if let Err(error) = self.worker.engine.forget(self.unit()).await {
            tracing::warn!(execution.id = %self.job.subject_id, error = format!("{error:#}"), "an ended unit could not be removed");
        }
    }

    async fn remember(&self, tx: &mut Tx) -> anyhow::Result<()> {
        let payload = SqlJson(serde_json::value::to_raw_value(&self.memory)?);
        Ok(store::jobs::set_payload(tx, self.job, &payload).await?)
    }

    /// What it said, in the transaction that moves the journal's offset.
    async fn store(&mut self, tx: &mut Tx, entries: Vec<Entry>, offset: u64, now: Time) -> anyhow::Result<()> {
        let by = self.by("reported");
        let said = journal::Said { entries, offset: i64::try_from(offset)?, by };
        let failed = journal::keep(tx, &self.worker.app, &mut self.run, said, &mut self.last_line, now).await?;
        if failed.is_some() {
            self.memory.failed = failed;
            self.remember(tx).await?;
        }
        Ok(())
    }

    /// What the end of a unit means for its execution.
    async fn judge(&self, exit: &Exit, result: Option<&[u8]>) -> anyhow::Result<(Report, &'static str)> {
        let cause = match (exit.timed_out, exit.stopped) {
            (true, _) => "timed_out",
            (_, true) => "cancelled",
            _ => "engine_ended",
        };
        if exit.code == Some(0) && exit.error.is_none() && !exit.oom && !exit.timed_out {
            match result.map(|bytes| tokio::task::block_in_place(|| mend::mend(bytes, results::MAX_VALUES))) {
                Some(Ok(text)) => {
                    if let Ok(raw) = serde_json::value::RawValue::from_string(text) {
                        let results = results::place(&self.worker.app, self.job.subject_id, SqlJson(raw)).await?;
                        let report =
                            Report { status: Some(Status::Finished), results: Some(results), ..Report::default() };
                        return Ok((report, "reported"));
                    }
                }
                Some(Err(error)) => {
                    let failure = Failure::new(Class::ScriptError, format!("The result is not JSON: {error}"));
                    return Ok((failed(failure), cause));
                }
                None => {}
            }
        }
        if exit.stopped {
            // Only a unit that somebody wanted to end is stopped, also if that was an operator by hand.
            let report = Report { status: Some(Status::Cancelled), ..Report::default() };
            return Ok((report, cause));
        }
        Ok((failed(Failure::of_exit(exit, self.memory.failed.clone(), &self.limits)), cause))
    }

    async fn finish_failed(&mut self, failure: Failure) -> anyhow::Result<Next> {
        self.finish(failed(failure), LOST).await
    }

    async fn finish(&mut self, report: Report, cause: &'static str) -> anyhow::Result<Next> {
        let printed = keep_output::printed(self.worker, self.job.subject_id, &self.mask).await;
        let app = &self.worker.app;
        let now = app.clock.now();
        let mut tx = app.db.begin().await?;
        if !store::jobs::hold(&mut tx, self.job, self.worker.lease_until()).await? {
            return Ok(Next::Nothing);
        }
        if let Some(text) = printed {
            store::execution_output::put(&mut tx, self.job.subject_id, &text, now).await?;
        }
        report::apply(&mut tx, &self.worker.app, self.job.subject_id, &report, &self.by(cause), now).await?;
        if cause == LOST {
            // It may be at work where nobody sees it: what it still says must not be taken for more than it is.
            store::credentials::revoke(&mut tx, self.job.subject_id, now).await?;
        }
        store::jobs::finish(&mut tx, self.job, None, now).await?;
        tx.commit().await?;
        app.wake();
        self.tidy().await;
        Ok(Next::Nothing)
    }
}

fn failed(failure: Failure) -> Report {
    Report { status: Some(Status::Failed), failure: Some(failure), ..Report::default() }
}
