//! A PostgreSQL of the test's own, on a port of this machine; it can be killed and come back with what it had.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{Connection, PgConnection};

use super::{is_root, skip, until};

pub struct Postgres {
    pub url: String,
    port: u16,
    folder: PathBuf,
    programs: PathBuf,
    process: Option<Child>,
}

impl Postgres {
    /// `None`, and the test is skipped, where PostgreSQL is not installed.
    pub async fn start(test: &str) -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let Some(programs) = versions.map(|version| version.path().join("bin")).find(|bin| bin.join("initdb").exists())
        else {
            skip(test, "PostgreSQL is not installed");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        // Not in the folder of other tests: PostgreSQL's own account must reach it, and a socket's path is short.
        let folder = PathBuf::from(format!("/tmp/te-test-pg-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&folder).unwrap();
        let url = format!("postgresql://postgres:x@127.0.0.1:{port}/postgres");
        let mut postgres = Postgres { url, port, folder, programs, process: None };
        if is_root() {
            let given = Command::new("chown").arg("postgres").arg(&postgres.folder).status().unwrap();
            assert!(given.success());
        }
        let mut make = postgres.program("initdb");
        make.arg("-D").arg(postgres.folder.join("data")).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]);
        assert!(make.stdout(Stdio::null()).status().unwrap().success());
        postgres.come_back().await;
        Some(postgres)
    }

    /// One of its programs; PostgreSQL refuses to work for root.
    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        if !is_root() {
            return Command::new(path);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", "--"]).arg(path);
        command
    }

    /// Starts it, and again if what was left of the last one is in the way; waits until it answers.
    pub async fn come_back(&mut self) {
        let (url, folder) = (self.url.clone(), self.folder.clone());
        until("PostgreSQL answers", async || {
            if self.process.as_mut().is_none_or(|process| process.try_wait().unwrap().is_some()) {
                self.process = Some(self.spawn(&folder));
            }
            PgConnection::connect(&url).await.is_ok()
        })
        .await;
    }

    fn spawn(&self, folder: &Path) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let mut command = self.program("postgres");
        command.arg("-D").arg(folder.join("data")).args(["-p", &self.port.to_string(), "-k"]).arg(folder);
        command.args(["-c", "fsync=off", "-c", "full_page_writes=off"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// Sends a signal to all of its processes: `SIGSTOP` lets it stand still as on a machine that is frozen.
    pub fn signal(&self, signal: Signal) {
        let own = self.process.as_ref().unwrap().id();
        let children = std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap();
        for pid in children.split_whitespace().map(|pid| pid.parse().unwrap()).chain([own.cast_signed()]) {
            // One that has ended meanwhile needs none.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Kills it as `kill -9` does.
    pub fn go_away(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.go_away();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
