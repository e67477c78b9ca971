//! `migrate --check`: what would be done, and what the database tells of the existing server.

use std::process::ExitCode;

use super::{BEAT, open, say};
use crate::{
    config::Config,
    store::{
        Db,
        takeover::{
            self,
            blueprint::{Blueprint, Schema},
            reference::{self, Revision},
        },
    },
};

pub async fn run(config: &Config, accepted: Option<&str>) -> anyhow::Result<ExitCode> {
    let db = open(config, config.database_connections).await?;
    let pending = db.pending().await?;
    for step in &pending {
        say(&format!("pending: {step}"));
    }
    if let Db::Postgres(pool) = &db
        && !db.is_empty().await?
    {
        existing(&db, pool, !pending.is_empty(), accepted).await?;
    }
    if pending.is_empty() {
        say("The database is up to date.");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

/// What there is to say of a database that has rows.
async fn existing(db: &Db, pool: &sqlx::PgPool, pending: bool, accepted: Option<&str>) -> anyhow::Result<()> {
    let mut own = pool.acquire().await?;
    let revision = Revision::read(&mut own).await?;
    if let Some(sentence) = revision.sentence() {
        say(&sentence);
    }
    if pending {
        let (plan, there) = (Blueprint::learn(&mut own).await?, Schema::read(&mut own).await?);
        additions(&plan, &there);
        let foreign = revision != Revision::None || !db.has_table("_sqlx_migrations").await?;
        if foreign && let Err(error) = revision.judge(&plan, &there, accepted) {
            say(&format!("It would be refused. {error}"));
        }
    }
    drop(own);
    if revision == Revision::None || takeover::left(db).await?.is_some() {
        return Ok(());
    }
    let open = reference::open_runs(pool).await?;
    let all: i64 = open.iter().map(|(_, n)| n).sum();
    if all > 0 {
        let states: Vec<String> = open.iter().map(|(status, n)| format!("{status} {n}")).collect();
        say(&format!(
            "{all} of its runs have not ended ({}); they stay its own until `trends-earth migrate --adopt`.",
            states.join(", ")
        ));
    }
    if let Some(used) = reference::used_log_ids(pool).await? {
        say(&format!("Its log lines have used {used:.2} % of the numbers that their column can hold."));
    }
    say(BEAT);
    Ok(())
}

/// What would be added to the schema.
fn additions(plan: &Blueprint, there: &Schema) {
    let missing = plan.whole.without(there);
    let here = |table: &String| there.tables.contains_key(table);
    let named = |what: &str, names: Vec<String>| {
        if !names.is_empty() {
            say(&format!("would add {} {what}: {}", names.len(), names.join(", ")));
        }
    };
    named("tables", missing.new_tables(there).cloned().collect());
    named("columns", missing.new_columns(there).map(|(table, name, _)| format!("{table}.{name}")).collect());
    named("indexes to tables that are there", {
        let indexes = missing.indexes.iter().filter(|(_, index)| here(&index.table));
        indexes.map(|(name, index)| format!("{name} ({})", index.table)).collect()
    });
    named("triggers to tables that are there", {
        let triggers = missing.triggers.iter().filter(|(table, _)| here(table));
        triggers.map(|(table, name)| format!("{name} ({table})")).collect()
    });
}
