//! `client results`: what a run has returned.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use crate::cli::{
    api::Api,
    aside,
    client::{part, save},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the execution
    id: String,
    /// File to write to [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub async fn run(args: Args, api: &Api) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/execution/{}", part(&args.id));
    let run = api.data(&format!("{path}?exclude=params,results")).await?;
    let status = run["status"].as_str().unwrap_or_default();
    if status != "FINISHED" {
        aside(&format!("The run is {status}; what it has returned so far:"));
    }
    let answer = api.send(|| api.http.get(format!("{}{path}/download-results", api.base))).await?;
    save(answer, args.output.as_deref().unwrap_or(Path::new("-"))).await?;
    Ok(ExitCode::SUCCESS)
}
