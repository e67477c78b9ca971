//! A connection to Redis that nobody waits for: while Redis is away its callers are told so at once, and do without.
//! It is connected to when it is first asked, and again beside the requests.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, aio::MultiplexedConnection};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a connection may take to come about.
const CONNECTING: Duration = Duration::from_secs(3);
/// Between two tries to connect.
const PAUSE: Duration = Duration::from_secs(2);
/// Between two lines in the log that Redis is away.
const WARNINGS: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Redis(Arc<Inner>);

struct Inner {
    client: Client,
    state: Mutex<State>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    /// Which connection it is; what an earlier one has suffered is no word about it.
    number: u64,
    tried: Option<Instant>,
    warned: Option<Instant>,
    /// Whether the log says last that it is away.
    told: bool,
}

/// Redis did not answer, or not what was asked.
#[derive(Debug, Clone, Copy)]
pub struct Away;

impl Redis {
    /// # Errors
    /// If the URL is not understood; the error does not name it, for it may hold a password.
    pub fn new(url: &SecretString, tasks: TaskTracker, stop: CancellationToken) -> anyhow::Result<Self> {
        let client = open(url.expose_secret()).ok_or_else(|| anyhow::anyhow!("the URL of Redis is not understood"))?;
        Ok(Redis(Arc::new(Inner { client, state: Mutex::default(), tasks, stop })))
    }

    /// Asks, for so long at most.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd, patience: Duration) -> Result<T, Away> {
        let asked = async {
            let mut ended = None;
            loop {
                let (number, mut connection) = match (self.connection().await, &ended) {
                    (Ok(connection), _) => connection,
                    (Err(_), Some(error)) => return Err(self.state().warn(error)),
                    (Err(away), None) => return Err(away),
                };
                match command.query_async::<T>(&mut connection).await {
                    Ok(answer) => return Ok(answer),
                    // Redis ends what has long been idle, and when it starts again; another connection may be had.
                    Err(error) if error.is_connection_dropped() => {
                        self.state().forget(number);
                        ended = Some(error);
                    }
                    Err(error) => {
                        self.rest(number, &error);
                        return Err(Away);
                    }
                }
            }
        };
        let number = self.state().number;
        tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| {
            self.rest(number, &"no answer in time");
            Err(Away)
        })
    }

    /// The connection, or a new one if it is time to try again.
    async fn connection(&self) -> Result<(u64, MultiplexedConnection), Away> {
        let connecting = {
            let mut state = self.state();
            if let Some(connection) = &state.connection {
                return Ok((state.number, connection.clone()));
            }
            if state.tried.is_some_and(|tried| tried.elapsed() < PAUSE) || self.0.stop.is_cancelled() {
                return Err(Away);
            }
            state.tried = Some(Instant::now());
            // It goes on when who asked for it has lost his patience: the next one finds it.
            self.0.tasks.spawn(self.clone().connect())
        };
        connecting.await.unwrap_or(Err(Away))
    }

    async fn connect(self) -> Result<(u64, MultiplexedConnection), Away> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTING))
            .set_response_timeout(Some(CONNECTING));
        let connecting = self.0.client.get_multiplexed_async_connection_with_config(&settings);
        let connected = tokio::select! {
            connected = tokio::time::timeout(CONNECTING, connecting) => connected,
            () = self.0.stop.cancelled() => return Err(Away),
        };
        let connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(self.state().warn(&error)),
            Err(_) => return Err(self.state().warn(&"no connection in time")),
        };
        let mut state = self.state();
        state.number += 1;
        if std::mem::take(&mut state.told) {
            tracing::info!("Redis answers again");
        }
        state.connection = Some(connection.clone());
        Ok((state.number, connection))
    }

    /// Asks no more for a while.
    fn rest(&self, number: u64, error: &dyn fmt::Display) {
        let mut state = self.state();
        if state.forget(number) {
            state.tried = Some(Instant::now());
        }
        state.warn(error);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether it was the present connection.
    fn forget(&mut self, number: u64) -> bool {
        self.number == number && self.connection.take().is_some()
    }

    fn warn(&mut self, error: &dyn fmt::Display) -> Away {
        if self.warned.is_none_or(|warned| warned.elapsed() >= WARNINGS) {
            self.warned = Some(Instant::now());
            self.told = true;
            tracing::warn!(error = %error, "Redis is away; this node does without it");
        }
        Away
    }
}

/// `None` if the URL is not one of Redis.
pub fn open(url: &str) -> Option<Client> {
    Client::open(url).ok()
}
