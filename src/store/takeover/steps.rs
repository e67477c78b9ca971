//! How a PostgreSQL database is brought up to date while others work on it. One connection does it at a time; what needs a
//! strong lock asks for it briefly and again, and indexes of large tables are made concurrently, before the migrations that
//! would make them.

use std::time::{Duration, Instant};

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use super::{
    Kind,
    blueprint::{Blueprint, Column, REFERENCE, Schema, migrations},
    quoted,
    reference::Revision,
    remember, remembered,
};
use crate::store::Db;

/// Who is told what goes on.
pub type Tell = fn(&str);

/// The lock of whoever changes the schema.
const LOCK: i64 = 0x7465_6d69_6772_6174;

/// How long a statement waits for a lock. Whoever comes after it waits as long, at the five tables that a migration locks, and
/// for what is then done: less than a second in all.
const BRIEFLY: &str = "100ms";
/// How long the others have the tables for themselves before it is tried again.
const PAUSE: Duration = Duration::from_millis(400);
/// After how long without a lock it is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// Brings the database up to date. Any number of nodes may begin at once: all but one wait, and find nothing to do.
pub async fn run(db: &Db, pool: &PgPool, accepted: Option<&str>, tell: Tell) -> anyhow::Result<()> {
    let mut own = alone(pool, tell).await?;
    let done = bring_up_to_date(db, &mut own, accepted, tell).await;
    own.close().await?;
    done
}

/// A connection of its own that holds the lock, until it is closed.
pub async fn alone(pool: &PgPool, tell: Tell) -> anyhow::Result<PgConnection> {
    let mut own = pool.acquire().await?.detach();
    // An index of a large table takes longer than a request may; and if this program is killed, the server must notice.
    sqlx::query("SET statement_timeout = 0").execute(&mut own).await?;
    sqlx::query(
        "SELECT set_config(name, '2s', false) FROM pg_settings WHERE name = 'client_connection_check_interval'",
    )
    .execute(&mut own)
    .await?;
    let mut told = false;
    // Asked again and again: who waits within one statement holds a snapshot, and an index that is made concurrently waits for that.
    while !sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LOCK).fetch_one(&mut own).await? {
        if !told {
            tell("Another process is changing this database; waiting for it.");
            told = true;
        }
        tokio::time::sleep(PAUSE / 2).await;
    }
    Ok(own)
}

async fn bring_up_to_date(db: &Db, own: &mut PgConnection, accepted: Option<&str>, tell: Tell) -> anyhow::Result<()> {
    let pending = db.pending().await?;
    if pending.is_empty() {
        return Ok(());
    }
    if !db.is_empty().await? {
        let first = pending[0].starts_with(&format!("{REFERENCE:04} "));
        prepare(own, first, accepted, tell).await?;
    }
    patiently(own, async |own| Ok(migrations().run(own).await?)).await
}

/// Does whatever would take long or lock much if a migration did it: columns and indexes of tables that are there.
async fn prepare(own: &mut PgConnection, first: bool, accepted: Option<&str>, tell: Tell) -> anyhow::Result<()> {
    let plan = Blueprint::learn(own).await?;
    let there = Schema::read(own).await?;
    let revision = Revision::read(own).await?;
    if first || revision != Revision::None {
        accept(own, &revision, &plan, &there, accepted, tell).await?;
    }
    if first {
        mend(own, &plan, &there, tell).await?;
    }
    let there = Schema::read(own).await?;
    for (table, name, column) in plan.whole.without(&there).new_columns(&plan.theirs) {
        if there.tables.contains_key(table) {
            add_column(own, table, name, column).await?;
        }
    }
    make_indexes(own, &plan, &there, tell).await?;
    if revision == Revision::Seed {
        empty_ends(own, tell).await?;
    }
    if first {
        migrations().skip(&mut *own, Some(REFERENCE)).await?;
    }
    Ok(())
}

/// Judges the revision; one that was accepted by hand is remembered.
async fn accept(
    own: &mut PgConnection,
    revision: &Revision,
    plan: &Blueprint,
    there: &Schema,
    accepted: Option<&str>,
    tell: Tell,
) -> anyhow::Result<()> {
    let before = remembered(own, Kind::Revision).await?;
    let known =
        before.iter().map(String::as_str).find(|name| matches!(revision, Revision::Unknown(seen) if seen == name));
    revision.judge(plan, there, accepted.or(known))?;
    if let Some(sentence) = revision.sentence() {
        tell(&sentence);
    }
    make_table(own).await?;
    if let Revision::Unknown(name) = revision {
        tell("Everything that is needed is there; the revision is accepted.");
        remember(own, Kind::Revision, name).await?;
    }
    Ok(())
}

/// Makes the table `takeover`, as its migration does.
async fn make_table(own: &mut PgConnection) -> anyhow::Result<()> {
    let all = migrations();
    let step = all.iter().find(|step| step.description == "takeover").context("there is no migration for takeover")?;
    let table = step.sql.as_str().split(";\n").next().unwrap_or_default().to_owned();
    patiently(own, async |own| Ok(sqlx::raw_sql(AssertSqlSafe(table.clone())).execute(own).await.map(drop)?)).await
}

