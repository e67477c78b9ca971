//! A real server process with a data folder and a database of its own. A line of level ERROR in its log fails the test.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use secrecy::SecretString;
use serde_json::json;
use trends_earth::{
    app::{App, DataDir},
    auth::tokens,
    config::{Config, Flags},
    reading,
    server::create_user,
    store::{Db, users::Role},
    writing,
};

use super::{Client, client::PATIENCE, database, token};

/// The administrator that every test server has.
const ADMIN: (&str, &str) = ("admin@example.org", "Admin!Passw0rd#1");

/// What a server is started with.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub no_worker: bool,
    /// Where it listens, if not on a port of loopback that is free.
    pub listen: Option<String>,
    /// Settings beside those of every test.
    pub env: BTreeMap<String, String>,
    /// Whether the server lives where no namespace can be made: inside a sandbox of its own.
    pub confined: bool,
    /// A SQL file that is loaded into the PostgreSQL database before the server starts.
    pub load: Option<PathBuf>,
    /// The URL of a PostgreSQL server, if it is not the one that the suite runs on.
    pub postgres: Option<String>,
}

impl Options {
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.env.insert(name.to_owned(), value.to_string());
        self
    }

    pub fn without_worker(mut self) -> Self {
        self.no_worker = true;
        self
    }
}

/// A running server.
pub struct Server {
    pub base: String,
    pub folder: PathBuf,
    /// The server's database, folder and settings, seen from the test.
    pub app: App,
    process: Option<Child>,
    options: Options,
    database: Option<(String, String, String)>,
    may_fail: AtomicBool,
    http: reqwest::Client,
}

impl Server {
    /// A server with a worker.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// A server that answers but starts nothing.
    pub async fn api_only() -> Self {
        Self::with(Options { no_worker: true, ..Options::default() }).await
    }

    pub async fn with(options: Options) -> Self {
        let folder = new_folder();
        let mut options = options;
        let database = match options.postgres.clone().or_else(database::server_url) {
            None => None,
            Some(server) => {
                let (name, url) = database::create(&server).await;
                if let Some(sql) = &options.load {
                    let loaded = Command::new("psql").args([&url, "-qf"]).arg(sql).output().unwrap();
                    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
                }
                options.env.insert("DATABASE_URL".into(), url.clone());
                Some((server, name, url))
            }
        };
        Self::begin(folder, settings(options), database).await
    }

    /// A server on a folder that is there already, and on the database of its own that the options name (else SQLite in the
    /// folder). The folder goes when it is dropped, the database stays.
    pub async fn on(folder: &Path, options: Options) -> Self {
        Self::begin(folder.to_owned(), settings(options), None).await
    }

    async fn begin(folder: PathBuf, options: Options, database: Option<(String, String, String)>) -> Self {
        let (process, base) = spawn(&folder, &options).await;
        let app = view(&folder, &options).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Server { base, folder, app, process: Some(process), options, database, may_fail: AtomicBool::new(false), http }
    }

    /// Errors in the server's log are what this test is about.
    pub fn may_log_errors(&self) {
        self.may_fail.store(true, Ordering::Relaxed);
    }

    /// A caller without a token.
    pub fn anonymous(&self) -> Client {
        Client {
            http: self.http.clone(),
            base: self.base.clone(),
            token: None,
            email: String::new(),
            password: String::new(),
        }
    }

    /// The first administrator, signed in.
    pub async fn admin(&self) -> Client {
        self.sign_in(ADMIN.0, ADMIN.1).await
    }

    /// A new plain user of this name, signed in.
    pub async fn user(&self, name: &str) -> Client {
        self.account(name, Role::User).await
    }

    /// A new account of this role, signed in.
    pub async fn account(&self, name: &str, role: Role) -> Client {
        let email = format!("{name}@example.org");
        let password = "User!Passw0rd#12";
        create_user(&self.app, &email, name, role, SecretString::from(password)).await.unwrap();
        self.sign_in(&email, password).await
    }

    pub async fn sign_in(&self, email: &str, password: &str) -> Client {
        let mut client = self.anonymous();
        let session = client.post("/auth", &json!({"email": email, "password": password})).await.expect(200);
        client.token = Some(session["access_token"].as_str().unwrap().to_owned());
        (client.email, client.password) = (email.to_owned(), password.to_owned());
        client
    }

