//! `client list`: the scripts that the account may run.

use std::process::ExitCode;

use crate::cli::{api::Api, client::row, say};

pub async fn run(api: &Api) -> anyhow::Result<ExitCode> {
    let scripts = api.data("/api/v1/script").await?;
    for script in scripts.as_array().into_iter().flatten() {
        let shown = if script["public"] == true { "public" } else { "private" };
        say(&row(&[&script["slug"], &script["status"], &shown.into(), &script["name"]], &[40, 8, 7, 0]));
    }
    Ok(ExitCode::SUCCESS)
}
