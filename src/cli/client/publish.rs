//! `client publish`: an author's folder becomes a script, or a new version of one.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use serde_json::Value;

use crate::{
    build::configuration::slug,
    cli::{
        api::Api,
        aside,
        client::{follow, part},
        follow::Work,
        package, say,
    },
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the script: configuration.json, requirements.txt, src/main.py
    folder: PathBuf,
    /// Show the script to everybody once it is built
    #[arg(long)]
    public: bool,
    /// Update the script also if it is somebody else's (administrators)
    #[arg(long)]
    of_others: bool,
}

pub async fn run(args: Args, api: &Api) -> anyhow::Result<ExitCode> {
    let files = package::folder(&args.folder)?;
    let configuration: Value = serde_json::from_slice(&files["configuration.json"])
        .with_context(|| format!("configuration.json in {} is not valid JSON", args.folder.display()))?;
    let named = slug(configuration["name"].as_str().unwrap_or(""));
    let archive = package::pack(&files)?;
    let script = find(api, &configuration, &named).await?;
    if let Some(script) = &script
        && !args.of_others
    {
        let me = api.data("/api/v1/user/me").await?;
        anyhow::ensure!(
            script["user_id"] == me["id"],
            "There is a script {named} of somebody else; choose another name, or say --of-others if you may change it."
        );
    }
    let key = script.as_ref().and_then(|script| script["id"].as_str());
    let (slug, last) = api.upload(key, if named.is_empty() { "script" } else { &named }, &archive).await?;
    say(&match key {
        None => format!("Published {slug}"),
        Some(_) => format!("Published {slug} again"),
    });
    let code = follow(api, Work::Build(&slug), last).await?;
    if args.public {
        if code != ExitCode::SUCCESS {
            aside(&format!("{slug} is not shown to others: it is not built."));
        } else {
            api.post(&format!("/api/v1/script/{}/publish", part(&slug)), "{}").await?;
            say(&format!("{slug} is public."));
        }
    }
    Ok(code)
}

/// The script that the folder names: by the id in its configuration, which the existing command line keeps there, else by
/// the slug that its name gives.
async fn find(api: &Api, configuration: &Value, named: &str) -> anyhow::Result<Option<Value>> {
    for key in [configuration["id"].as_str().unwrap_or(""), named] {
        if key.is_empty() {
            continue;
        }
        match api.data(&format!("/api/v1/script/{}", part(key))).await {
            Ok(script) => return Ok(Some(script)),
            Err(trouble) if trouble.is_missing() => {}
            Err(trouble) => return Err(trouble.into()),
        }
    }
    Ok(None)
}
