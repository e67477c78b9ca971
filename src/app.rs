//! What every handler and worker shares: configuration, database, engine, objects, keys, clock. Cloning it is cheap.

use std::{
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use anyhow::Context;
use nix::fcntl::{Flock, FlockArg};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::{stats::cache::Cache, tails::Tails},
    auth::{
        blocklist::Blocklist,
        passwords::{Form, Hasher},
        tokens::Tokens,
        vault::Vault,
    },
    clock::Clock,
    config::Config,
    execution::{loan::Given, order::Board},
    fernet::Fernet,
    google::Google,
    limits::{Storage, counters::Counters},
    mail::{self, Mailer},
    objects::Objects,
    pulse::Pulse,
    redis::Redis,
    store::{Db, Id, db, takeover},
};

#[derive(Clone)]
pub struct App(Arc<Inner>);

pub struct Inner {
    pub config: Config,
    pub db: Db,
    pub objects: Objects,
    pub clock: Clock,
    /// Whether the database answers.
    pub pulse: Pulse,
    /// Whether the existing server goes on beside this one: then values are written as it reads them.
    pub coexists: bool,
    pub tokens: Tokens,
    /// Seals what is encrypted at rest.
    pub vault: Vault,
    /// Encrypts what people store for Earth Engine and openEO; `None` without a key of the settings.
    pub fernet: Option<Fernet>,
    pub google: Google,
    /// Tokens of Google that runs were given.
    pub given: Given,
    pub hasher: Hasher,
    pub mailer: Arc<dyn Mailer>,
    /// How often callers have called.
    pub counters: Counters,
    /// Tokens that the existing server has ended.
    pub blocklist: Blocklist,
    /// Bytes of requests' bodies that may be held at one time.
    pub bodies: Arc<Semaphore>,
    /// The runs that wait, as they were last read.
    pub board: Board,
    /// Readers of live logs.
    pub tails: Tails,
    /// Statistics that were asked for lately.
    pub statistics: Cache,
    /// Tasks that the server waits for when it stops.
    pub tasks: TaskTracker,
    /// Cancelled when the server is to stop.
    pub stop: CancellationToken,
    wake: watch::Sender<u64>,
}

impl Deref for App {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// The folder of this machine, held by one process at a time.
pub struct DataDir {
    pub path: PathBuf,
    /// Stays with the folder: names this machine in leases and places.
    pub node: String,
    /// `None` for a command that only administers, beside a server that may run.
    _lock: Option<Flock<std::fs::File>>,
}

impl DataDir {
    /// Opens or makes the folder (mode 0700) and locks it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let mut data = Self::visit(path)?;
        data._lock = Some(lock(&data.path)?);
        Ok(data)
    }

    /// Opens or makes the folder (mode 0700) beside a server that may work on it.
    pub fn visit(path: &Path) -> anyhow::Result<Self> {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        let path = path.canonicalize()?;
        let mode = std::fs::metadata(&path)?.permissions().mode();
        anyhow::ensure!(
            mode & 0o077 == 0,
            "The folder {} can be read by others (mode {:o}); make it private: chmod 700 {}",
            path.display(),
            mode & 0o777,
            path.display()
        );
        let node = kept(&path.join("node.id"), || Id::random().to_string())?;
        Ok(DataDir { path, node, _lock: None })
    }
}

/// Takes the lock of a data folder, which one process holds at a time.
pub fn lock(folder: &Path) -> anyhow::Result<Flock<std::fs::File>> {
    let lock = std::fs::File::options().create(true).truncate(false).write(true).open(folder.join("server.lock"))?;
    let mut tried = Flock::lock(lock, FlockArg::LockExclusiveNonblock);
    // A server that was killed a moment ago may have had a child that has not let go of its files yet.
    for _ in 0..20 {
        let Err((lock, _)) = tried else { break };
        std::thread::sleep(std::time::Duration::from_millis(100));
        tried = Flock::lock(lock, FlockArg::LockExclusiveNonblock);
    }
    tried.map_err(|_| {
        anyhow::anyhow!(
            "Another server works on {}; stop it first, or choose another folder with --data-dir.",
            folder.display()
        )
    })
}

/// A value that is made once and then kept in a file of mode 0600.
pub fn kept(path: &Path, make: impl FnOnce() -> String) -> anyhow::Result<String> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let value = make();
    let mut file = std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    writeln!(file, "{value}")?;
    file.sync_all()?;
    Ok(value)
}

impl App {
    /// Puts the parts together. The schema is up to date already.
    pub async fn new(config: Config, db: Db, data: &DataDir) -> anyhow::Result<Self> {
        let secret = match &config.jwt_secret {
            Some(secret) => secret.clone(),
            None if config.is_postgres() => {
                anyhow::bail!("JWT_SECRET_KEY must be set: with PostgreSQL every node has to sign with the same key.")
            }
            None => SecretString::from(kept(&data.path.join("jwt.key"), || crate::auth::tokens::random(48))?),
        };
        anyhow::ensure!(!secret.expose_secret().is_empty(), "the signing key is empty");
        let coexists = match config.coexist {
            Some(said) => said,
            None => db.has_table("alembic_version").await? && takeover::left(&db).await?.is_none(),
        };
        let form = config.password_hash.unwrap_or(if coexists { Form::Werkzeug } else { Form::Argon2id });
        let objects = Objects::open(&config, &data.path)?;
        let clock = Clock::new(config.clock_skew_s);
        if let Db::Postgres(pool) = &db {
            let sent = Instant::now();
            clock.heard(db::time_us(&**pool).await?, sent);
        }
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let open = |url: &SecretString| Redis::new(url, tasks.clone(), stop.clone());
        let redis = config.redis_url.as_ref().map(open).transpose()?;
        let counting = match &config.limits.storage {
            Storage::Here => None,
            Storage::Redis => redis.clone(),
            Storage::Other(url) => Some(open(url)?),
        };
        Ok(App(Arc::new(Inner {
            tokens: Tokens::new(&secret, config.unsubscribe_secret.as_ref()),
            vault: Vault::new(&secret)?,
            fernet: config.gee_secret.as_ref().map(Fernet::new).transpose()?,
            google: Google::new(&config)?,
            given: Given::default(),
            mailer: mail::open(&config, &data.path)?,
            hasher: Hasher::new(form),
            coexists,
            counters: Counters::new(counting),
            blocklist: Blocklist(redis.filter(|_| coexists)),
            bodies: Arc::new(Semaphore::new(config.max_bodies_bytes)),
            board: Board::default(),
            tails: Tails::default(),
            statistics: Cache::default(),
            clock,
            pulse: Pulse::default(),
            tasks,
            stop,
            wake: watch::Sender::new(0),
            config,
            db,
            objects,
        })))
    }

    /// Tells the workers of this process that there may be something to do; others hear it from the database.
    pub fn wake(&self) {
        self.wake.send_modify(|n| *n = n.wrapping_add(1));
    }

    /// Hears of `wake` from now on.
    pub fn woken(&self) -> watch::Receiver<u64> {
        self.wake.subscribe()
    }
}
