//! `serve` and `worker`: the server, with or without one or the other half.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::say;
use crate::{
    app::{App, DataDir},
    config::{Config, Flags, SandboxSetting, engines::EngineSetting},
    engine::{
        Engine,
        docker::{Docker, daemon::is_away},
        process::Process,
        swarm::Swarm,
    },
    jobs, pulse,
    server::{self, Server},
    store::{self, Db},
    telemetry,
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub flags: Flags,
    /// Serve the API only; something else must work
    #[arg(long)]
    pub no_worker: bool,
    /// Bring a PostgreSQL database up to date at start
    #[arg(long)]
    pub migrate: bool,
    /// On a copy of a live database: answer and write as ever, but start, send, call and delete nothing
    #[arg(long)]
    pub rehearse: bool,
}

#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    #[command(flatten)]
    pub flags: Flags,
}

/// `trends-earth serve`
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    telemetry::start("info");
    let mut config = Config::from_process(&args.flags)?;
    if args.rehearse {
        config.rehearse();
    }
    let data = Arc::new(DataDir::open(&config.data_dir)?);
    let listener = listen(&config).await?;
    config.listen = listener.local_addr()?;
    let on_sqlite = !config.is_postgres();
    let server = Server::open(config, data, args.migrate || on_sqlite).await?;
    let address = listener.local_addr()?;
    if store::users::none(&server.app.db).await? {
        say(&format!(
            "There is no account yet. Make the first one with:\n  trends-earth user create you@example.org --role SUPERADMIN --data-dir {}",
            server.data.path.display()
        ));
    }
    say(&format!(
        "Trends.Earth {} listens on http://{address} (documentation: http://{address}/api/docs/)",
        env!("CARGO_PKG_VERSION")
    ));
    stop_on_signals(&server.app)?;
    if server.app.config.rehearse {
        say("This is a rehearsal: nothing is started, sent, called or deleted.");
    }
    if !args.no_worker {
        server.work(engines(&server.app, &server.data));
    }
    server.run(listener).await?;
    Ok(ExitCode::SUCCESS)
}

/// `trends-earth worker`
pub async fn work(args: WorkerArgs) -> anyhow::Result<ExitCode> {
    telemetry::start("info");
    let config = Config::from_process(&args.flags)?;
    anyhow::ensure!(
        config.is_postgres(),
        "A worker of its own needs PostgreSQL (DATABASE_URL); on SQLite `serve` works too."
    );
    anyhow::ensure!(!config.rehearse, "A rehearsal has no workers: nothing is started in it. Unset TE_REHEARSE.");
    anyhow::ensure!(
        config.objects_shared || config.s3.is_some(),
        "Scripts are kept in the data folder of the machine that they were uploaded to. With a second node, keep them in S3 (SCRIPTS_S3_BUCKET, PARAMS_S3_BUCKET), or put the folder {}/objects on a shared disk and set TE_OBJECTS_SHARED=true.",
        config.data_dir.display()
    );
    let data = Arc::new(DataDir::open(&config.data_dir)?);
    let server = Server::open(config, data.clone(), false).await?;
    let app = server.app;
    stop_on_signals(&app)?;
    app.tasks.spawn(pulse::watch(app.clone()));
    if let Db::Postgres(pool) = &app.db {
        app.tasks.spawn(server::notices(app.clone(), pool.clone()));
    }
    app.tasks.spawn(jobs::chores::work(app.clone()));
    let engines = engines(&app, &data).into_iter().map(|(kind, opening)| {
        let told: jobs::Opening = Box::pin(async move {
            let engine = opening.await?;
            say(&format!("Trends.Earth {} works on {}", env!("CARGO_PKG_VERSION"), engine.scope()));
            Ok(engine)
        });
        (kind, told)
    });
    jobs::work(&app, engines.collect(), &data).await?;
    app.tasks.close();
    app.tasks.wait().await;
    Ok(ExitCode::SUCCESS)
}

