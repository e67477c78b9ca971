//! `client status`: how a run stands, or the newest runs of the account.

use std::process::ExitCode;

use serde_json::Value;

use crate::cli::{
    api::Api,
    client::{part, row},
    say,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of the execution [default: your ten newest ones]
    id: Option<String>,
}

pub async fn run(args: Args, api: &Api) -> anyhow::Result<ExitCode> {
    const SHOWN: &str = "exclude=params,results&include=script_name";
    let runs = match args.id {
        Some(id) => Value::Array(vec![api.data(&format!("/api/v1/execution/{}?{SHOWN}", part(&id))).await?]),
        None => api.data(&format!("/api/v1/execution/user?page=1&per_page=10&sort=-start_date&{SHOWN}")).await?,
    };
    for run in runs.as_array().into_iter().flatten() {
        let progress = format!("{} %", run["progress"]);
        let values = [&run["id"], &run["status"], &progress.into(), &run["start_date"], &run["script_name"]];
        say(&row(&values, &[36, 10, 5, 26, 0]));
        for why in [&run["failure"]["message"], &run["queue"]["message"]].into_iter().filter_map(Value::as_str) {
            say(&format!("    {why}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}
