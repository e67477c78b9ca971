//! Who watches which log: one task a node looks, five times a second and only while somebody watches, whether something
//! is new, and tells the readers; each reads its lines from the table, so a slow reader costs no memory.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

use super::stream::Source;
use crate::{
    app::App,
    store::{self, Id},
};

/// How often the tables are looked at.
const TICK: Duration = Duration::from_millis(200);
/// Executions of one query.
const AT_ONCE: usize = 500;
/// Live streams of one user, and of this node.
const PER_USER: usize = 16;
const PER_NODE: usize = 2_000;

/// What a reader needs to know to read on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Glance {
    /// Id of the newest line.
    pub newest: i64,
    /// `None` if the row is gone.
    pub status: Option<String>,
    pub progress: Option<i32>,
}

#[derive(Default)]
struct State {
    watched: HashMap<Source, watch::Sender<Glance>>,
    readers: HashMap<Id, usize>,
    looking: bool,
}

/// The readers of this node.
#[derive(Default)]
pub struct Tails {
    state: Mutex<State>,
}

/// Why there is no seat for one more reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    User,
    Node,
}

/// The place of one reader; given back when it is dropped.
pub struct Seat {
    app: App,
    user: Id,
    pub glance: watch::Receiver<Glance>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.app.tails.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = state.readers.get_mut(&self.user) {
            *n -= 1;
            if *n == 0 {
                state.readers.remove(&self.user);
            }
        }
    }
}

/// Takes a seat for a reader of this source.
pub fn sit(app: &App, user: Id, source: Source, now: Glance) -> Result<Seat, Full> {
    let mut state = app.tails.state.lock().unwrap_or_else(PoisonError::into_inner);
    if state.readers.get(&user).is_some_and(|n| *n >= PER_USER) {
        return Err(Full::User);
    }
    if state.readers.values().sum::<usize>() >= PER_NODE {
        return Err(Full::Node);
    }
    *state.readers.entry(user).or_default() += 1;
    let sender = state.watched.entry(source).or_insert_with(|| watch::Sender::new(Glance::default()));
    // What readers before this one were told may be a tick old: older than an upload that this reader made and waits for.
    sender.send_replace(now);
    let glance = sender.subscribe();
    if !state.looking {
        state.looking = true;
        app.tasks.spawn(look(app.clone()));
    }
    drop(state);
    Ok(Seat { app: app.clone(), user, glance })
}

async fn look(app: App) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = app.stop.cancelled() => return,
        }
        let sources: Vec<Source> = {
            let mut state = app.tails.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.watched.retain(|_, sender| sender.receiver_count() > 0);
            if state.watched.is_empty() {
                state.looking = false;
                return;
            }
            state.watched.keys().copied().collect()
        };
        match glances(&app, &sources).await {
            Ok(new) => {
                let state = app.tails.state.lock().unwrap_or_else(PoisonError::into_inner);
                for (source, new) in new {
                    if let Some(sender) = state.watched.get(&source) {
                        sender.send_if_modified(|old| {
                            let changed = *old != new;
                            *old = new;
                            changed
                        });
                    }
                }
            }
            Err(error) => tracing::warn!(error = %error, "logs could not be watched"),
        }
    }
}

/// How these sources stand now: executions, of which there may be thousands, by few queries.
async fn glances(app: &App, sources: &[Source]) -> sqlx::Result<Vec<(Source, Glance)>> {
    let mut found = Vec::with_capacity(sources.len());
    let mut executions = Vec::new();
    for source in sources {
        match source {
            Source::Execution(id) => executions.push(*id),
            Source::Script(_) => found.push((*source, glance(app, *source).await?)),
        }
    }
    for some in executions.chunks(AT_ONCE) {
        let mut living: HashMap<Id, Glance> = HashMap::with_capacity(some.len());
        for (id, newest, status, progress) in store::executions::glances(&app.db, some).await? {
            living.insert(id, Glance { newest, status: Some(status.as_str().to_owned()), progress });
        }
        found.extend(some.iter().map(|id| (Source::Execution(*id), living.remove(id).unwrap_or_default())));
    }
    Ok(found)
}

/// How a source stands now.
pub async fn glance(app: &App, source: Source) -> sqlx::Result<Glance> {
    Ok(match source {
        Source::Execution(id) => {
            let row = store::executions::glance(&app.db, id).await?;
            Glance {
                newest: store::logs::newest(&app.db, id).await?,
                status: row.map(|(status, _)| status.as_str().to_owned()),
                progress: row.and_then(|(_, progress)| progress),
            }
        }
        Source::Script(id) => {
            let script = store::scripts::get(&app.db, id).await?;
            // The row keeps the status of the build before until the new one begins; a reader waits for the new one.
            let build = store::script_versions::newest(&app.db, id).await?;
            Glance {
                newest: store::script_logs::newest(&app.db, id).await?,
                status: script.map(|script| build.map_or(script.status, |build| build.status)),
                progress: None,
            }
        }
    })
}
