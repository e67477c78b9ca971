//! One handle for SQLite and PostgreSQL, and every difference between the two, by name.
//! SQL is written once with `$1` placeholders; `reading!`, `writing!` and `within!` run it on whichever is open.

use std::{fmt, path::Path, str::FromStr, time::Duration};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{
    ConnectOptions, Decode, Encode, Postgres, Sqlite, Transaction, Type,
    postgres::PgConnectOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous},
};

use super::pool::{Open, Pool};
use super::takeover::{
    blueprint,
    steps::{self, Tell},
};

/// A point in time, naive UTC with microseconds, as columns and wire have it.
pub type Time = chrono::NaiveDateTime;

/// A JSON document as it was written: digits and key order are kept.
pub type Json = sqlx::types::Json<Box<RawValue>>;

/// An open database. SQLite has one writer connection beside its readers, so writers queue here and never meet `SQLITE_BUSY`.
#[derive(Clone, Debug)]
pub enum Db {
    Sqlite { read: SqlitePool, write: SqlitePool },
    Postgres(Pool),
}

/// How PostgreSQL locks a row that is changed, but for its key: rows that name it may be inserted meanwhile.
const LOCK: &str = "FOR NO KEY UPDATE";

/// What `Db::floor` cuts times to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Day,
    Hour,
    QuarterHour,
}

/// A transaction that writes. On SQLite it begins IMMEDIATE: a read that turns into a write would fail at once.
pub enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Open),
}

/// Runs a query outside a transaction, on a connection that only reads.
#[macro_export]
macro_rules! reading {
    ($db:expr, |$on:ident| $query:expr) => {
        match $db {
            $crate::store::Db::Sqlite { read: $on, .. } => $query,
            $crate::store::Db::Postgres(pool) => $crate::lent!(pool, |$on| $query),
        }
    };
}

/// Runs one statement that writes, as a transaction of its own.
#[macro_export]
macro_rules! writing {
    ($db:expr, |$on:ident| $query:expr) => {
        match $db {
            $crate::store::Db::Sqlite { write: $on, .. } => $query,
            $crate::store::Db::Postgres(pool) => $crate::lent!(pool, |$on| $query),
        }
    };
}

/// Runs one statement on a connection that is lent for it. What waits for it is large, so it is boxed.
#[macro_export]
macro_rules! lent {
    ($pool:expr, |$on:ident| $query:expr) => {
        Box::pin(async {
            let mut lent = $pool.lend().await?;
            let $on = lent.connection()?;
            let answer = $query;
            lent.answered(&answer);
            answer
        })
        .await
    };
}

/// Runs a query inside a transaction.
#[macro_export]
macro_rules! within {
    ($tx:expr, |$on:ident| $query:expr) => {
        match $tx {
            $crate::store::Tx::Sqlite(tx) => {
                let $on = &mut **tx;
                $query
            }
            $crate::store::Tx::Postgres(tx) => {
                let $on = &mut **tx;
                $query
            }
        }
    };
}

