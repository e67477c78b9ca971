//! `demo`: the main job from nothing. Starts a server, publishes an example, builds and runs it over HTTP as any client
//! would, shows what it says as it comes, and its result.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use eventsource_stream::Eventsource;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Client, Response, multipart};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{flags, package, plain, say, serve};
use crate::{
    app::{DataDir, kept},
    auth::tokens,
    config::{Config, SandboxSetting},
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

/// A signed-in client of the demo's own server.
struct Api {
    http: Client,
    base: String,
    token: String,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    telemetry::start("error");
    let mut config = Config::from_process(&flags(args.data_dir))?;
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
    server.work(async move { Ok(engine) });
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
    let api = Api::sign_in(base, password).await?;
    let mut example = EXAMPLE;
    let (mut script, mut last) = api.publish(example).await?;
    let mut built = api.build_log(&script, last).await?;
    if let Some(error) = built.take_if(|error| error.contains(crate::engine::process::environment::NO_ANSWER)) {
        say(&format!("{error} The example {WITHOUT_PACKAGES}, which needs no package, runs instead."));
        example = WITHOUT_PACKAGES;
        (script, last) = api.publish(example).await?;
        built = api.build_log(&script, last).await?;
    }
    if let Some(error) = built {
        anyhow::bail!("the example {example} could not be built: {error}");
    }
    let params = if example == EXAMPLE { json!({"index": "NDVI"}) } else { json!({}) };
    say(&format!("\nRunning {example} with {params}"));
    let run: Value = api.post(&format!("/api/v1/script/{script}/run"), &params).await?;
    let id = run["id"].as_str().context("the answer names the execution")?.to_owned();
    let end = api.watch(&id).await?;
    let status = end["status"].as_str().unwrap_or("unknown").to_owned();
    let execution = api.get(&format!("/api/v1/execution/{id}")).await?;
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

impl Api {
    async fn sign_in(base: &str, password: &str) -> anyhow::Result<Self> {
        let http = Client::builder().no_proxy().build()?;
        let answer =
            http.post(format!("{base}/auth")).json(&json!({"email": EMAIL, "password": password})).send().await?;
        let session = read(answer).await.context("the demo's account cannot sign in; was its password changed?")?;
        let token = session["access_token"].as_str().context("the answer holds a token")?.to_owned();
        Ok(Api { http, base: base.to_owned(), token })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(format!("{}{path}", self.base)).bearer_auth(&self.token).send().await?;
        Ok(read(answer).await?["data"].take())
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let answer = self.http.post(format!("{}{path}", self.base)).bearer_auth(&self.token).json(body).send().await?;
        Ok(read(answer).await?["data"].take())
    }

    /// Publishes an example, anew or as it stands; returns its slug, and the last line of its log before.
    async fn publish(&self, name: &str) -> anyhow::Result<(String, i64)> {
        let files = package::example(name);
        let part = multipart::Part::bytes(package::pack(&files)?).file_name(format!("{name}.tar.gz"));
        let form = multipart::Form::new().part("file", part);
        let log = self.get(&format!("/api/v1/script/{name}/log")).await;
        let last = log.as_ref().ok().and_then(|lines| lines.as_array()?.last()?["id"].as_i64()).unwrap_or(0);
        let request = if log.is_ok() {
            say(&format!("\nPublishing {name} again"));
            self.http.patch(format!("{}/api/v1/script/{name}", self.base))
        } else {
            say(&format!("\nPublishing {name}"));
            self.http.post(format!("{}/api/v1/script", self.base))
        };
        let script = read(request.bearer_auth(&self.token).multipart(form).send().await?).await?;
        let slug = script["data"]["slug"].as_str().context("the answer names the script")?.to_owned();
        self.post(&format!("/api/v1/script/{slug}/publish"), &json!({})).await?;
        Ok((slug, last))
    }

    /// Shows the build log as it comes; the error of a build that failed.
    async fn build_log(&self, script: &str, after: i64) -> anyhow::Result<Option<String>> {
        let path = format!("/api/v1/script/{script}/log/stream");
        let end = self
            .follow(&path, after, |event, data| {
                if event == "log" {
                    say(&format!("  {}", data["text"].as_str().unwrap_or("")));
                }
            })
            .await?;
        Ok(end["build_error"].as_str().map(str::to_owned))
    }

    /// Shows log lines and progress of a run as they come, to its end.
    async fn watch(&self, id: &str) -> anyhow::Result<Value> {
        let bar = ProgressBar::new(100);
        if std::io::stdout().is_terminal() {
            bar.set_style(ProgressStyle::with_template("{bar:40} {pos:>3} % {msg}")?);
        } else {
            bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        let tell = |text: &str| if bar.is_hidden() { say(text) } else { bar.println(plain(text)) };
        let end = self
            .follow(&format!("/api/v1/execution/{id}/log/stream"), 0, |event, data| match event {
                "log" => {
                    let level = data["level"].as_str().unwrap_or("");
                    tell(&format!("  {level:<8} {}", data["text"].as_str().unwrap_or("")));
                }
                "progress" if bar.is_hidden() => say(&format!("  {:>3} %", data["progress"])),
                "progress" => bar.set_position(data["progress"].as_u64().unwrap_or(0)),
                "status" => bar.set_message(data["status"].as_str().unwrap_or("").to_owned()),
                _ => {}
            })
            .await?;
        bar.finish_and_clear();
        Ok(end)
    }

    /// Hears a live stream to its end, through lost connections; the data of its `end`.
    async fn follow(&self, path: &str, mut after: i64, mut hear: impl FnMut(&str, &Value)) -> anyhow::Result<Value> {
        loop {
            let url = format!("{}{path}?last-id={after}", self.base);
            let answer = self.http.get(url).bearer_auth(&self.token).send().await?.error_for_status()?;
            let mut events = answer.bytes_stream().eventsource();
            while let Some(Ok(event)) = events.next().await {
                let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
                after = event.id.parse().unwrap_or(after);
                hear(&event.event, &data);
                if event.event == "end" {
                    return Ok(data);
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// The JSON of an answer; its sentence if it is an error.
async fn read(answer: Response) -> anyhow::Result<Value> {
    let status = answer.status();
    let body: Value = answer.json().await?;
    if status.is_success() {
        return Ok(body);
    }
    anyhow::bail!("{}", body["detail"].as_str().or(body["msg"].as_str()).unwrap_or(status.as_str()))
}
