//! Connections to PostgreSQL, of two kinds. A statement that stands alone borrows one and gives it back as it is; transactions
//! take theirs from the pool of sqlx, which asks a connection whether it lives each time it is given back: for single
//! statements that would double the round trips.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use deadpool::managed::{self, Metrics, Object, PoolError, RecycleError, RecycleResult, Timeouts};
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::lent;

/// How long a request waits for a connection.
const WAIT: Duration = Duration::from_millis(500);
/// A connection that was in use a moment ago is not asked whether it lives.
const FRESH: Duration = Duration::from_secs(1);
/// After this a connection is made anew.
const OLD: Duration = Duration::from_mins(30);

/// Both kinds; as a `PgPool` it is that of transactions.
#[derive(Clone, Debug)]
pub struct Pool {
    transactions: PgPool,
    statements: managed::Pool<Maker>,
    news: Arc<Notify>,
    /// By this word a process knows its own notices.
    own: Uuid,
}

impl Deref for Pool {
    type Target = PgPool;
    fn deref(&self) -> &PgPool {
        &self.transactions
    }
}

impl Pool {
    /// At most so many connections in all, half of them of each kind; they are made when they are needed.
    pub fn new(options: PgConnectOptions, connections: u32) -> anyhow::Result<Self> {
        let own = Uuid::new_v4();
        // By its name an operator tells the connections of one process from those of others.
        let options = options.application_name(&format!("trends-earth {}", own.simple()));
        let transactions = PgPoolOptions::new()
            .max_connections(connections.div_ceil(2))
            .acquire_timeout(WAIT)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for >= FRESH {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options.clone());
        let statements = managed::Pool::builder(Maker(options))
            .max_size(usize::try_from(connections / 2)?.max(1))
            .timeouts(Timeouts { wait: Some(WAIT), create: None, recycle: None })
            .runtime(deadpool::Runtime::Tokio1)
            .build()?;
        Ok(Pool { transactions, statements, news: Arc::default(), own })
    }

    /// Begins a transaction by this statement.
    pub async fn begin_as(&self, begin: &'static str) -> sqlx::Result<Open> {
        let transaction = self.transactions.begin_with(begin).await?;
        Ok(Open { transaction, news: self.news.clone(), is_news: false })
    }

    /// Waits until a transaction of this process that is news to other nodes has committed.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Tells all nodes that there is news. A notice that is lost is made up for by the next look of each: it waits for no disk.
    pub async fn tell(&self) -> sqlx::Result<()> {
        let text = "SELECT set_config('synchronous_commit', 'off', TRUE), pg_notify('trends_earth', $1)";
        let own = self.own.simple().to_string();
        lent!(self, |on| sqlx::query(text).bind(own).execute(on).await.map(drop))
    }

    /// Waits, on a connection of its own, for notices of other processes; `heard` is called with each.
    pub async fn listen(&self, heard: impl Fn()) -> sqlx::Result<()> {
        let own = self.own.simple().to_string();
        let mut listener = PgListener::connect_with(&self.transactions).await?;
        listener.listen("trends_earth").await?;
        loop {
            if listener.recv().await?.payload() != own {
                heard();
            }
        }
    }

    /// A connection for one statement.
    pub async fn lend(&self) -> sqlx::Result<Lent> {
        let object = self.statements.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            PoolError::Closed => sqlx::Error::PoolClosed,
            _ => sqlx::Error::PoolTimedOut,
        })?;
        Ok(Lent { object: Some(object), is_whole: false })
    }

    pub async fn close(&self) {
        self.statements.close();
        self.transactions.close().await;
    }
}

/// A transaction.
pub struct Open {
    transaction: Transaction<'static, Postgres>,
    news: Arc<Notify>,
    is_news: bool,
}

impl Open {
    /// What this transaction writes is news to other nodes.
    pub fn announce(&mut self) {
        self.is_news = true;
    }

    pub async fn commit(self) -> sqlx::Result<()> {
        self.transaction.commit().await?;
        if self.is_news {
            self.news.notify_one();
        }
        Ok(())
    }
}

impl Deref for Open {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        &self.transaction
    }
}

impl DerefMut for Open {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }
}

/// A connection that is lent. It is given back only if the statement's answer was read to its end; else it is closed, so that
/// nobody waits for what a client has left behind.
pub struct Lent {
    object: Option<Object<Maker>>,
    is_whole: bool,
}

impl Lent {
    pub fn connection(&mut self) -> sqlx::Result<&mut PgConnection> {
        self.object.as_deref_mut().ok_or(sqlx::Error::PoolClosed)
    }

    /// The statement has been answered; a connection that has broken on it is not used again.
    pub fn answered<T>(&mut self, answer: &sqlx::Result<T>) {
        self.is_whole = matches!(
            answer,
            Ok(_) | Err(sqlx::Error::Database(_) | sqlx::Error::RowNotFound | sqlx::Error::ColumnDecode { .. })
        );
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_whole
            && let Some(object) = self.object.take()
        {
            drop(Object::take(object));
        }
    }
}

/// Makes connections.
struct Maker(PgConnectOptions);

impl fmt::Debug for Maker {
    /// The options hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Maker")
    }
}

impl managed::Manager for Maker {
    type Type = PgConnection;
    type Error = sqlx::Error;

    async fn create(&self) -> sqlx::Result<PgConnection> {
        self.0.connect().await
    }

    async fn recycle(&self, connection: &mut PgConnection, metrics: &Metrics) -> RecycleResult<sqlx::Error> {
        if metrics.age() >= OLD {
            return Err(RecycleError::message("the connection is old"));
        }
        if metrics.last_used() >= FRESH {
            connection.ping().await.map_err(RecycleError::Backend)?;
        }
        Ok(())
    }
}
