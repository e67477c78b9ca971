//! The server as a whole: opens what it needs, listens, works, and stops without cutting anybody off.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    serve::Listener,
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::{
    account::fields,
    api,
    app::{App, DataDir},
    auth::{caller::Caller, passwords},
    config::{Config, engines::EngineSetting},
    jobs, pulse,
    store::{
        self, Db, Id,
        pool::Pool,
        users::{NewUser, Role},
    },
};

/// How long a stopping server waits for requests under way.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that is ready to listen.
pub struct Server {
    pub app: App,
    pub data: Arc<DataDir>,
}

impl Server {
    /// Opens folder and database and brings the schema up to date.
    pub async fn open(config: Config, data: Arc<DataDir>, migrate: bool) -> anyhow::Result<Self> {
        anyhow::ensure!(
            config.jwt_secret.is_some() || !config.is_postgres(),
            "JWT_SECRET_KEY must be set: with PostgreSQL every node has to sign with the same key."
        );
        let db = open_database(&config, &data, migrate).await?;
        let app = App::new(config, db, &data).await?;
        first_account(&app).await?;
        for sentence in &app.config.ignored {
            tracing::warn!("{sentence}");
        }
        Ok(Server { app, data })
    }

    /// Works beside the API, for each engine once it is ready. Requests are answered meanwhile; without an engine, because no
    /// sandbox keeps its promises here, they are too, and runs and builds wait. A rehearsal has no hands: nothing of the queue is
    /// taken, nothing is swept.
    pub fn work(&self, engines: Vec<(EngineSetting, jobs::Opening)>) {
        if self.app.config.rehearse {
            return;
        }
        let (app, data) = (self.app.clone(), self.data.clone());
        app.tasks.spawn(jobs::chores::work(app.clone()));
        self.app.tasks.spawn(async move {
            if let Err(error) = jobs::work(&app, engines, &data).await {
                tracing::error!(error = format!("{error:#}"), "no script runs here");
            }
        });
    }

    /// Serves on the listener until told to stop.
    pub async fn run(self, listener: TcpListener) -> anyhow::Result<()> {
        let app = self.app;
        app.tasks.spawn(pulse::watch(app.clone()));
        if let Db::Postgres(pool) = &app.db {
            app.tasks.spawn(notices(app.clone(), pool.clone()));
        }
        let connections = accept(&app, listener).await;
        if tokio::time::timeout(PATIENCE, connections.wait()).await.is_err() {
            tracing::warn!("some requests did not end in time");
        }
        app.tasks.close();
        if tokio::time::timeout(PATIENCE, app.tasks.wait()).await.is_err() {
            tracing::warn!("some jobs did not stop in time; their leases will pass");
        }
        app.db.close().await;
        Ok(())
    }
}

/// Serves every connection until told to stop; those on which requests are under way then. A client that does not send the
/// head of a request in time is cut off, between requests too; an answer may take as long as it likes.
async fn accept(app: &App, mut listener: TcpListener) -> TaskTracker {
    let routes = api::service(app);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(Duration::from_secs(app.config.silence_s));
    let connections = TaskTracker::new();
    loop {
        let (stream, peer): (_, SocketAddr) = tokio::select! {
            accepted = Listener::accept(&mut listener) => accepted,
            () = app.stop.cancelled() => break,
        };
        let service = routes.clone().map_request(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            api::trim_slash(request)
        });
        let serving = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let stop = app.stop.clone();
        connections.spawn(async move {
            let mut serving = std::pin::pin!(serving);
            let served = tokio::select! {
                served = serving.as_mut() => served,
                () = stop.cancelled() => {
                    serving.as_mut().graceful_shutdown();
                    serving.await
                }
            };
            if let Err(error) = served {
                tracing::debug!(error = %error, "a connection broke");
            }
        });
    }
    connections.close();
    connections
}

