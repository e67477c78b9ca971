//! The command line: one file a command.

mod api;
pub mod boundaries;
pub mod check;
pub mod client;
pub mod copy;
pub mod demo;
mod follow;
pub mod gate;
pub mod migrate;
pub mod openapi;
pub mod package;
mod params;
pub mod run_local;
pub mod script;
pub mod serve;
pub mod user;

use std::{
    io::{BufRead, IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use secrecy::SecretString;

use crate::{config::Flags, engine::process, error::Error};

/// Trends.Earth: registers scripts, runs them, and serves status, logs and results.
#[derive(Debug, Parser)]
#[command(name = "trends-earth", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the API, with a worker beside it
    Serve(serve::Args),
    /// Work without serving the API
    Worker(serve::WorkerArgs),
    /// Do the main job from nothing: start, publish an example, run it, show its result
    Demo(demo::Args),
    /// Bring the database up to date
    Migrate(migrate::Args),
    /// Move a whole installation between SQLite and PostgreSQL
    Copy(copy::Args),
    /// Make and manage accounts
    User(user::Args),
    /// Test configuration, database, objects and sandbox: a line each
    Check(check::Args),
    /// Print the OpenAPI document
    Openapi,
    /// Run an author's script on this machine, without a server
    RunLocal(run_local::Args),
    /// Publish and run scripts on a server
    Client(client::Args),
    /// Bring scripts into the database
    Script(script::Args),
    /// Be the one way out for runs in containers
    Gate(gate::Args),
    /// Bring boundaries of countries into the database
    Boundaries(boundaries::Args),
    /// Keep one unit of the process engine
    #[command(hide = true)]
    Keep { folder: std::path::PathBuf },
}

/// The hidden commands of the process engine. They are dispatched before there is a second thread, and before anything is
/// read or parsed: a namespace can only be left by a process of one thread, and inside a sandbox there is nothing to read.
pub fn hidden() -> Option<ExitCode> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    match (words.first().and_then(|word| word.to_str()), words.get(1)) {
        (Some("keep"), Some(folder)) => Some(process::keeper::keep(Path::new(folder))),
        (Some("enter"), None) => Some(process::enter::enter()),
        (Some("enter-namespaces"), _) => Some(process::namespaces::enter(&words[1..])),
        _ => None,
    }
}

/// Runs a command; its error is one sentence.
pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Worker(args) => serve::work(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Migrate(args) => migrate::run(args).await,
        Command::Copy(args) => copy::run(args).await,
        Command::User(args) => user::run(args).await,
        Command::Check(args) => check::run(args).await,
        Command::Openapi => openapi::run(),
        Command::RunLocal(args) => run_local::run(args).await,
        Command::Client(args) => Ok(client::run(args).await),
        Command::Script(args) => script::run(args).await,
        Command::Gate(args) => gate::run(args).await,
        Command::Boundaries(args) => boundaries::run(args).await,
        Command::Keep { .. } => Ok(ExitCode::from(2)),
    }
}

/// A line for people, on standard output. What came from outside is shown with its control characters escaped. Nobody has
/// to listen: a pipe that is closed ends nothing.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", plain(text));
}

/// A line for people beside what was asked for, on standard error.
pub fn aside(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", plain(text));
}

/// A password, from a prompt or as the next line of standard input.
fn ask_password(prompt: &str) -> std::io::Result<SecretString> {
    if std::io::stdin().is_terminal() {
        return Ok(SecretString::from(rpassword::prompt_password(prompt)?));
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(SecretString::from(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Text from outside for a terminal: control characters are escaped, line feeds and tabs stay.
pub fn plain(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() && c != '\n' && c != '\t' {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

/// What an error says to people.
fn sentence(error: Error) -> String {
    match error {
        Error::Invalid { detail, .. } => detail,
        Error::Internal(error) => format!("{error:#}"),
        Error::Unavailable { detail, .. } | Error::Conflict(detail) | Error::NotFound(detail) => detail,
        other => format!("It did not work: {other:?}"),
    }
}

/// Settings of a command that has no flags of its own for them.
pub fn flags(data_dir: Option<std::path::PathBuf>) -> Flags {
    Flags { listen: None, data_dir }
}