impl Db {
    /// Opens the database that the URL names: `sqlite://path`, `postgresql://…`.
    /// Statement time-out and number of connections count for PostgreSQL; SQLite waits at most 10 s for its lock.
    pub async fn open(url: &str, statement_timeout: Duration, connections: u32) -> anyhow::Result<Self> {
        if url.starts_with("postgres") {
            // The reference may name its driver in the scheme, `postgresql+psycopg2://`; the rest of the URL is the same.
            let rest = url.split_once("://").map_or("", |(_, rest)| rest);
            let options = PgConnectOptions::from_str(&format!("postgresql://{rest}"))
                .context("the URL of the database is not one of PostgreSQL")?
                .options([("TimeZone", "UTC"), ("statement_timeout", &statement_timeout.as_millis().to_string())])
                .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(1));
            let db = Db::Postgres(Pool::new(options, connections)?);
            db.ping().await.context("the database does not answer")?;
            return Ok(db);
        }
        let path = url
            .strip_prefix("sqlite://")
            .context("the URL of the database must begin with postgresql:// or sqlite://")?;
        Self::open_sqlite(Path::new(path)).await
    }

    /// Opens or creates a SQLite file.
    pub async fn open_sqlite(path: &Path) -> anyhow::Result<Self> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10))
            .log_slow_statements(tracing::log::LevelFilter::Warn, Duration::from_secs(1));
        let write = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options.clone())
            .await
            .with_context(|| format!("cannot open the database {}", path.display()))?;
        let read = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options.read_only(true))
            .await?;
        Ok(Db::Sqlite { read, write })
    }

    /// An expression by which text is sorted: letters in any case together, then by their bytes, the same in both databases.
    pub fn text_order(&self, column: &str) -> String {
        match self {
            Db::Sqlite { .. } => format!("{column} COLLATE NOCASE"),
            Db::Postgres(_) => format!("lower({column}) COLLATE \"C\""),
        }
    }

    /// An expression by which text is compared byte by byte.
    pub fn bytewise(&self, column: &str) -> String {
        match self {
            Db::Sqlite { .. } => column.to_owned(),
            Db::Postgres(_) => format!("{column} COLLATE \"C\""),
        }
    }

    /// An expression of how long it is between two times, for sorting.
    pub fn between(&self, from: &str, to: &str) -> String {
        match self {
            Db::Sqlite { .. } => format!("(julianday({to}) - julianday({from}))"),
            Db::Postgres(_) => format!("({to} - {from})"),
        }
    }

    /// An expression of the seconds between two times.
    pub fn seconds(&self, from: &str, to: &str) -> String {
        match self {
            Db::Sqlite { .. } => format!("({} * 86400.0)", self.between(from, to)),
            Db::Postgres(_) => format!("CAST(EXTRACT(EPOCH FROM {}) AS DOUBLE PRECISION)", self.between(from, to)),
        }
    }

    /// An expression of a time without what is smaller than the unit.
    pub fn floor(&self, column: &str, unit: Unit) -> String {
        match (self, unit) {
            (Db::Sqlite { .. }, Unit::Day) => format!("(substr({column}, 1, 10) || ' 00:00:00')"),
            (Db::Sqlite { .. }, Unit::Hour) => format!("(substr({column}, 1, 13) || ':00:00')"),
            (Db::Sqlite { .. }, Unit::QuarterHour) => {
                format!(
                    "(substr({column}, 1, 14) || substr('00153045', substr({column}, 15, 2) / 15 * 2 + 1, 2) || ':00')"
                )
            }
            (Db::Postgres(_), Unit::Day) => format!("date_trunc('day', {column})"),
            (Db::Postgres(_), Unit::Hour) => format!("date_trunc('hour', {column})"),
            (Db::Postgres(_), Unit::QuarterHour) => format!(
                "(date_trunc('hour', {column}) + interval '15 minutes' * floor(extract(minute FROM {column}) / 15))"
            ),
        }
    }

    /// The operator of patterns in any case.
    pub fn like(&self) -> &'static str {
        match self {
            Db::Sqlite { .. } => "LIKE",
            Db::Postgres(_) => "ILIKE",
        }
    }

    /// Begins a transaction that may write.
    pub async fn begin(&self) -> sqlx::Result<Tx> {
        Ok(match self {
            Db::Sqlite { write, .. } => Tx::Sqlite(write.begin_with("BEGIN IMMEDIATE").await?),
            Db::Postgres(pool) => Tx::Postgres(pool.begin_as("BEGIN").await?),
        })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> sqlx::Result<()> {
        reading!(self, |on| sqlx::query("SELECT 1").execute(on).await.map(drop))
    }

    /// Whether there is no table of accounts yet: neither a server of ours nor the existing one has used this database.
    pub async fn is_empty(&self) -> sqlx::Result<bool> {
        Ok(!self.has_table("user").await?)
    }

    /// Whether there is a table of this name.
    pub async fn has_table(&self, name: &str) -> sqlx::Result<bool> {
        let table: Option<i64> = match self {
            Db::Sqlite { read, .. } => {
                sqlx::query_scalar("SELECT 1 FROM sqlite_master WHERE name = $1")
                    .bind(name)
                    .fetch_optional(read)
                    .await?
            }
            Db::Postgres(pool) => {
                sqlx::query_scalar("SELECT 1::bigint WHERE to_regclass(quote_ident($1)) IS NOT NULL")
                    .bind(name)
                    .fetch_optional(&**pool)
                    .await?
            }
        };
        Ok(table.is_some())
    }

    /// Brings the schema up to date; safe when several nodes start at once. `accepted` is a revision of the existing server that
    /// somebody accepts although it is not known.
    pub async fn migrate(&self, accepted: Option<&str>, tell: Tell) -> anyhow::Result<()> {
        match self {
            Db::Sqlite { write, .. } => Ok(sqlx::migrate!("migrations/sqlite").run(write).await?),
            Db::Postgres(pool) => steps::run(self, pool, accepted, tell).await,
        }
    }

    /// The migrations that are still to be applied, by name; an error if the schema is newer than this program.
    pub async fn pending(&self) -> anyhow::Result<Vec<String>> {
        let migrator = match self {
            Db::Sqlite { .. } => sqlx::migrate!("migrations/sqlite"),
            Db::Postgres(_) => blueprint::migrations(),
        };
        let table: Option<i64> = match self {
            Db::Sqlite { read, .. } => {
                sqlx::query_scalar("SELECT 1 FROM sqlite_master WHERE name = '_sqlx_migrations'")
                    .fetch_optional(read)
                    .await?
            }
            Db::Postgres(pool) => {
                sqlx::query_scalar("SELECT 1::bigint WHERE to_regclass('_sqlx_migrations') IS NOT NULL")
                    .fetch_optional(&**pool)
                    .await?
            }
        };
        let applied: Vec<i64> = match table {
            None => Vec::new(),
            Some(_) => reading!(self, |on| sqlx::query_scalar(
                "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version"
            )
            .fetch_all(on)
            .await)?,
        };
        let known: Vec<i64> = migrator.iter().map(|m| m.version).collect();
        if let Some(newer) = applied.iter().find(|v| !known.contains(v)) {
            anyhow::bail!(
                "The database has been brought to step {newer} by a newer release; this is {} and knows steps up to {}. Start that release or a newer one.",
                env!("CARGO_PKG_VERSION"),
                known.iter().max().unwrap_or(&0)
            );
        }
        Ok(migrator
            .iter()
            .filter(|m| !applied.contains(&m.version))
            .map(|m| format!("{:04} {}", m.version, m.description))
            .collect())
    }

    /// `FOR UPDATE SKIP LOCKED` where rows can be locked; SQLite's one writer needs none.
    pub fn skip_locked(&self) -> &'static str {
        match self {
            Db::Sqlite { .. } => "",
            Db::Postgres(_) => "FOR UPDATE SKIP LOCKED",
        }
    }

    /// `FOR UPDATE` where rows can be locked, for a statement that is a transaction of its own.
    pub fn for_update(&self) -> &'static str {
        match self {
            Db::Sqlite { .. } => "",
            Db::Postgres(_) => LOCK,
        }
    }

    pub async fn close(&self) {
        match self {
            Db::Sqlite { read, write } => {
                read.close().await;
                write.close().await;
            }
            Db::Postgres(pool) => pool.close().await,
        }
    }
}

