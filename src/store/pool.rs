//! Connections to PostgreSQL, of two kinds. A statement that stands alone borrows one and gives it back as it is; transactions
//! take theirs from the pool of sqlx, which asks a connection whether it lives each time it is given back: for single
//! statements that would double the round trips.

use std::{fmt, ops::Deref, time::Duration};

use deadpool::managed::{self, Metrics, Object, PoolError, RecycleError, RecycleResult, Timeouts};
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

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
        Ok(Pool { transactions, statements })
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
