//! What a database tells of the existing server: its revision, its runs, its log ids, and whether it still works.

use sqlx::{PgConnection, PgPool};

use super::blueprint::{Blueprint, Schema};
use crate::{execution::status::Status, store::Time};

/// Its newest revision that we know, which has everything that we need.
const NEWEST: &str = "0fa1182925f5";
/// Its oldest one: tables and columns are missing, and the end of an execution was filled in when it was made.
const SEED: &str = "115924e98eb5";

/// Which revision the database is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revision {
    /// Not one of the existing server.
    None,
    Newest,
    Seed,
    Unknown(String),
}

impl Revision {
    pub async fn read(own: &mut PgConnection) -> sqlx::Result<Self> {
        let table: bool =
            sqlx::query_scalar("SELECT to_regclass('alembic_version') IS NOT NULL").fetch_one(&mut *own).await?;
        if !table {
            return Ok(Revision::None);
        }
        let heads: Vec<String> =
            sqlx::query_scalar("SELECT version_num::text FROM alembic_version ORDER BY 1").fetch_all(own).await?;
        Ok(match heads.join("+").as_str() {
            NEWEST => Revision::Newest,
            SEED => Revision::Seed,
            "" => Revision::Unknown("none".into()),
            other => Revision::Unknown(other.into()),
        })
    }

    /// What people are told of it.
    pub fn sentence(&self) -> Option<String> {
        let known = match self {
            Revision::None => return None,
            Revision::Newest => format!("{NEWEST}, which this release knows"),
            Revision::Seed => {
                format!(
                    "{SEED}, the first one: what it lacks is added, and ends of executions that have not ended are emptied"
                )
            }
            Revision::Unknown(other) => format!("{other}, which this release does not know"),
        };
        Some(format!("This is a database of the existing Trends.Earth server, at its revision {known}."))
    }

    /// Refuses what cannot be judged. An unknown revision needs everything that we need, and somebody who accepts it by name.
    pub fn judge(&self, plan: &Blueprint, there: &Schema, accepted: Option<&str>) -> anyhow::Result<()> {
        let (name, what) = match self {
            Revision::Newest | Revision::Seed => return Ok(()),
            Revision::None => (
                "none",
                "The database has accounts, but is neither this server's nor one of the existing server".into(),
            ),
            Revision::Unknown(name) => {
                (name.as_str(), format!("This release does not know the revision {name} of the existing server"))
            }
        };
        let missing = plan.theirs.without(there);
        let mut names: Vec<String> = missing.new_tables(there).cloned().collect();
        names.extend(missing.new_columns(there).map(|(table, column, _)| format!("{table}.{column}")));
        anyhow::ensure!(
            names.is_empty(),
            "{what}, and tables or columns are missing that are needed: {}.",
            names.join(", ")
        );
        anyhow::ensure!(
            accepted == Some(name),
            "{what}. All tables and columns that are needed are there; to go on, say `trends-earth migrate --accept-revision {name}`."
        );
        Ok(())
    }
}

/// Runs of the existing server that have not ended, by state.
pub async fn open_runs(pool: &PgPool) -> sqlx::Result<Vec<(Status, i64)>> {
    let ours: bool = sqlx::query_scalar("SELECT to_regclass('execution_run') IS NOT NULL").fetch_one(pool).await?;
    let not_ours = if ours { "AND NOT EXISTS (SELECT 1 FROM execution_run r WHERE r.execution_id = e.id)" } else { "" };
    sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "SELECT status, count(*) FROM execution e
         WHERE status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING') {not_ours} GROUP BY status ORDER BY status"
    )))
    .fetch_all(pool)
    .await
}

/// How much of its integer column the ids of log lines have used, in per cent; `None` if the column holds more than that.
pub async fn used_log_ids(pool: &PgPool) -> sqlx::Result<Option<f64>> {
    let used: Option<Option<f64>> = sqlx::query_scalar(
        "SELECT CASE WHEN a.atttypid = 'integer'::regtype THEN
             COALESCE(pg_sequence_last_value(pg_get_serial_sequence('execution_log', 'id')::regclass), 0) * 100.0::float8 / 2147483647 END
         FROM pg_attribute a WHERE a.attrelid = to_regclass('execution_log') AND a.attname = 'id'",
    )
    .fetch_optional(pool)
    .await?;
    Ok(used.flatten())
}

/// Programs that are connected to this database and are neither ours nor tools of an administrator: name and address.
async fn others(pool: &PgPool) -> sqlx::Result<Vec<(String, String)>> {
    sqlx::query_as(
        "SELECT COALESCE(NULLIF(application_name, ''), usename::text), COALESCE(host(client_addr), 'this machine')
         FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename IS NOT NULL
             AND COALESCE(backend_type, 'client backend') = 'client backend'
             AND COALESCE(application_name, '') NOT IN ('psql', 'pg_dump') AND COALESCE(application_name, '') NOT LIKE 'trends-earth%'
         ORDER BY backend_start",
    )
    .fetch_all(pool)
    .await
}

/// When a run of the existing server last changed or said something, if that was after `since`.
async fn last_word(pool: &PgPool, since: Time) -> sqlx::Result<Option<Time>> {
    sqlx::query_scalar(
        r#"SELECT max(at) FROM (
               SELECT max(s."timestamp") AS at FROM status_log s WHERE s."timestamp" > $1
                   AND NOT EXISTS (SELECT 1 FROM execution_run r WHERE r.execution_id::text = s.execution_id)
               UNION ALL SELECT max(e.dispatched_at) FROM execution e WHERE e.dispatched_at > $1
                   AND NOT EXISTS (SELECT 1 FROM execution_run r WHERE r.execution_id = e.id)
               UNION ALL SELECT max(l.register_date) FROM execution e JOIN execution_log l ON l.execution_id = e.id
                   WHERE e.status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING') AND l.register_date > $1
                   AND NOT EXISTS (SELECT 1 FROM execution_run r WHERE r.execution_id = e.id)
           ) AS words"#,
    )
    .bind(since)
    .fetch_one(pool)
    .await
}

/// Why the existing server must be taken to be at work still; `None` if nothing says so. Its monitors look every two or three
/// minutes, and a run is seldom silent for as long.
pub async fn sign_of_life(pool: &PgPool, now: Time) -> sqlx::Result<Option<String>> {
    if let Some((name, address)) = others(pool).await?.first() {
        return Ok(Some(format!(
            "The existing server may still be at work: {name} is connected to the database from {address}. Stop its web server, \
             workers and beat first; its web server may start again afterwards."
        )));
    }
    let since = now - chrono::TimeDelta::minutes(5);
    Ok(last_word(pool, since).await?.map(|at| {
        let ago = (now - at).num_seconds().max(0);
        format!(
            "The existing server may still be at work: one of its runs changed or said something {ago} seconds ago. Stop its web \
             server, workers, beat and containers first; then wait until its runs have been silent for five minutes."
        )
    }))
}
