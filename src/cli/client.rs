//! `client`: an author's command line against any server, this one or the existing one. The exit code says how the work
//! ended: 0 well, 1 it failed, 130 it was cancelled or no longer followed, 2 it could not be done or was refused.

mod cancel;
mod download;
mod list;
mod login;
mod logout;
mod logs;
mod publish;
mod results;
mod run;
pub mod session;
mod status;

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use clap::Subcommand;
use reqwest::Response;
use serde_json::Value;

use super::{
    api::Api,
    aside,
    follow::{self, Work},
    say,
};
use crate::config::Config;

/// Something was refused, or could not be done.
const REFUSED: u8 = 2;
/// A run was cancelled, or is no longer followed.
const INTERRUPTED: u8 = 130;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Folder in which the session is kept [default: trends-earth in your folder for configurations]
    #[arg(long, value_name = "DIR", global = true)]
    config_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Sign in; the password comes from a prompt or standard input
    Login(login::Args),
    /// Sign out and forget the session
    Logout,
    /// Upload a script's folder, anew or for the first time, and follow its build
    Publish(publish::Args),
    /// Start a run; prints the id of its execution
    Run(run::Args),
    /// Show the log of a run, or of a script's build
    Logs(logs::Args),
    /// Stop a run
    Cancel(cancel::Args),
    /// Get the results of a run
    Results(results::Args),
    /// Get the archive of a script
    Download(download::Args),
    /// List the scripts that you may run
    List,
    /// Show a run, or your newest runs
    Status(status::Args),
}

/// Does what was asked; an error is one sentence.
pub async fn run(args: Args) -> ExitCode {
    match act(args).await {
        Ok(code) => code,
        Err(error) => {
            aside(&format!("trends-earth: {error:#}"));
            ExitCode::from(REFUSED)
        }
    }
}

async fn act(args: Args) -> anyhow::Result<ExitCode> {
    let folder = args.config_dir.or_else(Config::client_dir).context("Say where to keep the session: --config-dir")?;
    if let Action::Login(args) = args.action {
        return login::run(args, &folder).await;
    }
    let session = session::read(&folder)?.context("Nobody is signed in; sign in first: trends-earth client login")?;
    let api = Api::of(session.clone(), Some(folder.clone()))?;
    match args.action {
        Action::Login(_) => Ok(ExitCode::SUCCESS),
        Action::Logout => logout::run(&api, &session, &folder).await,
        Action::Publish(args) => publish::run(args, &api).await,
        Action::Run(args) => run::run(args, &api).await,
        Action::Logs(args) => logs::run(args, &api).await,
        Action::Cancel(args) => cancel::run(args, &api).await,
        Action::Results(args) => results::run(args, &api).await,
        Action::Download(args) => download::run(args, &api).await,
        Action::List => list::run(&api).await,
        Action::Status(args) => status::run(args, &api).await,
    }
}

/// Follows a run or build and tells how it ended. Ctrl-C leaves it alone and says how to go on.
async fn follow(api: &Api, work: Work<'_>, mut after: i64) -> anyhow::Result<ExitCode> {
    let end = tokio::select! {
        end = follow::watch(api, work, &mut after) => Some(end?),
        interrupted = tokio::signal::ctrl_c() => { interrupted?; None }
    };
    let Some(end) = end else {
        let (name, what) = match work {
            Work::Run(id) => (id, "The run goes on"),
            Work::Build(script) => (script, "The build goes on"),
        };
        aside(&format!("{what}. Follow it from here: trends-earth client logs {name} --follow --last-id {after}"));
        if matches!(work, Work::Run(_)) {
            aside(&format!("Stop it: trends-earth client cancel {name}"));
        }
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let status = end["status"].as_str().unwrap_or("unknown");
    let why = [&end["failure"]["message"], &end["build_error"]].into_iter().find_map(Value::as_str);
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    Ok(match status {
        "FINISHED" | "SUCCESS" => {
            aside(&format!("The {} is {status}.", noun(work)));
            ExitCode::SUCCESS
        }
        "CANCELLED" => {
            aside("The run is CANCELLED.");
            ExitCode::from(INTERRUPTED)
        }
        _ => {
            aside(&format!("The {} is {status}{why}", noun(work)));
            ExitCode::FAILURE
        }
    })
}

fn noun(work: Work<'_>) -> &'static str {
    match work {
        Work::Run(_) => "run",
        Work::Build(_) => "build",
    }
}

/// The same text as one part of a path.
fn part(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
}

/// Writes what is answered to a file, whole or not at all; `-` is standard output.
async fn save(mut answer: Response, file: &Path) -> anyhow::Result<()> {
    if file == Path::new("-") {
        let mut out = std::io::stdout();
        while let Some(bytes) = answer.chunk().await? {
            out.write_all(&bytes)?;
        }
        return Ok(out.flush()?);
    }
    let mut name = file.file_name().with_context(|| format!("{} is no file", file.display()))?.to_owned();
    name.push(".part");
    let temporary = file.with_file_name(name);
    let cannot = || format!("cannot write {}", file.display());
    let mut out = std::fs::File::create(&temporary).with_context(cannot)?;
    while let Some(bytes) = answer.chunk().await? {
        out.write_all(&bytes).with_context(cannot)?;
    }
    out.sync_all().and_then(|()| std::fs::rename(&temporary, file)).with_context(cannot)?;
    say(&format!("Written to {}", file.display()));
    Ok(())
}

/// A row of a list for people: columns of these widths.
fn row(values: &[&Value], widths: &[usize]) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let cells: Vec<String> =
        values.iter().zip(widths).map(|(value, width)| format!("{:<width$}", text(value))).collect();
    cells.join("  ").trim_end().to_owned()
}
