//! `demo`: the main job from nothing. Starts a server, publishes an example, builds and runs it over HTTP as any client
//! would, shows what it says as it comes, and its result.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    api::Api,
    flags,
    follow::{self, Work},
    package, say, serve,
};
use crate::{
    app::{DataDir, kept},
    auth::tokens,
    config::{Config, SandboxSetting, engines::EngineSetting},
    engine::{Engine, process::Process},
    server::{Server, create_user},
    store::{self, users::Role},
    telemetry,
};

/// The account of the demo.
const EMAIL: &str = "admin@trends.earth.local";
/// What runs, and what runs instead where no package index answers.
const EXAMPLE: &str = "vegetation-index";
const WITHOUT_PACKAGES: &str = "trend";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Stop after the run; exit 0 only if it is FINISHED
    #[arg(long)]
    once: bool,
    /// Folder for everything that is kept on this machine
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    telemetry::start("error");
    let mut config = Config::from_process(&flags(args.data_dir))?;
    anyhow::ensure!(!config.rehearse, "A rehearsal starts nothing, so there is nothing to show. Unset TE_REHEARSE.");
    serve::check_address(&config)?;
    let data = Arc::new(DataDir::open(&config.data_dir)?);
    let listener = match TcpListener::bind(config.listen).await {
        Ok(listener) => listener,
        Err(_) => {
            let free = TcpListener::bind((config.listen.ip(), 0)).await?;
            say(&format!("{} is taken; the demo listens on {} instead.", config.listen, free.local_addr()?));
            free
        }
    };
    // Links lead to where it listens, which may be another port than the settings say.
    config.listen = listener.local_addr()?;
    let engine = engine(&mut config, &data).await?;
    let server = Server::open(config, data.clone(), true).await?;
    server.work(vec![(EngineSetting::Process, Box::pin(async move { Ok(engine) }))]);
    let app = server.app.clone();
    let key = data.path.join("demo.password");
    let new = !key.exists();
    let password = kept(&key, || format!("Te1-{}", tokens::random(12)))?;
    if store::users::logins::find(&app.db, EMAIL).await?.is_empty() {
        create_user(&app, EMAIL, "Demo", Role::Superadmin, SecretString::from(password.clone())).await?;
    }
    serve::stop_on_signals(&app)?;
    let base = format!("http://{}", listener.local_addr()?);
    say(&format!(
        "Trends.Earth {} runs on {base}, with its data in {}",
        env!("CARGO_PKG_VERSION"),
        data.path.display()
    ));
    let shown = if new { password.clone() } else { format!("(in {})", key.display()) };
    say(&format!("Account: {EMAIL}, password: {shown}"));
    let serving = server.run(listener);
    tokio::pin!(serving);
    let story = tell(&base, &password, &data.path);
    let told = tokio::select! {
        served = &mut serving => { served?; None }
        told = story => Some(told),
    };
    // Somebody pressed Ctrl-C while the story was told.
    let Some(finished) = told.filter(|_| !app.stop.is_cancelled()) else {
        say(&format!(
            "Stopped. Nothing is lost: the run and its log are kept in {}; start the demo again to go on.",
            data.path.display()
        ));
        return Ok(ExitCode::from(130));
    };
    if let Err(error) = &finished {
        say(&format!("The demo could not do its job: {error:#}"));
    }
    if args.once {
        app.stop.cancel();
        serving.await?;
        return Ok(if matches!(finished, Ok(true)) { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    say("\nThe server goes on. Press Ctrl-C to stop it.");
    serving.await?;
    say(&format!("Stopped. Everything is kept in {}; start the demo again to go on.", data.path.display()));
    Ok(ExitCode::SUCCESS)
}

/// The engine; where no sandbox keeps its promises the demo's own two scripts run all the same, with a warning.
async fn engine(config: &mut Config, data: &DataDir) -> anyhow::Result<Arc<dyn Engine>> {
    match Process::open(config, &data.path, &data.node).await {
        Ok(engine) => Ok(Arc::new(engine)),
        Err(error) if config.sandbox == SandboxSetting::Auto && config.listen.ip().is_loopback() => {
            for sandbox in [SandboxSetting::Landlock, SandboxSetting::None] {
                config.sandbox = sandbox;
                if let Ok(engine) = Process::open(config, &data.path, &data.node).await {
                    say(&format!("WARNING: {error:#}"));
                    let title = crate::engine::process::sandbox_title(&engine.choice.sandbox);
                    say(&format!(
                        "WARNING: the demo goes on with {title}. Do not let others upload scripts to this server."
                    ));
                    return Ok(Arc::new(engine));
                }
            }
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// Publishes, builds, runs and shows. True if the run has finished.
async fn tell(base: &str, password: &str, data: &Path) -> anyhow::Result<bool> {
    let session = Api::sign_in(base, EMAIL, &SecretString::from(password.to_owned()))
        .await
        .context("the demo's account cannot sign in; was its password changed?")?;
    let api = Api::of(session, None)?;
    let mut example = EXAMPLE;
    let (mut script, mut last) = publish(&api, example).await?;
    let mut built = build_log(&api, &script, last).await?;
    if let Some(error) = built.take_if(|error| error.contains(crate::engine::process::environment::NO_ANSWER)) {
        say(&format!("{error} The example {WITHOUT_PACKAGES}, which needs no package, runs instead."));
        example = WITHOUT_PACKAGES;
        (script, last) = publish(&api, example).await?;
        built = build_log(&api, &script, last).await?;
    }
    if let Some(error) = built {
        anyhow::bail!("the example {example} could not be built: {error}");
    }
    let params = if example == EXAMPLE { json!({"index": "NDVI"}) } else { json!({}) };
    say(&format!("\nRunning {example} with {params}"));
    let run = api.post(&format!("/api/v1/script/{script}/run"), &params.to_string()).await?;
    let id = run["id"].as_str().context("the answer names the execution")?.to_owned();
    let end = follow::watch(&api, Work::Run(&id), &mut 0).await?;
    let status = end["status"].as_str().unwrap_or("unknown").to_owned();
    let execution = api.data(&format!("/api/v1/execution/{id}")).await?;
    let file = data.join("runs").join(&id).join("result.json");
    if status == "FINISHED" {
        say(&format!("\nThe run is FINISHED. Its result:\n{}", outline(&execution["results"])));
        say(&format!("\nWhole result: {base}/api/v1/execution/{id}/download-results (also in {})", file.display()));
    } else {
        let failure = &execution["failure"]["message"];
        say(&format!("\nThe run is {status}: {}", failure.as_str().unwrap_or("no reason was given")));
    }
    say(&hints(base, data, example, &script, &id));
    Ok(status == "FINISHED")
}

/// Three lines that repeat what the demo did, with other parameters.
fn hints(base: &str, data: &Path, example: &str, script: &str, id: &str) -> String {
    let params = if example == EXAMPLE { r#"{"index":"EVI"}"# } else { r#"{"from_year":1900,"to_year":1950}"# };
    let key = data.join("demo.password");
    format!(
        "\nDo it yourself:\n  \
         TOKEN=$(curl -s {base}/auth -H 'Content-Type: application/json' -d '{{\"email\":\"{EMAIL}\",\"password\":\"'\"$(cat '{key}')\"'\"}}' | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"access_token\"])')\n  \
         curl -s {base}/api/v1/script/{script}/run -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' -d '{params}'\n  \
         curl -sN {base}/api/v1/execution/{id}/log/stream -H \"Authorization: Bearer $TOKEN\"\n\
         Documentation: {base}/api/docs/",
        key = key.display(),
    )
}

/// A result for a terminal: long texts and lists are cut.
fn outline(results: &Value) -> String {
    fn cut(value: &Value) -> Value {
        match value {
            Value::String(text) if text.chars().count() > 120 => Value::String(format!(
                "{}… ({} characters)",
                text.chars().take(60).collect::<String>(),
                text.chars().count()
            )),
            Value::Array(items) if items.len() > 8 => Value::String(format!("[{} values]", items.len())),
            Value::Array(items) => Value::Array(items.iter().map(cut).collect()),
            Value::Object(map) => Value::Object(map.iter().map(|(key, value)| (key.clone(), cut(value))).collect()),
            other => other.clone(),
        }
    }
    serde_json::to_string_pretty(&cut(results)).unwrap_or_default()
}

/// Publishes an example, anew or as it stands; its slug, and the last line of its log before.
async fn publish(api: &Api, name: &str) -> anyhow::Result<(String, i64)> {
    let new = api.data(&format!("/api/v1/script/{name}")).await.is_err_and(|trouble| trouble.is_missing());
    say(&format!("\nPublishing {name}{}", if new { "" } else { " again" }));
    let archive = package::pack(&package::example(name))?;
    let (script, last) = api.upload((!new).then_some(name), name, &archive).await?;
    api.post(&format!("/api/v1/script/{script}/publish"), "{}").await?;
    Ok((script, last))
}

/// Shows the build log as it comes; the error of a build that failed.
async fn build_log(api: &Api, script: &str, mut last: i64) -> anyhow::Result<Option<String>> {
    let end = follow::watch(api, Work::Build(script), &mut last).await?;
    Ok(end["build_error"].as_str().map(str::to_owned))
}
