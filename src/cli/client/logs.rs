//! `client logs`: what a run has said, or a build; with `--follow` to its end.

use std::process::ExitCode;

use crate::{
    cli::{
        api::Api,
        client::{follow, part},
        follow::{Work, line, text_of},
        say,
    },
    store::Id,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Id of an execution, or slug or id of a script
    #[arg(value_name = "EXECUTION|SCRIPT")]
    name: String,
    /// Go on until the run or build ends; the exit code says how
    #[arg(long)]
    follow: bool,
    /// Begin after this line
    #[arg(long, value_name = "ID", default_value_t = 0)]
    last_id: i64,
}

pub async fn run(args: Args, api: &Api) -> anyhow::Result<ExitCode> {
    let name = part(&args.name);
    // A script may be named by its id too.
    let execution = match Id::parse(&args.name) {
        None => false,
        Some(_) => match api.get(&format!("/api/v1/execution/{name}?exclude=params,results")).await {
            Ok(_) => true,
            Err(trouble) if trouble.is_missing() => false,
            Err(trouble) => return Err(trouble.into()),
        },
    };
    if !execution {
        api.get(&format!("/api/v1/script/{name}")).await?;
    }
    let work = if execution { Work::Run(&name) } else { Work::Build(&name) };
    if args.follow {
        return follow(api, work, args.last_id).await;
    }
    let kind = if execution { "execution" } else { "script" };
    let after = if args.last_id > 0 { format!("?last-id={}", args.last_id) } else { String::new() };
    for data in api.data(&format!("/api/v1/{kind}/{name}/log{after}")).await?.as_array().into_iter().flatten() {
        say(&if execution { line(data) } else { format!("  {}", text_of(data)) });
    }
    Ok(ExitCode::SUCCESS)
}
