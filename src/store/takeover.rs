//! Table `takeover`: what must be remembered of a database that the existing server made. What was added to its own tables,
//! which of its revisions were accepted by hand, and that it has been left for good. On PostgreSQL alone it ever has rows.

pub mod blueprint;
pub mod reference;
pub mod remove;
pub mod steps;

use sqlx::PgConnection;

use super::{Db, Time, db};
use crate::{reading, writing};

/// What a row says of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A table of the existing server's schema that was missing, `name`.
    Table,
    /// A column of its schema that was missing, `table.column`.
    Column,
    /// An index of its schema that was missing, `name`.
    Index,
    /// A revision that somebody accepted.
    Revision,
    /// The existing server was left for good.
    Left,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::Table => "table",
            Kind::Column => "column",
            Kind::Index => "index",
            Kind::Revision => "revision",
            Kind::Left => "left",
        }
    }
}

/// When the existing server was left for good; `None` if it may go on.
pub async fn left(db: &Db) -> sqlx::Result<Option<Time>> {
    if !db.has_table("takeover").await? {
        return Ok(None);
    }
    reading!(db, |on| sqlx::query_scalar("SELECT at FROM takeover WHERE kind = $1")
        .bind(Kind::Left.as_str())
        .fetch_optional(on)
        .await)
}

/// Leaves the existing server for good.
pub async fn leave(db: &Db, now: Time) -> sqlx::Result<()> {
    writing!(db, |on| sqlx::query(
        "INSERT INTO takeover (kind, name, at) VALUES ($1, 'reference', $2) ON CONFLICT (kind, name) DO NOTHING"
    )
    .bind(Kind::Left.as_str())
    .bind(now)
    .execute(on)
    .await
    .map(drop))
}

/// The time that it is at the database.
pub async fn now(on: impl sqlx::PgExecutor<'_>) -> sqlx::Result<Time> {
    Ok(chrono::DateTime::from_timestamp_micros(db::time_us(on).await?).unwrap_or_default().naive_utc())
}

/// Remembers something, once.
async fn remember(own: &mut PgConnection, kind: Kind, name: &str) -> sqlx::Result<()> {
    let now = now(&mut *own).await?;
    sqlx::query("INSERT INTO takeover (kind, name, at) VALUES ($1, $2, $3) ON CONFLICT (kind, name) DO NOTHING")
        .bind(kind.as_str())
        .bind(name)
        .bind(now)
        .execute(own)
        .await
        .map(drop)
}

/// The names of a kind that are remembered.
async fn remembered(own: &mut PgConnection, kind: Kind) -> sqlx::Result<Vec<String>> {
    let table: bool = sqlx::query_scalar("SELECT to_regclass('takeover') IS NOT NULL").fetch_one(&mut *own).await?;
    if !table {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT name FROM takeover WHERE kind = $1 ORDER BY name")
        .bind(kind.as_str())
        .fetch_all(own)
        .await
}

/// A name as SQL has it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
