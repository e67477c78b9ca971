//! `script import`: a script under an id that clients know already, straight into the database of the settings.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use bytes::Bytes;
use clap::Subcommand;

use super::{flags, package, say, sentence};
use crate::{
    api::scripts::upload,
    app::{App, DataDir},
    auth::Caller,
    build,
    config::Config,
    server,
    store::{self, Id, users::Role},
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
    /// Import a script from its folder or archive; the server builds it
    Import {
        /// Folder of the script, or its archive (.tar.gz)
        #[arg(value_name = "DIR|ARCHIVE")]
        from: PathBuf,
        /// Id of the script [default: a new one]
        #[arg(long, value_name = "UUID")]
        id: Option<String>,
        /// Whose script it is [default: the only SUPERADMIN]
        #[arg(long, value_name = "E-MAIL")]
        owner: Option<String>,
        /// Show it to everybody
        #[arg(long)]
        public: bool,
    },
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Action::Import { from, id, owner, public } = args.action;
    let id = match &id {
        None => Id::random(),
        Some(text) => Id::parse(text).with_context(|| {
            format!("--id is {text:?}; it must be a UUID such as d022047b-0000-4000-8000-000000000001")
        })?,
    };
    let gz = archive(&from)?;
    let checked = build::check(&gz)?;
    let config = Config::from_process(&flags(args.data_dir))?;
    let data = open(&config)?;
    let db = server::open_database(&config, &data, false).await?;
    let app = App::new(config, db, &data).await?;
    let owner = find_owner(&app, owner.as_deref()).await?;
    let registered = upload::register(&app, id, owner, &Caller::default(), &checked, Bytes::from(gz)).await;
    let script = registered.map_err(|error| anyhow::Error::msg(sentence(error)))?;
    if public {
        let mut tx = app.db.begin().await?;
        store::scripts::set_public(&mut tx, script.id, true).await?;
        let act = Caller::default().did("script.published", "script", &script.id);
        store::audit::insert(&mut tx, &act, app.clock.now()).await?;
        tx.commit().await?;
    }
    say(&format!("The script {} is imported (id {}). A server on this database builds it.", script.slug, script.id));
    Ok(ExitCode::SUCCESS)
}

fn archive(from: &Path) -> anyhow::Result<Vec<u8>> {
    if from.is_dir() {
        return package::pack(&package::folder(from)?);
    }
    std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))
}

/// The data folder. On SQLite a server that works on it has to hear of the build by itself, so there must be none.
fn open(config: &Config) -> anyhow::Result<DataDir> {
    if config.is_postgres() {
        return DataDir::visit(&config.data_dir);
    }
    DataDir::open(&config.data_dir).context(
        "On SQLite a script is imported while no server runs; upload it to the running one instead (POST /api/v1/script?id=…)",
    )
}

async fn find_owner(app: &App, email: Option<&str>) -> anyhow::Result<Id> {
    let email = match email {
        Some(email) => email.to_owned(),
        None => {
            let accounts = store::users::list(&app.db).await?;
            let superadmin = Role::Superadmin.as_str();
            let mut all = accounts.into_iter().filter(|(_, _, role)| role.as_deref() == Some(superadmin));
            match (all.next(), all.next()) {
                (Some((email, ..)), None) => email,
                _ => anyhow::bail!("Say whose script it is: --owner E-MAIL"),
            }
        }
    };
    super::user::only(app, &email).await
}
