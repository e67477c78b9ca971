//! `migrate`: brings the database up to date, or says what it would do.

use std::{process::ExitCode, time::Duration};

use secrecy::ExposeSecret;

use super::say;
use crate::{
    app::DataDir,
    config::{Config, Flags},
    server,
    store::Db,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
    /// Only say what would be done; exit 1 if something is pending
    #[arg(long)]
    check: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::from_process(&args.flags)?;
    if args.check {
        let timeout = Duration::from_secs(config.statement_timeout_s);
        let db = match &config.database_url {
            Some(url) => Db::open(url.expose_secret(), timeout, config.database_connections).await?,
            None => {
                let file = config.data_dir.join("trends-earth.db");
                anyhow::ensure!(
                    file.exists(),
                    "There is no database yet at {}; `trends-earth serve` makes one.",
                    file.display()
                );
                Db::open_sqlite(&file).await?
            }
        };
        let pending = db.pending().await?;
        for step in &pending {
            say(&format!("pending: {step}"));
        }
        if pending.is_empty() {
            say("The database is up to date.");
            return Ok(ExitCode::SUCCESS);
        }
        return Ok(ExitCode::FAILURE);
    }
    let data = DataDir::open(&config.data_dir)?;
    server::open_database(&config, &data, true).await?;
    say("The database is up to date.");
    Ok(ExitCode::SUCCESS)
}
