//! The runs that wait, in the order in which they get their turn: both what workers take and what people are told comes from
//! it. It is read from the database, anew each time while few wait; the more there are, the longer one reading counts.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::status::Status;
use crate::{
    app::App,
    clock::before,
    config::engines::{EngineSetting, Engines},
    store::{
        self, Id, Time,
        jobs::{Free, Waiting},
        users::Standing,
    },
};

/// So many are read anew each time.
const FEW: usize = 100;
/// How long a reading counts for each run beyond those: some 5 % of a core are spent on readings, however many wait.
const EACH: Duration = Duration::from_micros(100);

/// The last reading of this process.
#[derive(Default)]
pub struct Board(tokio::sync::Mutex<Option<Arc<Order>>>);

impl Board {
    /// A run was accepted here after the last reading: where it stands is known without asking.
    pub async fn accepted(&self, execution: Id, later: Later) {
        let Some(order) = self.0.lock().await.clone() else { return };
        order.later.lock().unwrap_or_else(PoisonError::into_inner).insert(execution, later);
    }
}

/// One reading.
pub struct Order {
    read: Instant,
    /// Runs that are to be cancelled before they begin: they come before all.
    cancelled: Vec<Waiting>,
    /// By turn: who has to wait for a slot comes last, then counts how many runs its owner would have before it, then its age.
    turns: Vec<(Turn, Waiting)>,
    places: HashMap<Id, usize>,
    owners: HashMap<Id, Owner>,
    /// The places of the workers that were there.
    places_at_work: BTreeSet<String>,
    /// Whether the system was being maintained.
    pub rests: bool,
    given: Mutex<Given>,
    /// Runs that were accepted here after the reading.
    later: Mutex<HashMap<Id, Later>>,
}

/// A run that was accepted after the reading.
#[derive(Debug, Clone, Copy)]
pub struct Later {
    pub start_date: Time,
    /// How its owner stood.
    pub standing: Standing,
    /// The engine that its script wants.
    pub wanted: Option<EngineSetting>,
}

/// What has been given out since the reading.
#[derive(Default)]
struct Given {
    jobs: HashSet<Id>,
    users: HashMap<Id, i64>,
}

/// What the turns of a user's runs depend on.
#[derive(Debug, Clone, Copy)]
struct Owner {
    /// Runs that hold a slot.
    active: i64,
    /// `None` without a limit.
    slots: Option<i64>,
}

/// When a run gets its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    needs_slot: bool,
    before: i64,
    start_date: Option<Time>,
    execution: Id,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Waiting runs that come before it.
    pub ahead: usize,
    /// Of its owner's own, how many wait before it.
    pub own: i64,
    /// Runs of its owner that hold a slot.
    pub active: i64,
    /// Slots of its owner; `None` without a limit.
    pub slots: Option<i64>,
    /// The engine that it has to run on, if not on any.
    pub wanted: Option<EngineSetting>,
}

/// The order as it is now, or was a moment ago where many wait.
pub async fn current(app: &App) -> sqlx::Result<Arc<Order>> {
    reading(app, |order| order.read.elapsed() < order.lasts()).await
}

/// A reading after this one.
pub async fn after(app: &App, old: &Arc<Order>) -> sqlx::Result<Arc<Order>> {
    reading(app, |order| !Arc::ptr_eq(order, old)).await
}

/// The last reading, if it will do, else a new one; whoever asks meanwhile waits for it.
async fn reading(app: &App, will_do: impl FnOnce(&Arc<Order>) -> bool) -> sqlx::Result<Arc<Order>> {
    let mut board = app.board.0.lock().await;
    if let Some(order) = board.as_ref().filter(|order| will_do(order)) {
        return Ok(order.clone());
    }
    let order = Arc::new(Order::read(app).await?);
    *board = Some(order.clone());
    Ok(order)
}

