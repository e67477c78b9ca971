//! The program's other commands, as a person would type them, each in a place of its own.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};
use trends_earth::{engine::process::environment::remove_tree, store::Db};

use super::{client::PATIENCE, database};

/// A private folder with a data folder in it, and on PostgreSQL a database; what commands of a test work on.
pub struct Place {
    pub folder: PathBuf,
    pub data: PathBuf,
    env: BTreeMap<String, String>,
    database: Option<(String, String)>,
}

impl Place {
    pub async fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("te-test-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let mut env = BTreeMap::new();
        for name in ["PATH", "HOME", "PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_INDEX_URL"] {
            env.extend(std::env::var(name).ok().map(|value| (name.to_owned(), value)));
        }
        env.insert("TE_MIN_FREE_BYTES".into(), "1000000".into());
        let mut place = Place { data: folder.join("data"), folder, env, database: None };
        if let Some(server) = database::server_url() {
            let (name, url) = database::create(&server).await;
            place.env.insert("DATABASE_URL".into(), url);
            place.env.insert("JWT_SECRET_KEY".into(), "test-jwt-secret-0123456789abcdef0123456789".into());
            place.database = Some((server, name));
        }
        place
    }

    pub fn is_postgres(&self) -> bool {
        self.database.is_some()
    }

    /// Loads a SQL file into the place's database on PostgreSQL.
    pub fn load(&self, sql: &std::path::Path) {
        let url = &self.env["DATABASE_URL"];
        let loaded = std::process::Command::new("psql").args([url, "-qf"]).arg(sql).output().unwrap();
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    }

    /// A command of the program with these words.
    pub fn program(&self, words: &[&str]) -> Program {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trends-earth"));
        command.args(words).env_clear().envs(&self.env).current_dir(&self.folder).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Program { command, input: String::new() }
    }

    /// The same on the place's data folder.
    pub fn on_data(&self, words: &[&str]) -> Program {
        let mut program = self.program(words);
        program.command.arg("--data-dir").arg(&self.data);
        program
    }

    /// The URL of the database that the commands work on.
    pub fn url(&self) -> String {
        self.env.get("DATABASE_URL").cloned().unwrap_or_else(|| self.sqlite_url())
    }

    /// The URL of the SQLite file that a server on the place's data folder has.
    pub fn sqlite_url(&self) -> String {
        format!("sqlite://{}", self.data.join("trends-earth.db").display())
    }

    /// The database that the commands work on.
    pub async fn database(&self) -> Db {
        match self.env.get("DATABASE_URL") {
            Some(url) => Db::open(url, Duration::from_secs(10), 16).await.unwrap(),
            None => Db::open_sqlite(&self.data.join("trends-earth.db")).await.unwrap(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((server, name)) = &self.database {
            database::drop_later(server, name);
        }
        if std::thread::panicking() {
            eprintln!("the folder is kept: {}", self.folder.display());
        } else {
            let _ = remove_tree(&self.folder);
        }
    }
}

/// A command that has not been started yet.
pub struct Program {
    command: Command,
    input: String,
}

/// What a command has said, and how it ended.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub took: Duration,
}

impl Said {
    /// Checks the exit code and gives standard output.
    #[track_caller]
    pub fn ended(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        &self.out
    }

    /// Checks that the command failed with a sentence that holds this.
    #[track_caller]
    pub fn failed(&self, why: &str) {
        self.ended(1);
        assert!(self.err.contains(why), "{why:?} is not in: {}", self.err);
        assert!(!self.err.contains("panicked") && !self.err.contains("Caused by"), "{}", self.err);
    }
}

impl Program {
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What stands on standard input.
    pub fn input(mut self, text: &str) -> Self {
        self.input = text.to_owned();
        self
    }

    /// Runs to the end.
    pub async fn run(self) -> Said {
        self.start().await.end().await
    }

    pub async fn start(mut self) -> Running {
        let started = Instant::now();
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that does not ask may be gone already.
        let _ = stdin.write_all(self.input.as_bytes()).await;
        drop(stdin);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines, out: String::new(), started }
    }
}

/// A command at work.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it has said so far.
    pub out: String,
    pub started: Instant,
}

impl Running {
    /// Waits for a line with this text.
    pub async fn until(&mut self, text: &str) -> String {
        let found = tokio::time::timeout(PATIENCE, async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                self.out.push_str(&line);
                self.out.push('\n');
                if line.contains(text) {
                    return Some(line);
                }
            }
            None
        });
        match found.await {
            Ok(Some(line)) => line,
            _ => {
                let mut err = String::new();
                let _ = self.child.start_kill();
                let _ = self.child.stderr.take().unwrap().read_to_string(&mut err).await;
                panic!("{text:?} was not said: {}{err}", self.out);
            }
        }
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id() {
            kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
        }
    }

    pub async fn end(mut self) -> Said {
        let mut err = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        let said = async {
            while let Ok(Some(line)) = self.lines.next_line().await {
                self.out.push_str(&line);
                self.out.push('\n');
            }
        };
        let ended = tokio::time::timeout(PATIENCE, async {
            let _ = tokio::join!(said, stderr.read_to_string(&mut err));
            self.child.wait().await.unwrap()
        });
        let status = ended.await.expect("the command ends");
        Said { code: status.code(), out: self.out, err, took: self.started.elapsed() }
    }
}
