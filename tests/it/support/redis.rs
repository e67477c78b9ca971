//! A Redis of the test's own, on a port of this machine; it can hang, go away and come back.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{skip, until};

pub struct Redis {
    pub url: String,
    port: u16,
    folder: PathBuf,
    process: Option<Child>,
}

impl Redis {
    /// `None`, and the test is skipped, where `redis-server` is not installed.
    pub async fn start(test: &str) -> Option<Self> {
        if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
            skip(test, "redis-server is not installed");
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("te-test-redis-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&folder).unwrap();
        let mut redis = Redis { url: format!("redis://127.0.0.1:{port}"), port, folder, process: None };
        redis.come_back().await;
        Some(redis)
    }

    /// Starts it again, empty.
    pub async fn come_back(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &self.port.to_string()]);
        command.arg("--dir").arg(&self.folder).stdin(Stdio::null()).stdout(Stdio::null());
        self.process = Some(command.spawn().unwrap());
        until("Redis answers", async || self.try_ask(&["PING"]).await.is_ok()).await;
    }

    pub fn go_away(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Takes connections and says nothing.
    pub fn hang(&self) {
        let process = self.process.as_ref().unwrap().id();
        kill(Pid::from_raw(i32::try_from(process).unwrap()), Signal::SIGSTOP).unwrap();
    }

    /// One command, as its words.
    pub async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        redis::from_redis_value::<T>(self.try_ask(words).await.unwrap()).unwrap()
    }

    async fn try_ask(&self, words: &[&str]) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(self.url.as_str())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::Cmd::new();
        command.arg(words);
        command.query_async(&mut connection).await
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.go_away();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
