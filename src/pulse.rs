//! The pulse of the database: a look each second, on a connection of its own, tells whether it answers and what time it is
//! there. So `/api-health` costs no query, and a pool that has run dry is not mistaken for a database that is away.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::sync::{Notify, watch};

use crate::{
    app::App,
    store::{Db, db},
};

/// How often it is looked, and how long a look may take.
const LOOK: Duration = Duration::from_secs(1);
/// How often the clock is set by the database's.
const SET: Duration = Duration::from_secs(30);
/// How long a request waits for the next look: with what it has waited for a connection, less than a second.
const WAIT: Duration = Duration::from_millis(400);
/// A database that has not answered for so long is not waited for.
const GONE: Duration = Duration::from_secs(3);
/// A clock that was set by more than this has jumped: microseconds.
const JUMP_US: u64 = 1_000_000;

/// What the last look has shown.
#[derive(Debug)]
pub struct Pulse {
    answers: watch::Sender<bool>,
    wanted: Notify,
}

impl Default for Pulse {
    fn default() -> Self {
        Pulse { answers: watch::Sender::new(true), wanted: Notify::new() }
    }
}

impl Pulse {
    /// Whether the database answered when it was last looked.
    pub fn answers(&self) -> bool {
        *self.answers.borrow()
    }

    /// Whether it answers now: by a look that ends after this was asked, if one does in time.
    pub async fn answers_now(&self) -> bool {
        let mut looks = self.answers.subscribe();
        self.wanted.notify_one();
        // Without a new look the last one counts.
        let _ = tokio::time::timeout(WAIT, looks.changed()).await;
        *looks.borrow()
    }

    /// Waits until the database has not answered for three seconds: who waits for it then, waits for nothing.
    pub async fn gone(&self) {
        let mut looks = self.answers.subscribe();
        loop {
            // The sender lives as long as `self`.
            let _ = looks.wait_for(|answers| !answers).await;
            if tokio::time::timeout(GONE, looks.wait_for(|answers| *answers)).await.is_err() {
                return;
            }
        }
    }
}

/// Looks until the server stops.
pub async fn watch(app: App) {
    let mut line = Line { connection: None, set: Instant::now() };
    while !app.stop.is_cancelled() {
        let looked = tokio::time::timeout(LOOK, line.look(&app)).await;
        let failure = match looked {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer in {LOOK:?}")),
        };
        match (&failure, app.pulse.answers.send_replace(failure.is_none())) {
            (Some(error), true) => tracing::warn!(error, "the database is away"),
            (None, false) => tracing::info!("the database answers again"),
            _ => {}
        }
        if failure.is_some() {
            line.connection = None;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = app.pulse.wanted.notified() => {}
            () = app.stop.cancelled() => {}
        }
    }
}

/// The connection that looks go by.
struct Line {
    connection: Option<PgConnection>,
    /// When the clock was set.
    set: Instant,
}

impl Line {
    async fn look(&mut self, app: &App) -> sqlx::Result<()> {
        let Db::Postgres(pool) = &app.db else { return app.db.ping().await };
        let is_new = self.connection.is_none();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(PgConnection::connect_with(&pool.connect_options()).await?),
        };
        let sent = Instant::now();
        let time = db::time_us(connection).await?;
        if is_new || self.set.elapsed() >= SET {
            let ahead_us = app.clock.heard(time, sent);
            self.set = Instant::now();
            if ahead_us.unsigned_abs() > JUMP_US {
                tracing::warn!(ahead_us, "the database's clock has jumped, or this machine has slept");
            }
        }
        Ok(())
    }
}