/// The database of the settings, its schema up to date.
pub async fn open_database(config: &Config, data: &DataDir, migrate: bool) -> anyhow::Result<Db> {
    let file = data.path.join("trends-earth.db");
    let timeout = Duration::from_secs(config.statement_timeout_s);
    let url = config
        .database_url
        .as_ref()
        .map_or_else(|| format!("sqlite://{}", file.display()), |url| url.expose_secret().to_owned());
    if let Some(path) = url.strip_prefix("sqlite://") {
        keep_a_copy(Path::new(path)).await?;
    }
    let db = Db::open(&url, timeout, config.database_connections).await?;
    let pending = db.pending().await?;
    if pending.is_empty() {
        return Ok(db);
    }
    anyhow::ensure!(
        migrate || db.is_empty().await?,
        "The database is not up to date; run `trends-earth migrate` first. Pending: {}",
        pending.join(", ")
    );
    db.migrate(None, |word| tracing::info!("{word}")).await?;
    Ok(db)
}

/// Before a newer release changes a SQLite file, the file is copied beside itself; the last two copies are kept.
async fn keep_a_copy(file: &Path) -> anyhow::Result<()> {
    if !file.exists() {
        return Ok(());
    }
    let db = Db::open_sqlite(file).await?;
    let pending = db.pending().await?;
    if let (false, Db::Sqlite { write, .. }) = (pending.is_empty(), &db) {
        let folder = file.parent().context("the database lies in a folder")?;
        let prefix = format!("{}.before-", file.file_name().and_then(|n| n.to_str()).unwrap_or("trends-earth.db"));
        let copy = folder.join(format!("{prefix}{}", env!("CARGO_PKG_VERSION")));
        let _ = std::fs::remove_file(&copy);
        sqlx::query("VACUUM INTO $1").bind(copy.to_string_lossy().into_owned()).execute(write).await?;
        let mut copies: Vec<_> = std::fs::read_dir(folder)?
            .filter_map(Result::ok)
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        copies.sort();
        for (_, old) in copies.iter().rev().skip(2) {
            std::fs::remove_file(old)?;
        }
    }
    db.close().await;
    Ok(())
}

/// The first SUPERADMIN of an empty installation, if the settings name one.
async fn first_account(app: &App) -> anyhow::Result<()> {
    let Some((email, password)) = &app.config.admin else { return Ok(()) };
    if store::users::none(&app.db).await? {
        create_user(app, email, "Administrator", Role::Superadmin, password.clone()).await?;
        tracing::info!("the first account was made");
    }
    Ok(())
}

/// Makes an account; an address that is taken is refused with a sentence.
pub async fn create_user(app: &App, email: &str, name: &str, role: Role, password: SecretString) -> anyhow::Result<Id> {
    let email = fields::email(email).map_err(|_| anyhow::anyhow!("{email:?} is not an e-mail address."))?;
    passwords::check(password.expose_secret()).map_err(anyhow::Error::msg)?;
    let hash = app.hasher.hash(password.expose_secret().to_owned()).await?;
    let id = Id::random();
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let new = NewUser { email: &email, name, role, password: &hash, verified: true };
    anyhow::ensure!(store::users::insert(&mut tx, id, &new, now).await?, "Email address is already registered");
    store::audit::insert(&mut tx, &Caller::default().did("user.created", "user", &id), now).await?;
    tx.commit().await?;
    Ok(id)
}

/// Tells other nodes, by PostgreSQL's notices, that there may be something to do, and hears it from them. Only a hint: workers
/// look by themselves too.
pub async fn notices(app: App, pool: Pool) {
    tokio::join!(tell(&app, &pool), listen(&app, &pool));
}

async fn tell(app: &App, pool: &Pool) {
    loop {
        tokio::select! {
            () = pool.news() => {}
            () = app.stop.cancelled() => return,
        }
        if let Err(error) = pool.tell().await {
            tracing::warn!(error = %error, "the other nodes could not be told");
        }
    }
}

async fn listen(app: &App, pool: &Pool) {
    loop {
        tokio::select! {
            ended = pool.listen(|| app.wake()) => if let Err(error) = ended {
                tracing::warn!(error = %error, "the database's notices are not heard");
            },
            () = app.stop.cancelled() => return,
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(2)) => {}
            () = app.stop.cancelled() => return,
        }
    }
}
