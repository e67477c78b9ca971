//! `check`: each part of the installation, a line each.

use std::{process::ExitCode, time::Duration};

use secrecy::ExposeSecret;

use super::say;
use crate::{
    app::DataDir,
    config::{Config, Flags, containers::EngineSetting},
    engine::{
        Engine,
        docker::Docker,
        process::{self, Process, probe},
        swarm::Swarm,
    },
    mail,
    objects::Objects,
    store::{Db, Id},
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
    let data = DataDir::visit(&config.data_dir)?;
    line(true, "data folder", &data.path.display().to_string());
    let mut good = true;
    good &= told("database", database(&config, &data).await);
    good &= told("objects", objects(&data).await);
    good &= told("mail", mail::open(&config, &data.path)?.check().await);
    if config.engine != EngineSetting::Process {
        good &= told("engine", containers(&config).await);
        return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    match Process::open(&config, &data.path, &data.node).await {
        Err(error) => {
            line(false, "scripts", &format!("{error:#}"));
            good = false;
        }
        Ok(engine) => {
            let python = &engine.interpreter;
            let (major, minor, patch) = python.version;
            line(true, "python", &format!("{major}.{minor}.{patch} at {}", python.executable.display()));
            let sandbox = &engine.choice.sandbox;
            line(true, "sandbox", process::sandbox_title(sandbox));
            for check in &engine.choice.checks {
                line(check.ok, &format!("{} {}", check.promise, check.name), &check.detail);
                good &= check.ok;
            }
            for fact in probe::in_force() {
                say(&format!("      {fact}"));
            }
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
async fn containers(config: &Config) -> anyhow::Result<String> {
    let nobody = Id::random();
    Ok(match config.engine {
        EngineSetting::Swarm => Swarm::open(config, nobody).await?.scope().to_owned(),
        _ => Docker::open(config, nobody).await?.scope().to_owned(),
    })
}

async fn database(config: &Config, data: &DataDir) -> anyhow::Result<String> {
    let db = match &config.database_url {
        Some(url) => {
            let timeout = Duration::from_secs(config.statement_timeout_s);
            Db::open(url.expose_secret(), timeout, config.database_connections).await?
        }
        None => {
            let file = data.path.join("trends-earth.db");
            if !file.exists() {
                return Ok("none yet; the first start makes one".into());
            }
            Db::open_sqlite(&file).await?
        }
    };
    let pending = db.pending().await?;
    anyhow::ensure!(pending.is_empty(), "not up to date: {}; run `trends-earth migrate`", pending.join(", "));
    Ok(if config.is_postgres() { "PostgreSQL, up to date".into() } else { "SQLite, up to date".into() })
}

async fn objects(data: &DataDir) -> anyhow::Result<String> {
    let objects = Objects::local(&data.path.join("objects"))?;
    objects.put("check/probe", bytes::Bytes::from_static(b"probe")).await?;
    let read = objects.get("check/probe").await?;
    objects.delete("check/probe").await?;
    anyhow::ensure!(read.as_deref() == Some(b"probe"), "what was written cannot be read");
    Ok("a folder on this machine".into())
}
