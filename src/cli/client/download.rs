//! `client download`: the archive of a script, as it was uploaded.

use std::{path::PathBuf, process::ExitCode};

use crate::cli::{
    api::Api,
    client::{part, save},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Slug or id of the script
    script: String,
    /// File to write to, - for standard output [default: <slug>.tar.gz, which must not be there yet]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub async fn run(args: Args, api: &Api) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/script/{}", part(&args.script));
    let file = match args.output {
        Some(file) => file,
        None => {
            let script = api.data(&path).await?;
            // The name is the server's word: it must not lead out of this folder.
            let slug = part(script["slug"].as_str().unwrap_or("script"));
            let file = PathBuf::from(format!("{slug}.tar.gz"));
            anyhow::ensure!(!file.exists(), "{} is there already; name another file with --output.", file.display());
            file
        }
    };
    save(api.send(|| api.http.get(format!("{}{path}/download", api.base))).await?, &file).await?;
    Ok(ExitCode::SUCCESS)
}