/// With less than a sandbox the server speaks to nobody but this machine.
pub fn check_address(config: &Config) -> anyhow::Result<()> {
    if matches!(config.sandbox, SandboxSetting::Landlock | SandboxSetting::None) {
        anyhow::ensure!(
            config.listen.ip().is_loopback(),
            "With TE_SANDBOX=landlock or none the server listens on loopback only; {} is not.",
            config.listen
        );
    }
    Ok(())
}

async fn listen(config: &Config) -> anyhow::Result<TcpListener> {
    check_address(config)?;
    TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {}; is another server there? Choose another port with --listen", config.listen)
    })
}

/// The engines of the settings.
fn engines(app: &App, data: &Arc<DataDir>) -> Vec<(EngineSetting, jobs::Opening)> {
    let opening = |kind| -> (EngineSetting, jobs::Opening) {
        let (app, data) = (app.clone(), data.clone());
        (kind, Box::pin(async move { engine(&app, &data, kind).await }))
    };
    app.config.engines.here.iter().copied().map(opening).collect()
}

/// An engine, with a word about what it keeps.
async fn engine(app: &App, data: &DataDir, kind: EngineSetting) -> anyhow::Result<Arc<dyn Engine>> {
    let config = &app.config;
    let instance = store::installation::id(&app.db).await?;
    match kind {
        EngineSetting::Process => {}
        EngineSetting::Docker => {
            let docker = answering(app, || Docker::open(config, instance)).await?;
            tracing::info!(scope = docker.scope(), "scripts run here");
            return Ok(Arc::new(docker));
        }
        EngineSetting::Swarm => {
            let swarm = answering(app, || Swarm::open(config, instance)).await?;
            tracing::info!(scope = swarm.scope(), "scripts run here");
            return Ok(Arc::new(swarm));
        }
    }
    let process = Process::open(config, &data.path, &data.node).await?;
    let broken: Vec<&str> = process.choice.checks.iter().filter(|c| !c.ok).map(|c| c.name.as_str()).collect();
    tracing::info!(
        sandbox = crate::engine::process::sandbox_title(&process.choice.sandbox),
        python = %process.interpreter.executable.display(),
        not_kept = broken.join(", "),
        in_force = crate::engine::process::probe::in_force().join(", "),
        "scripts run here"
    );
    Ok(Arc::new(process))
}

/// An engine whose daemon may not answer yet.
async fn answering<E, F: Future<Output = anyhow::Result<E>>>(app: &App, open: impl Fn() -> F) -> anyhow::Result<E> {
    loop {
        match open().await {
            Err(error) if is_away(&error) => tracing::warn!(error = format!("{error:#}"), "runs and builds wait"),
            other => return other,
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
            () = app.stop.cancelled() => anyhow::bail!("the server stops"),
        }
    }
}

/// First signal: stop taking work and finish requests. Second one: leave at once; the database knows what was under way.
pub fn stop_on_signals(app: &App) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let stop = app.stop.clone();
    // Not one of the tasks that the server waits for: it ends with the process.
    #[expect(clippy::disallowed_methods, reason = "listens for signals as long as the process lives")]
    tokio::spawn(async move {
        for round in 0..2 {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if round == 0 {
                tracing::info!("the server stops; runs go on by themselves and are taken up at the next start");
                stop.cancel();
            } else {
                std::process::exit(130);
            }
        }
    });
    Ok(())
}

/// Waits until somebody asks this process to end. Without it the first process of a container would not hear.
pub async fn told_to_stop() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Opens the database of the settings for a command that only administers, beside a server that may run.
pub async fn app(flags: &Flags) -> anyhow::Result<(App, DataDir)> {
    let config = Config::from_process(flags)?;
    let data = DataDir::visit(&config.data_dir)?;
    // A server may be living on this database: bringing it up to date is not for a command like this.
    let db = server::open_database(&config, &data, false).await?;
    Ok((App::new(config, db, &data).await?, data))
}