    /// Kills the server as `kill -9` does; units go on.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Asks the server to stop, and waits for it.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        self.signal(Signal::SIGTERM);
        self.process.take().unwrap().wait().unwrap()
    }

    /// Sends the server a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// A second server on the same PostgreSQL database, with a folder of its own; scripts are kept in a folder that both
    /// share. It must be dropped before the first one.
    pub async fn beside(&self, options: Options) -> Self {
        assert!(self.database.is_some(), "SQLite serves one machine");
        let folder = new_folder();
        std::fs::create_dir_all(self.folder.join("objects")).unwrap();
        std::os::unix::fs::symlink(self.folder.join("objects"), folder.join("objects")).unwrap();
        let mut options = options;
        for (name, value) in &self.options.env {
            options.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Self::begin(folder, options, None).await
    }

    /// The folder of a run's unit.
    pub fn unit(&self, execution: &str) -> PathBuf {
        self.folder.join("runs").join(execution)
    }

    /// Starts the server again on the same folder and database, on another port; callers made before must `move_to` it.
    pub async fn restart(&mut self) {
        self.kill();
        let (process, base) = spawn(&self.folder, &self.options).await;
        (self.process, self.base) = (Some(process), base);
    }

    /// Changes a setting, from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.options.env.insert(name.to_owned(), value.to_owned());
    }

    /// The same caller at the server's present address.
    pub fn moved(&self, client: &Client) -> Client {
        Client { base: self.base.clone(), ..client.clone() }
    }

    /// Whether a sandbox of the settings works on this machine, once the server knows.
    pub async fn has_sandbox(&self) -> bool {
        let mut works = None;
        super::until("the sandbox was tried", async || {
            let log = self.log();
            works = log
                .contains("scripts run here")
                .then_some(true)
                .or(log.contains("no script runs here").then_some(false));
            works.is_some()
        })
        .await;
        works == Some(true)
    }

    /// Waits until the keeper of a run has ended, and with it every process of the run.
    pub async fn unit_is_gone(&self, execution: &str) {
        let lock = File::open(self.folder.join("runs").join(execution).join("alive.lock")).unwrap();
        let ended = tokio::task::spawn_blocking(move || lock.lock_shared().unwrap());
        tokio::time::timeout(PATIENCE, ended).await.expect("the run ends").unwrap();
    }

    /// Gives a run a credential that the test knows.
    pub async fn lend(&self, execution: &str, attempt: i32, secret: &str) {
        let digest = tokens::digest(secret);
        self.execute(&format!(
            "INSERT INTO execution_credential (execution_id, attempt, secret_sha256) VALUES ('{execution}', {attempt}, '{digest}')
             ON CONFLICT (execution_id) DO UPDATE SET attempt = {attempt}, secret_sha256 = '{digest}', expires_at = NULL"
        ))
        .await;
        self.execute(&format!("UPDATE execution_run SET attempt = {attempt} WHERE execution_id = '{execution}'")).await;
    }

    /// Signs in as a run; `None` if the credential opens nothing.
    pub async fn sign_in_as_run(&self, execution: &str, secret: &str) -> Option<Client> {
        let mut client = self.anonymous();
        let body = json!({"email": format!("execution-{execution}"), "password": secret});
        let answer = client.post("/auth", &body).await;
        if answer.status == 401 {
            return None;
        }
        let session = answer.expect(200);
        assert_eq!(session["expires_in"], 3600);
        assert!(session.get("refresh_token").is_none(), "a run signs in again: {session}");
        client.token = Some(session["access_token"].as_str().unwrap().to_owned());
        Some(client)
    }

    /// How many rows a table has.
    pub async fn rows(&self, table: &str) -> i64 {
        let text = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        reading!(&self.app.db, |on| sqlx::query_scalar(text).fetch_one(on).await).unwrap()
    }

    /// What the server has kept so far: rows of the tables that uploads and runs fill, and files and folders.
    pub async fn footprint(&self) -> (Vec<(&'static str, i64)>, Vec<PathBuf>) {
        let mut rows = Vec::new();
        for table in [
            "script",
            "script_version",
            "script_log",
            "job",
            "execution",
            "execution_run",
            "execution_flag",
            "execution_log",
            "execution_event",
            "execution_credential",
            "execution_count",
            "status_log",
            "audit_event",
            "\"user\"",
        ] {
            rows.push((table, self.rows(table).await));
        }
        (rows, self.files(&["objects", "builds", "runs", "versions", "envs"]))
    }

    /// Runs a statement on the server's database.
    pub async fn execute(&self, statement: &str) {
        let text = sqlx::AssertSqlSafe(statement.to_owned());
        writing!(&self.app.db, |on| sqlx::query(text).execute(on).await.map(drop)).unwrap();
    }

    /// Every file and folder below these folders of the data folder.
    pub fn files(&self, folders: &[&str]) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut next: Vec<PathBuf> = folders.iter().map(|name| self.folder.join(name)).collect();
        while let Some(folder) = next.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    next.push(entry.path());
                }
                found.push(entry.path());
            }
        }
        found.sort();
        found
    }

    /// Everything that the server has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default()
    }

    /// Process id of the server.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// The settings that the server was started with.
    pub fn env(&self) -> &BTreeMap<String, String> {
        &self.options.env
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // Units outlive a server; those of a test must not.
        for kind in ["runs", "builds"] {
            for unit in std::fs::read_dir(self.folder.join(kind)).into_iter().flatten().flatten() {
                let _ = std::fs::write(unit.path().join("stop"), "");
            }
        }
        let log = self.log();
        if let Some((server, name, _)) = &self.database {
            database::drop_later(server, name);
        }
        let failed = log.lines().find(|line| line.contains(r#""level":"ERROR""#) || line.contains("panicked"));
        if !std::thread::panicking() {
            for unit in std::fs::read_dir(self.folder.join("runs")).into_iter().flatten().flatten() {
                wait_until_dead(&unit.path());
            }
            let _ = trends_earth::engine::process::environment::remove_tree(&self.folder);
            if let (Some(line), false) = (failed, self.may_fail.load(Ordering::Relaxed)) {
                panic!("the server logged an error: {line}");
            }
        } else {
            eprintln!("the server's folder is kept: {}", self.folder.display());
        }
    }
}

fn wait_until_dead(unit: &Path) {
    for _ in 0..200 {
        if !trends_earth::engine::process::keeper::is_alive(unit) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The options with what every test server is told.
fn settings(mut options: Options) -> Options {
    for (name, value) in [
        ("JWT_SECRET_KEY", token::SECRET),
        ("TE_ADMIN_EMAIL", ADMIN.0),
        ("TE_ADMIN_PASSWORD", ADMIN.1),
        // All tests of a server call from one address; those about limits turn them on.
        ("RATE_LIMITING_ENABLED", "false"),
        ("TE_LEASE_S", "3"),
        ("TE_HEARTBEAT_S", "1"),
        ("TE_MIN_FREE_BYTES", "1000000"),
    ] {
        options.env.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    for name in ["PATH", "HOME", "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_INDEX_URL", "LD_LIBRARY_PATH"]
    {
        if let Ok(value) = std::env::var(name) {
            options.env.entry(name.to_owned()).or_insert(value);
        }
    }
    options
}

/// A folder of this test's own, which nobody else may read.
fn new_folder() -> PathBuf {
    use std::os::unix::fs::DirBuilderExt;
    let folder = std::env::temp_dir().join(format!("te-test-{}", uuid::Uuid::new_v4()));
    std::fs::DirBuilder::new().mode(0o700).create(&folder).unwrap();
    folder
}

/// The program; `confined` where no namespace can be made, by bubblewrap.
pub fn program(confined: bool) -> Command {
    let path = env!("CARGO_BIN_EXE_trends-earth");
    if !confined {
        return Command::new(path);
    }
    let mut command = Command::new("bwrap");
    command.args(["--unshare-user", "--disable-userns", "--die-with-parent", "--dev-bind", "/", "/", "--", path]);
    command
}

/// Starts the program and waits until it says where it listens.
async fn spawn(folder: &Path, options: &Options) -> (Child, String) {
    let log = File::options().create(true).append(true).open(folder.join("server.log")).unwrap();
    let said = folder.join("server.out");
    let mut command = program(options.confined);
    let listen = options.listen.as_deref().unwrap_or("127.0.0.1:0");
    command.args(["serve", "--listen", listen, "--migrate", "--data-dir"]).arg(folder);
    if options.no_worker {
        command.arg("--no-worker");
    }
    let process = command
        .env_clear()
        .envs(&options.env)
        .stdin(Stdio::null())
        .stdout(File::create(&said).unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    let mut process = process;
    let address = tokio::time::timeout(PATIENCE, async {
        loop {
            let text = std::fs::read_to_string(&said).unwrap_or_default();
            let rest = text.split("listens on http://").nth(1);
            if let Some(address) = rest.and_then(|rest| rest.split_whitespace().next()) {
                return address.to_owned();
            }
            if let Some(status) = process.try_wait().unwrap() {
                let log = std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
                panic!("the server ended with {status}: {text}{log}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the server says where it listens");
    (process, format!("http://{address}"))
}

/// The server's database and settings, opened by the test beside it.
async fn view(folder: &Path, options: &Options) -> App {
    let flags = Flags { listen: None, data_dir: Some(folder.to_owned()) };
    let config = Config::read(&flags, options.env.clone()).unwrap();
    let db = match options.env.get("DATABASE_URL") {
        Some(url) => Db::open(url, Duration::from_secs(10), 16).await.unwrap(),
        None => Db::open_sqlite(&folder.join("trends-earth.db")).await.unwrap(),
    };
    App::new(config, db, &DataDir::visit(folder).unwrap()).await.unwrap()
}
