//! `check`: each part of the installation, a line each.

use std::{collections::HashSet, process::ExitCode, time::Duration};

use futures::TryStreamExt;
use secrecy::ExposeSecret;

use super::{migrate::BEAT, say};
use crate::{
    app::DataDir,
    config::{Config, Flags, engines::EngineSetting},
    engine::{
        Engine,
        docker::Docker,
        process::{Process, probe, sandbox_title},
        swarm::Swarm,
    },
    execution::results,
    fernet::Fernet,
    mail,
    objects::Objects,
    store::{self, Db, Id, takeover},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    flags: Flags,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::from_process(&args.flags)?;
    for sentence in &config.ignored {
        line(true, "configuration", sentence);
    }
    line(true, "configuration", "every setting is right");
    if config.rehearse {
        line(true, "rehearsal", "nothing is started, sent, called or deleted");
    }
    let data = DataDir::visit(&config.data_dir)?;
    line(true, "data folder", &data.path.display().to_string());
    let mut good = true;
    let db = open(&config, &data).await;
    let usable = match db {
        Ok(db) => {
            let up_to_date = database(&config, db.as_ref()).await;
            let usable = up_to_date.is_ok();
            good &= told("database", up_to_date);
            db.filter(|_| usable)
        }
        Err(error) => {
            good &= told("database", Err(error));
            None
        }
    };
    if let Some(db) = &usable {
        good &= told("credentials", credentials(&config, db).await);
        let is_theirs = db.has_table("alembic_version").await? && takeover::left(db).await?.is_none();
        if is_theirs && config.coexist != Some(false) {
            line(true, "existing server", BEAT);
        }
    }
    good &= told("objects", objects(&config, &data, usable.as_ref()).await);
    line(true, "earth engine", &earth_engine(&config));
    good &= told("mail", mail::open(&config, &data.path)?.check().await);
    for kind in &config.engines.here {
        good &= match kind {
            EngineSetting::Process => process(&config, &data).await,
            EngineSetting::Docker | EngineSetting::Swarm => told("engine", containers(&config, *kind).await),
        };
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the sandboxes of this machine keep.
async fn process(config: &Config, data: &DataDir) -> bool {
    let mut good = true;
    match Process::open(config, &data.path, &data.node).await {
        Err(error) => {
            line(false, "scripts", &format!("{error:#}"));
            good = false;
        }
        Ok(engine) => {
            let python = &engine.interpreter;
            let (major, minor, patch) = python.version;
            line(true, "python", &format!("{major}.{minor}.{patch} at {}", python.executable.display()));
            let sandbox = &engine.choice.sandbox;
            line(true, "sandbox", sandbox_title(sandbox));
            for check in &engine.choice.checks {
                line(check.ok, &format!("{} {}", check.promise, check.name), &check.detail);
                good &= check.ok;
            }
            for fact in probe::in_force() {
                say(&format!("      {fact}"));
            }
        }
    }
    good
}

fn line(ok: bool, name: &str, detail: &str) {
    say(&format!("{} {name}: {detail}", if ok { "ok   " } else { "FAILS" }));
}

fn told(name: &str, result: anyhow::Result<String>) -> bool {
    match result {
        Ok(detail) => line(true, name, &detail),
        Err(error) => {
            line(false, name, &format!("{error:#}"));
            return false;
        }
    }
    true
}

/// Which daemon or cluster the settings name. Nothing is made there.
async fn containers(config: &Config, kind: EngineSetting) -> anyhow::Result<String> {
    let nobody = Id::random();
    Ok(match kind {
        EngineSetting::Swarm => Swarm::open(config, nobody).await?.scope().to_owned(),
        _ => Docker::open(config, nobody).await?.scope().to_owned(),
    })
}

/// The database, if there is one already.
async fn open(config: &Config, data: &DataDir) -> anyhow::Result<Option<Db>> {
    Ok(Some(match &config.database_url {
        Some(url) => {
            let timeout = Duration::from_secs(config.statement_timeout_s);
            Db::open(url.expose_secret(), timeout, config.database_connections).await?
        }
        None => {
            let file = data.path.join("trends-earth.db");
            if !file.exists() {
                return Ok(None);
            }
            Db::open_sqlite(&file).await?
        }
    }))
}

async fn database(config: &Config, db: Option<&Db>) -> anyhow::Result<String> {
    let Some(db) = db else { return Ok("none yet; the first start makes one".into()) };
    let pending = db.pending().await?;
    anyhow::ensure!(pending.is_empty(), "not up to date: {}; run `trends-earth migrate`", pending.join(", "));
    Ok(if config.is_postgres() { "PostgreSQL, up to date".into() } else { "SQLite, up to date".into() })
}

/// Whether what people have stored for Earth Engine and openEO can be read with the key of the settings.
async fn credentials(config: &Config, db: &Db) -> anyhow::Result<String> {
    let stored = store::users::gee::encrypted(db).await?;
    let fernet = config.gee_secret.as_ref().map(Fernet::new).transpose()?;
    let reads = |column: &Option<String>| match (column, &fernet) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(column), Some(fernet)) => fernet.decrypt(column).is_some(),
    };
    let (all, read) = (stored.len(), stored.iter().filter(|(a, b, c, d)| [a, b, c, d].into_iter().all(reads)).count());
    anyhow::ensure!(
        read == all,
        "what {read} of {all} people have stored for Earth Engine and openEO can be read; set GEE_ENCRYPTION_KEY to what it was when the rest was stored, else those people have to connect again"
    );
    Ok(match all {
        0 => "nobody has stored any".into(),
        _ => format!("those of {all} people can be read"),
    })
}

/// Which account runs are lent whose owners have none, and by which client people consent. Keys that are none are settings that are
/// not right.
fn earth_engine(config: &Config) -> String {
    let account = config.google.service_account.as_ref().map_or_else(
        || "runs are lent what their owners have stored".to_owned(),
        |account| format!("runs are lent what their owners have stored, else {}", account.client_email),
    );
    match &config.google.oauth {
        Some((client, _)) => format!("{account}; people consent by client {client}"),
        None => format!("{account}; people cannot consent at Google, only store keys"),
    }
}

/// Writes, reads and removes one where archives lie and one where results lie; then counts what should be there and is not.
async fn objects(config: &Config, data: &DataDir, db: Option<&Db>) -> anyhow::Result<String> {
    let objects = Objects::open(config, &data.path)?;
    for key in ["check/probe.tar.gz", "check/probe.json"] {
        objects.put(key, bytes::Bytes::from_static(b"probe")).await?;
        let read = objects.get(key).await?;
        objects.delete(key).await?;
        anyhow::ensure!(read.as_deref() == Some(b"probe"), "what was written cannot be read");
    }
    let place = match &config.s3 {
        None => "a folder on this machine".to_owned(),
        Some(s3) if s3.scripts == s3.params => format!("S3, {}", s3.scripts),
        Some(s3) => format!("S3, {} and {}", s3.scripts, s3.params),
    };
    let Some(db) = db else { return Ok(place) };
    let mut missing: HashSet<String> = store::script_versions::all_archive_keys(db).await?.into_iter().collect();
    missing.extend(store::runs::all_results_keys(db, results::EXPIRED).await?);
    let all = missing.len();
    let mut there = objects.keys();
    while let Some(key) = there.try_next().await? {
        missing.remove(&key);
    }
    if let Some(one) = missing.iter().min() {
        anyhow::bail!("{} of {all} archives and results are not in {place} any more, {one} for example", missing.len());
    }
    Ok(format!("{place}; archives and results: {all}, none is missing"))
}
