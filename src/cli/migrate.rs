//! `migrate`: brings the database up to date, or says what it would do; and the ways to and from a database that the existing
//! server made.

mod adopt;
mod check;
mod leave;
mod remove;

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use secrecy::ExposeSecret;

use super::say;
use crate::{
    app::DataDir,
    config::{Config, Flags},
    server,
    store::{Db, takeover},
};

/// What whoever lets the existing server go on has to know.
pub const BEAT: &str = "The `celery beat` of the existing server must be stopped: its monitors act on every run, on those of this \
                        server too. Its web server and workers may go on.";

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Only say what would be done; exit 1 if something is pending
    #[arg(long)]
    check: bool,
    /// Take over the unfinished runs of the existing server, once it is stopped
    #[arg(long, conflicts_with_all = ["leave_reference", "remove"])]
    adopt: bool,
    /// Leave the existing server for good: it need not be able to read what is written from now on
    #[arg(long, conflicts_with = "remove")]
    leave_reference: bool,
    /// Take away everything that this program added to a database of the existing server
    #[arg(long)]
    remove: bool,
    /// Go on although this revision of the existing server's database is not known
    #[arg(long, value_name = "ID")]
    accept_revision: Option<String>,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.adopt {
        return adopt::run(&args.flags, args.check).await;
    }
    let config = Config::from_process(&args.flags)?;
    if args.leave_reference {
        return leave::run(&config, args.check).await;
    }
    if args.remove {
        return remove::run(&config, args.check).await;
    }
    if args.check {
        return check::run(&config, args.accept_revision.as_deref()).await;
    }
    if config.is_postgres() {
        let db = open(&config, config.database_connections).await?;
        db.migrate(args.accept_revision.as_deref(), say).await?;
        say("The database is up to date.");
        if db.has_table("alembic_version").await? && takeover::left(&db).await?.is_none() {
            say(BEAT);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let data = DataDir::open(&config.data_dir)?;
    server::open_database(&config, &data, true).await?;
    say("The database is up to date.");
    Ok(ExitCode::SUCCESS)
}

/// The database of the settings; one that is not there yet is not made.
async fn open(config: &Config, connections: u32) -> anyhow::Result<Db> {
    if let Some(url) = &config.database_url {
        return Db::open(url.expose_secret(), Duration::from_secs(config.statement_timeout_s), connections).await;
    }
    let file = config.data_dir.join("trends-earth.db");
    anyhow::ensure!(file.exists(), "There is no database yet at {}; `trends-earth serve` makes one.", file.display());
    Db::open_sqlite(&file).await
}

/// The database, which must be one of the existing server.
async fn taken_over(config: &Config, connections: u32) -> anyhow::Result<(Db, sqlx::PgPool)> {
    const NOT_ONE: &str = "This is not a database of the existing Trends.Earth server.";
    let db = open(config, connections).await?;
    let Db::Postgres(pool) = &db else { anyhow::bail!(NOT_ONE) };
    let pool = sqlx::PgPool::clone(pool);
    db.has_table("alembic_version").await?.then_some((db, pool)).context(NOT_ONE)
}

/// Refuses a database that has not been taken over, or not by this release.
async fn must_be_up_to_date(db: &Db) -> anyhow::Result<()> {
    let pending = db.pending().await?;
    anyhow::ensure!(
        pending.is_empty(),
        "The database is not up to date; run `trends-earth migrate` first. Pending: {}",
        pending.join(", ")
    );
    Ok(())
}