impl Order {
    async fn read(app: &App) -> sqlx::Result<Self> {
        let read = Instant::now();
        let waiting = store::jobs::waiting(&app.db).await?;
        let users: Vec<Id> = waiting.iter().map(|run| run.user).collect::<HashSet<_>>().into_iter().collect();
        let owners = owners(app, &users).await?;
        let since = before(app.clock.now(), app.config.lease_s);
        let places_at_work = store::workers::places_since(&app.db, since).await?;
        let rests = store::maintenance::get(&app.db).await?.is_some();
        let (mut pending, cancelled): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|run| run.status == Status::Pending);
        pending.sort_unstable_by_key(|run| (run.start_date, run.execution));
        let mut own: HashMap<Id, i64> = HashMap::new();
        let mut turns: Vec<(Turn, Waiting)> = Vec::with_capacity(pending.len());
        for run in pending {
            // Who is not there any more has no turn.
            let Some(owner) = owners.get(&run.user) else { continue };
            let own = own.entry(run.user).or_default();
            turns.push((Turn::of(run.execution, run.start_date, owner.active + *own, owner.slots), run));
            *own += 1;
        }
        turns.sort_unstable_by_key(|(turn, _)| *turn);
        let places = turns.iter().enumerate().map(|(at, (_, run))| (run.execution, at)).collect();
        Ok(Order {
            read,
            cancelled,
            turns,
            places,
            owners,
            places_at_work,
            rests,
            given: Mutex::default(),
            later: Mutex::default(),
        })
    }

    /// So few wait that every reading is made for the one who asks.
    pub fn is_new(&self) -> bool {
        self.lasts().is_zero()
    }

    /// How long this reading counts.
    fn lasts(&self) -> Duration {
        EACH * u32::try_from(self.turns.len().saturating_sub(FEW)).unwrap_or(u32::MAX)
    }

    /// Where a run stands; `None` if it does not wait for a worker.
    pub async fn place(&self, app: &App, execution: Id) -> sqlx::Result<Option<Place>> {
        if let Some(&ahead) = self.places.get(&execution) {
            let (turn, run) = &self.turns[ahead];
            let wanted = wanted(app, run.environment.as_deref(), &run.compute_type);
            return Ok(self.owners.get(&run.user).map(|owner| owner.place(ahead, turn.before - owner.active, wanted)));
        }
        if self.is_new() {
            return Ok(None);
        }
        // It was accepted after the reading, here or elsewhere.
        let later = self.later.lock().unwrap_or_else(PoisonError::into_inner).get(&execution).copied();
        if let Some(Later { start_date, standing: Standing { slots, active, waiting }, wanted }) = later {
            let owner = Owner { active, slots };
            return Ok(Some(self.would_be(execution, Some(start_date), owner, waiting, wanted)));
        }
        let Some(run) = store::jobs::standing(&app.db, execution).await? else { return Ok(None) };
        let wanted = wanted(app, run.environment.as_deref(), &run.compute_type);
        let owners = owners(app, &[run.user]).await?;
        Ok(owners.get(&run.user).map(|owner| self.would_be(execution, run.start_date, *owner, run.own, wanted)))
    }

    /// The place among those of the reading of a run that is not one of them.
    fn would_be(
        &self,
        execution: Id,
        start_date: Option<Time>,
        owner: Owner,
        own: i64,
        wanted: Option<EngineSetting>,
    ) -> Place {
        let turn = Turn::of(execution, start_date, owner.active + own, owner.slots);
        owner.place(self.turns.partition_point(|(before, _)| *before < turn), own, wanted)
    }

    /// Whether a worker was there for what wants this engine.
    pub fn has_worker(&self, wanted: Option<EngineSetting>) -> bool {
        self.places_at_work.iter().any(|scope| wanted.is_none_or(|kind| kind.has_place(scope)))
    }

    /// The next run that is due, that this engine takes, whose owner has a free slot and that fits; it is not given out again
    /// from this reading. What it reserves is at most all of the machine.
    pub fn next(&self, engines: &Engines, kind: EngineSetting, free: Free, now: Time) -> Option<Waiting> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = |run: &Waiting, given: &Given| run.run_at <= now && !given.jobs.contains(&run.job);
        if let Some(run) = self.cancelled.iter().find(|run| is_due(run, &given)) {
            given.jobs.insert(run.job);
            return Some(run.clone());
        }
        if free.is_nothing() {
            return None;
        }
        let suits = |run: &Waiting| engines.takes(kind, engines.wanted(run.environment.as_deref(), &run.compute_type));
        let fits = |run: &Waiting| {
            run.cpu_reservation.min(free.all_cpu_nanos) <= free.cpu_nanos
                && run.memory_reservation.min(free.all_memory_bytes) <= free.memory_bytes
        };
        let has_slot = |run: &Waiting, given: &Given| {
            let owner = self.owners.get(&run.user);
            let given = given.users.get(&run.user).copied().unwrap_or(0);
            owner.is_some_and(|owner| owner.slots.is_none_or(|slots| owner.active + given < slots))
        };
        let run = self.turns.iter().map(|(_, run)| run);
        let run = run.filter(|run| fits(run) && suits(run)).find(|run| is_due(run, &given) && has_slot(run, &given))?;
        given.jobs.insert(run.job);
        *given.users.entry(run.user).or_default() += 1;
        Some(Waiting {
            cpu_reservation: run.cpu_reservation.min(free.all_cpu_nanos),
            memory_reservation: run.memory_reservation.min(free.all_memory_bytes),
            ..run.clone()
        })
    }
}

fn wanted(app: &App, environment: Option<&str>, compute_type: &str) -> Option<EngineSetting> {
    app.config.engines.wanted(environment, compute_type)
}

async fn owners(app: &App, users: &[Id]) -> sqlx::Result<HashMap<Id, Owner>> {
    let rows = store::users::slots_of(&app.db, users, app.config.max_runs_per_user).await?;
    Ok(rows.into_iter().map(|(id, active, slots)| (id, Owner { active, slots })).collect())
}

impl Owner {
    fn place(self, ahead: usize, own: i64, wanted: Option<EngineSetting>) -> Place {
        Place { ahead, own, active: self.active, slots: self.slots, wanted }
    }
}

impl Turn {
    /// `before` is the number of runs that its owner would have before it.
    fn of(execution: Id, start_date: Option<Time>, before: i64, slots: Option<i64>) -> Self {
        Turn { needs_slot: slots.is_some_and(|slots| before >= slots), before, start_date, execution }
    }
}