/// Adds what an older revision of the existing server lacks, and remembers it first, so that it can be taken away again.
async fn mend(own: &mut PgConnection, plan: &Blueprint, there: &Schema, tell: Tell) -> anyhow::Result<()> {
    let missing = plan.theirs.without(there);
    for (table, name, column) in missing.new_columns(there) {
        remember(own, Kind::Column, &format!("{table}.{name}")).await?;
        tell(&format!("adding the column {table}.{name}"));
        add_column(own, table, name, column).await?;
    }
    let all = migrations();
    let text = all.iter().find(|step| step.version == REFERENCE).map(|step| step.sql.as_str()).unwrap_or_default();
    for statement in text.split(";\n") {
        let Some((_, after)) = statement.split_once("CREATE TABLE IF NOT EXISTS ") else { continue };
        let name = after.split_whitespace().next().unwrap_or_default().trim_matches('"');
        if missing.new_tables(there).any(|table| table == name) {
            remember(own, Kind::Table, name).await?;
            tell(&format!("adding the table {name}"));
            let statement = statement.to_owned();
            patiently(own, async |own| {
                Ok(sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(own).await.map(drop)?)
            })
            .await?;
        }
    }
    for (name, index) in &missing.indexes {
        if there.tables.contains_key(&index.table) && !there.indexes.contains_key(name) {
            remember(own, Kind::Index, name).await?;
        }
    }
    Ok(())
}

/// Adds a column. Rows that are there already, and rows of a server that does not know the column, get its default.
async fn add_column(own: &mut PgConnection, table: &str, name: &str, column: &Column) -> anyhow::Result<()> {
    let default = match (&column.default, column.not_null, column.kind.as_str()) {
        (Some(default), ..) => Some(default.as_str()),
        (None, true, "boolean") => Some("false"),
        _ => None,
    };
    let mut text = format!("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {} {}", quoted(table), quoted(name), column.kind);
    if let Some(default) = default {
        text.push_str(&format!(" DEFAULT {default}"));
        if column.not_null {
            text.push_str(" NOT NULL");
        }
    }
    patiently(own, async |own| Ok(sqlx::raw_sql(AssertSqlSafe(text.clone())).execute(own).await.map(drop)?)).await
}

/// Makes the indexes of the existing server's tables, those that an interrupted build has left too. Nobody waits for it; it
/// waits for the transactions that are open.
async fn make_indexes(own: &mut PgConnection, plan: &Blueprint, there: &Schema, tell: Tell) -> anyhow::Result<()> {
    let added = remembered(own, Kind::Index).await?;
    let ours = plan.ours();
    for (name, index) in plan.whole.without(there).indexes {
        let begun = there.indexes.contains_key(&name);
        let known = ours.indexes.contains_key(&name) || added.contains(&name);
        if !plan.theirs.tables.contains_key(&index.table)
            || !there.tables.contains_key(&index.table)
            || (begun && !known)
        {
            continue;
        }
        tell(&format!("making the index {name} of {}", index.table));
        let make = index.definition.replacen("INDEX ", "INDEX CONCURRENTLY ", 1);
        patiently(own, async |own| {
            sqlx::query("SET lock_timeout = 0").execute(&mut *own).await?;
            let drop_it = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", quoted(&name));
            sqlx::raw_sql(AssertSqlSafe(drop_it)).execute(&mut *own).await?;
            sqlx::raw_sql(AssertSqlSafe(make.clone())).execute(&mut *own).await?;
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// The first revision filled in the end of an execution when it was made: whoever has not ended has none.
async fn empty_ends(own: &mut PgConnection, tell: Tell) -> anyhow::Result<()> {
    let mut emptied = 0;
    loop {
        let some = patiently(own, async |own| {
            let done = sqlx::query(
                "UPDATE execution SET end_date = NULL WHERE id IN (SELECT id FROM execution
                     WHERE status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING') AND end_date IS NOT NULL LIMIT 1000)",
            )
            .execute(own)
            .await?;
            Ok(done.rows_affected())
        })
        .await?;
        emptied += some;
        if some == 0 {
            tell(&format!(
                "{emptied} executions that have not ended have lost the end that was filled in when they were made"
            ));
            return Ok(());
        }
    }
}

/// Does something that needs a lock, and again while others hold it. Nobody waits long behind it.
pub async fn patiently<T>(
    own: &mut PgConnection,
    mut act: impl AsyncFnMut(&mut PgConnection) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        sqlx::query(AssertSqlSafe(format!("SET lock_timeout = '{BRIEFLY}'"))).execute(&mut *own).await?;
        match act(own).await {
            Err(error) if is_in_the_way(&error) && begun.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
            Err(error) if is_in_the_way(&error) => {
                return Err(error.context(
                    "Others have held the tables for ten minutes without a pause; end their long transactions and run this again. \
                     What was done stays done",
                ));
            }
            done => return done,
        }
    }
}

/// Whether a lock was not to be had, or two waited for each other.
fn is_in_the_way(error: &anyhow::Error) -> bool {
    let codes = error.chain().filter_map(|cause| cause.downcast_ref::<sqlx::Error>());
    codes.filter_map(|error| error.as_database_error()?.code()).any(|code| code == "55P03" || code == "40P01")
}
