//! `client cancel`: asks the server to stop a run.

use std::process::ExitCode;

use crate::cli::{api::Api, client::part, say};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the execution
    id: String,
}

pub async fn run(args: Args, api: &Api) -> anyhow::Result<ExitCode> {
    let answer = api.post(&format!("/api/v1/execution/{}/cancel", part(&args.id)), "{}").await?;
    say(&format!("The run is {}.", answer["execution"]["status"].as_str().unwrap_or("CANCELLING")));
    Ok(ExitCode::SUCCESS)
}
