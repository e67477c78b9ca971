//! `run-local`: an author's script through the process engine, without a server.

use std::{collections::BTreeMap, path::PathBuf, process::ExitCode};

use secrecy::SecretString;

use super::{flags, package, params::Params, say};
use crate::{
    app::DataDir,
    build::{self, archive, requirements::Requirements},
    config::Config,
    engine::{Build, End, Engine, NEEDS_SOURCES, News, Room, Run, Unit, Word, process::Process},
    execution::failure::Failure,
    store::Id,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the script: configuration.json, requirements.txt, src/main.py
    folder: PathBuf,
    /// Parameters; a value that is JSON is taken as such, anything else is text
    #[arg(value_name = "KEY=VALUE")]
    params: Vec<String>,
    /// Folder in which environments and runs are kept
    #[arg(long, value_name = "DIR", default_value = "trends-earth-data/local")]
    data_dir: PathBuf,
}

/// Builds the script's environment if it is not there yet, runs it, prints what it says and its result; exit 1 if it fails.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let gz = package::pack(&package::folder(&args.folder)?)?;
    let checked = build::check(&gz)?;
    let params = Params::default().with(&args.params)?.to_string();
    let config = Config::from_process(&flags(Some(args.data_dir)))?;
    if let Some(parent) = config.data_dir.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let data = DataDir::open(&config.data_dir)?;
    let engine = Process::open(&config, &data.path, &data.node).await?;
    let script = data.path.join("versions").join(checked.package.digest.trim_start_matches("sha256:"));
    if !script.is_dir() {
        let temporary = data.path.join("versions").join(format!(".{}", Id::random()));
        archive::unpack(&gz, &temporary)?;
        std::fs::rename(&temporary, &script)?;
    }
    let id = Id::random();
    // Where only the check of main.py is left to do, a build says nothing that its failure does not.
    let quiet = Requirements::parse(&checked.package.requirements).is_ok_and(|r| r.is_empty());
    let requirements = checked.package.requirements.clone();
    let configuration = checked.configuration.clone();
    let digest = checked.package.digest.clone();
    let mut build = Build {
        version: id,
        digest,
        configuration,
        author: id,
        script: script.clone(),
        requirements,
        is_shared: false,
        sources: false,
    };
    let mut last = String::new();
    let end = loop {
        engine.build(&build).await?;
        let end = follow(&engine, Unit::Build(id), |word| {
            if let Word::Log { text, .. } = word {
                if !quiet {
                    say(&text);
                }
                last = text;
            }
        })
        .await?;
        if build.sources || end.exit.as_ref().and_then(|exit| exit.code) != Some(NEEDS_SOURCES) {
            break end;
        }
        say("A package has no wheel; its source package is built.");
        build.sources = true;
    };
    if end.exit.as_ref().and_then(|exit| exit.code) != Some(0) {
        let error = end.exit.and_then(|exit| exit.error).unwrap_or(last);
        anyhow::bail!("the script could not be built: {error}");
    }
    let environment = engine.seal(&build).await?;
    let limits = checked.configuration.limits(&build::caps(&config));
    let run = Run {
        execution: id,
        script_id: id,
        attempt: 1,
        script,
        made: environment,
        reservation: Room::of_this_machine(),
        objects_secret: SecretString::from(String::new()),
        params,
        limits: limits.clone(),
        uses_gee: checked.configuration.uses_gee,
        secrets: BTreeMap::new(),
        credential: SecretString::from(String::new()),
    };
    engine.start(&run).await?;
    let mut failed = None;
    let end = follow(&engine, Unit::Execution(id), |word| match word {
        Word::Log { level, text } => say(&format!("{level:<8} {text}")),
        Word::Progress(percent) => say(&format!("         {percent} %")),
        Word::Failed { class, message } => failed = Some((class, message)),
        Word::Phase(_) => {}
    })
    .await?;
    match (end.exit, end.result) {
        (Some(exit), Some(result)) if exit.code == Some(0) && exit.error.is_none() => {
            say(&String::from_utf8_lossy(&result));
            Ok(ExitCode::SUCCESS)
        }
        (Some(exit), _) => anyhow::bail!(Failure::of_exit(&exit, failed, &limits).message),
        (None, _) => anyhow::bail!(Failure::lost().message),
    }
}

/// Hears a unit to its end.
async fn follow(engine: &Process, unit: Unit, mut hear: impl FnMut(Word)) -> anyhow::Result<End> {
    let mut offset = 0;
    loop {
        let News { entries, offset: next, end } = tokio::select! {
            news = engine.follow(unit, offset) => news?,
            // The unit would go on without us; its end is waited for, and told.
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                engine.stop(unit).await?;
                continue;
            }
        };
        entries.into_iter().for_each(|entry| hear(entry.word));
        offset = next;
        if let Some(end) = end {
            return Ok(end);
        }
    }
}
