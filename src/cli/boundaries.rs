//! `boundaries import` and `boundaries refresh`: countries and their parts, from a list in a file or from geoBoundaries.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Subcommand;

use super::{flags, say};
use crate::{
    app::{App, DataDir},
    boundaries::{self, list, refresh},
    config::Config,
    server,
    store::boundaries::RELEASES,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Folder for everything that is kept on this machine
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Import a list as GET /api/v1/data/boundaries/list answers it, gzipped or not
    Import { file: PathBuf },
    /// Ask geoBoundaries, at the address of TE_GEOBOUNDARIES_URL, for what is new
    Refresh {
        /// Only this release [default: all three]
        #[arg(long, value_parser = RELEASES)]
        release: Option<String>,
        /// Only this country
        #[arg(long, value_name = "ISO")]
        country: Option<String>,
    },
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::from_process(&flags(args.data_dir))?;
    let data = DataDir::visit(&config.data_dir)?;
    let db = server::open_database(&config, &data, false).await?;
    let app = App::new(config, db, &data).await?;
    match args.action {
        Action::Import { file } => {
            let bytes = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            let countries = list::read(&bytes)?;
            let mut changed = 0;
            for (release, country) in &countries {
                changed += usize::from(boundaries::store(&app, release, country, None).await?);
            }
            say(&format!("{} countries are imported; {changed} of them are new or were changed.", countries.len()));
            Ok(ExitCode::SUCCESS)
        }
        Action::Refresh { release, country } => {
            let mut failed = 0;
            let asked = |known: &&str| release.as_deref().is_none_or(|release| release == *known);
            for release in RELEASES.into_iter().filter(asked) {
                let outcome = refresh::refresh(&app, release, country.as_deref(), None).await?;
                failed += outcome.failed;
                say(&format!(
                    "{release}: {} countries; {} new or changed, {} withdrawn, {} could not be fetched.",
                    outcome.countries, outcome.changed, outcome.withdrawn, outcome.failed
                ));
            }
            Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}