impl Tx {
    pub async fn commit(self) -> sqlx::Result<()> {
        match self {
            Tx::Sqlite(tx) => tx.commit().await,
            Tx::Postgres(tx) => tx.commit().await,
        }
    }

    /// `FOR UPDATE` where rows can be locked.
    pub fn for_update(&self) -> &'static str {
        match self {
            Tx::Sqlite(_) => "",
            Tx::Postgres(_) => LOCK,
        }
    }

    /// The same for the rows of one table of a join.
    pub fn for_update_of(&self, table: &str) -> String {
        match self {
            Tx::Sqlite(_) => String::new(),
            Tx::Postgres(_) => format!("{LOCK} OF {table}"),
        }
    }

    /// Wakes the workers of all nodes soon after this transaction has committed: one notice for all that commit meanwhile. The
    /// notice is no part of the transaction: with one in them, only one transaction of the whole database commits at a time.
    pub fn notify(&mut self) {
        if let Tx::Postgres(tx) = self {
            tx.announce();
        }
    }
}

/// The id of a row: a UUID, `uuid` in PostgreSQL and readable text in SQLite.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
pub struct Id(pub uuid::Uuid);

impl Id {
    /// For the reference's tables: random.
    pub fn random() -> Self {
        Id(uuid::Uuid::new_v4())
    }

    /// For our own tables: ordered by time, so that new rows lie together.
    pub fn ordered() -> Self {
        Id(uuid::Uuid::now_v7())
    }

    /// Any form that a lenient parser takes: dashes optional, upper case, braces; not a URN (contract/auth-users.md 1.3).
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with("urn:") {
            return None;
        }
        uuid::Uuid::try_parse(text).ok().map(Id)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Type<Postgres> for Id {
    fn type_info() -> sqlx::postgres::PgTypeInfo {
        <uuid::Uuid as Type<Postgres>>::type_info()
    }
}

impl Type<Sqlite> for Id {
    fn type_info() -> sqlx::sqlite::SqliteTypeInfo {
        <String as Type<Sqlite>>::type_info()
    }
    fn compatible(ty: &sqlx::sqlite::SqliteTypeInfo) -> bool {
        <String as Type<Sqlite>>::compatible(ty)
    }
}

impl Encode<'_, Postgres> for Id {
    fn encode_by_ref(
        &self,
        buf: &mut sqlx::postgres::PgArgumentBuffer,
    ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
        <uuid::Uuid as Encode<'_, Postgres>>::encode_by_ref(&self.0, buf)
    }
}

impl Encode<'_, Sqlite> for Id {
    fn encode_by_ref(
        &self,
        buf: &mut sqlx::sqlite::SqliteArgumentsBuffer,
    ) -> Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
        <String as Encode<'_, Sqlite>>::encode(self.to_string(), buf)
    }
}

impl<'r> Decode<'r, Postgres> for Id {
    fn decode(value: sqlx::postgres::PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
        <uuid::Uuid as Decode<'_, Postgres>>::decode(value).map(Id)
    }
}

impl<'r> Decode<'r, Sqlite> for Id {
    fn decode(value: sqlx::sqlite::SqliteValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
        Ok(Id(uuid::Uuid::try_parse(<&str as Decode<'_, Sqlite>>::decode(value)?)?))
    }
}

/// The time that it is at a PostgreSQL, whatever its time zone: microseconds since 1970.
pub async fn time_us(on: impl sqlx::PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)").fetch_one(on).await
}

/// Says which unique key a failed insert ran into, so that it becomes a client's error where it happens.
/// PostgreSQL names the constraint, SQLite only the columns.
pub fn is_unique_violation(error: &sqlx::Error, table: &str, column: &str) -> bool {
    let Some(db) = error.as_database_error() else { return false };
    if !db.is_unique_violation() {
        return false;
    }
    match db.constraint() {
        Some(name) => name.contains(table) && name.contains(column),
        None => db.message().contains(&format!("{table}.{column}")),
    }
}
