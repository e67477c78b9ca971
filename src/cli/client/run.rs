//! `client run`: starts a run, and follows it if asked to.

use std::{io::Read, path::PathBuf, process::ExitCode};

use anyhow::Context;

use crate::cli::{
    api::Api,
    aside,
    client::{follow, part},
    follow::Work,
    params::Params,
    say,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Slug or id of the script
    script: String,
    /// Parameters; a value that is JSON is taken as such, anything else is text
    #[arg(value_name = "KEY=VALUE")]
    params: Vec<String>,
    /// JSON file with parameters, - for standard input; what KEY=VALUE says stands over it
    #[arg(long = "params", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Show log and progress until the run ends
    #[arg(long)]
    follow: bool,
}

pub async fn run(args: Args, api: &Api) -> anyhow::Result<ExitCode> {
    let given = match args.file {
        None => Params::default(),
        Some(file) => {
            let mut text = String::new();
            if file.as_os_str() == "-" {
                std::io::stdin().read_to_string(&mut text)?;
            } else {
                text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            }
            Params::parse(&text)?
        }
    };
    let params = given.with(&args.params)?.to_string();
    let run = api.post(&format!("/api/v1/script/{}/run", part(&args.script)), &params).await?;
    let id = run["id"].as_str().context("the server does not name the execution")?;
    say(id);
    if args.follow {
        return follow(api, Work::Run(id), 0).await;
    }
    aside(&format!(
        "The run is {}. Follow it: trends-earth client logs {id} --follow",
        run["status"].as_str().unwrap_or("there")
    ));
    Ok(ExitCode::SUCCESS)
}
