//! What clients were told, held against what became of it. Everything that does not fit is reported at once, with the
//! seed, the kills and the history of the runs concerned.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    sync::Mutex,
    time::{Duration, Instant},
};

use serde_json::Value;
use trends_earth::{engine::process::keeper, reading, store::Id};

use crate::support::{Client, PATIENCE, Server};

/// What was promised during one test.
pub struct Ledger {
    seed: u64,
    begun: Instant,
    kills: Mutex<Vec<(Duration, chrono::NaiveDateTime)>>,
    runs: Mutex<BTreeMap<String, bool>>,
    scripts: Mutex<BTreeSet<String>>,
    summary: Mutex<BTreeMap<String, usize>>,
}

/// One run as the server tells it in the end.
struct Run {
    id: String,
    execution: Value,
    history: Vec<Value>,
    log: Vec<String>,
}

impl Ledger {
    pub fn new(seed: u64) -> Self {
        Ledger {
            seed,
            begun: Instant::now(),
            kills: Mutex::default(),
            runs: Mutex::default(),
            scripts: Mutex::default(),
            summary: Mutex::default(),
        }
    }

    pub fn accepted_run(&self, id: &str) {
        self.runs.lock().unwrap().insert(id.to_owned(), false);
    }

    pub fn asked_to_cancel(&self, id: &str) {
        self.runs.lock().unwrap().insert(id.to_owned(), true);
    }

    pub fn accepted_script(&self, slug: &str) {
        self.scripts.lock().unwrap().insert(slug.to_owned());
    }

    pub fn killed(&self) {
        let now = chrono::DateTime::<chrono::Utc>::from(std::time::SystemTime::now()).naive_utc();
        self.kills.lock().unwrap().push((self.begun.elapsed(), now));
    }

    /// Waits until the queue is empty.
    pub async fn until_all_jobs_are_done(&self, server: &Server) {
        let begun = Instant::now();
        loop {
            let left: Vec<(String, Id, String)> = reading!(&server.app.db, |on| sqlx::query_as(
                "SELECT kind, subject_id, state FROM job WHERE state IN ('waiting', 'running')"
            )
            .fetch_all(on)
            .await)
            .unwrap();
            if left.is_empty() {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{}\nthese jobs never end: {left:#?}", self.told());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// How many ended how.
    pub fn summary(&self) -> String {
        let (runs, scripts) = (self.runs.lock().unwrap().len(), self.scripts.lock().unwrap().len());
        format!("{runs} runs and {scripts} scripts were accepted; {:?}", self.summary.lock().unwrap())
    }

    /// Checks every run and every script of the database, and that none that was accepted is missing.
    pub async fn check(&self, server: &Server) {
        let admin = server.admin().await;
        let mut wrong = self.wrong_runs(server, &admin).await;
        wrong.extend(self.wrong_scripts(&admin).await);
        let log = server.log();
        // A server that was frozen finds its time limits passed; a job that it gives up then is claimed again.
        let excused = |line: &str| line.contains("a job was given up") && line.contains("pool timed out");
        let errors = log.lines().filter(|line| line.contains(r#""level":"ERROR""#) || line.contains("panicked"));
        wrong.extend(errors.filter(|line| !excused(line)).map(|line| format!("the server logged: {line}")));
        server.may_log_errors();
        println!("{}", self.summary());
        assert!(wrong.is_empty(), "{}\n{}", self.told(), wrong.join("\n"));
    }

    async fn wrong_runs(&self, server: &Server, admin: &Client) -> Vec<String> {
        let mut wrong = Vec::new();
        let ids: Vec<Id> =
            reading!(&server.app.db, |on| sqlx::query_scalar("SELECT id FROM execution ORDER BY start_date")
                .fetch_all(on)
                .await)
            .unwrap();
        let ids: BTreeSet<String> = ids.iter().map(Id::to_string).collect();
        let accepted = self.runs.lock().unwrap().clone();
        for id in accepted.keys().filter(|id| !ids.contains(*id)) {
            wrong.push(format!("run {id} was accepted and is not there"));
        }
        for id in &ids {
            let run = Run::read(admin, id).await;
            let status = run.status().to_owned();
            let mut faults = run.faults(accepted.get(id).copied().unwrap_or(false));
            faults.extend(self.infrastructure_faults(server, &run));
            let folder = server.folder.join("runs").join(id);
            if keeper::is_alive(&folder) {
                faults.push("its keeper lives".into());
            }
            if !faults.is_empty() {
                wrong.push(format!("run {id}: {}\n{}", faults.join("; "), run.told()));
            }
            *self.summary.lock().unwrap().entry(status).or_default() += 1;
        }
        wrong
    }

    async fn wrong_scripts(&self, admin: &Client) -> Vec<String> {
        let mut wrong = Vec::new();
        let scripts = admin.get("/api/v1/script").await.data(200);
        let scripts: BTreeMap<&str, &str> = scripts
            .as_array()
            .unwrap()
            .iter()
            .map(|script| (script["slug"].as_str().unwrap(), script["status"].as_str().unwrap()))
            .collect();
        for slug in self.scripts.lock().unwrap().iter().filter(|slug| !scripts.contains_key(slug.as_str())) {
            wrong.push(format!("script {slug} was accepted and is not there"));
        }
        for (slug, status) in scripts {
            if status != "SUCCESS" {
                let log = admin.built(slug).await.1;
                wrong.push(format!("script {slug} is {status}: {log:#?}"));
            }
            *self.summary.lock().unwrap().entry(format!("script {status}")).or_default() += 1;
        }
        wrong
    }

    /// A run may only fail because the server was killed between READY and the start of the unit.
    fn infrastructure_faults(&self, server: &Server, run: &Run) -> Vec<String> {
        if run.status() != "FAILED" {
            return Vec::new();
        }
        let mut faults = Vec::new();
        let at = |status: &str| {
            let event = run.history.iter().find(|event| event["status_to"] == status)?;
            event["at"].as_str()?.parse::<chrono::NaiveDateTime>().ok()
        };
        let (Some(ready), Some(failed)) = (at("READY"), at("FAILED")) else { return vec!["it was never READY".into()] };
        let kills = self.kills.lock().unwrap();
        if !kills.iter().any(|(_, kill)| (ready..=failed).contains(kill)) {
            faults.push("it failed although nothing was killed between READY and FAILED".into());
        }
        if run.execution["failure"]["class"] != "infrastructure" {
            faults.push(format!("its failure is {}", run.execution["failure"]));
        }
        if run.log.iter().any(|line| line.starts_with("started")) {
            faults.push("it failed although its unit had started".into());
        }
        if server.folder.join("runs").join(&run.id).join("exit.json").exists() {
            faults.push("it failed as lost, but its unit has left word of its end".into());
        }
        faults
    }

    fn told(&self) -> String {
        let kills: Vec<String> =
            self.kills.lock().unwrap().iter().map(|(after, at)| format!("{after:.1?} ({at})")).collect();
        format!("TE_TEST_SEED={}; killed after {}", self.seed, kills.join(", "))
    }
}

impl Run {
    async fn read(admin: &Client, id: &str) -> Self {
        let execution = admin.get(&format!("/api/v1/execution/{id}")).await.data(200);
        let history = admin.get(&format!("/api/v1/execution/{id}/history")).await.data(200);
        Run { id: id.to_owned(), execution, history: history.as_array().unwrap().clone(), log: admin.log(id).await }
    }

    fn status(&self) -> &str {
        self.execution["status"].as_str().unwrap()
    }

    /// What is wrong with it, apart from how it failed.
    fn faults(&self, cancelled: bool) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, fault: &str| {
            if !holds {
                faults.push(fault.to_owned());
            }
        };
        let count = |status: &str| self.history.iter().filter(|event| event["status_to"] == status).count();
        for status in ["PENDING", "READY", "RUNNING", "CANCELLING", "FINISHED", "FAILED", "CANCELLED"] {
            must(count(status) <= 1, &format!("it became {status} more than once"));
        }
        must(count("FINISHED") + count("FAILED") + count("CANCELLED") == 1, "it has not exactly one end");
        let ready = self.history.iter().find(|event| event["status_to"] == "READY");
        let message = ready.and_then(|event| event["message"].as_str());
        must(message.is_none_or(|text| text.starts_with("attempt 1 on ")), "it is not the first attempt");
        let tokens: Vec<&str> = self.log.iter().filter_map(|line| line.strip_prefix("started ")).collect();
        must(tokens.len() <= 1, "it started more than once");
        let lines: Vec<&str> = self.log.iter().filter_map(|line| line.strip_prefix("line ")).collect();
        let in_order = lines.iter().enumerate().all(|(n, line)| *line == n.to_string());
        must(in_order, "its lines are not in order, each once");
        match self.status() {
            "FINISHED" => {
                must(self.execution["params"]["lines"] == lines.len(), "it has not every line");
                must(
                    tokens == [self.execution["results"]["token"].as_str().unwrap_or("none")],
                    "its result is not its own",
                );
                // Once somebody has asked for the end, the beginning is no change any more.
                must(count("RUNNING") + count("CANCELLING") >= 1, "it finished without ever running");
            }
            "CANCELLED" => must(cancelled, "it was cancelled although nobody asked"),
            "FAILED" => must(lines.is_empty(), "it failed in its middle"),
            other => must(false, &format!("it is still {other}")),
        }
        faults
    }

    fn told(&self) -> String {
        let mut text = String::new();
        for event in &self.history {
            let _ =
                writeln!(text, "    {} {} {} {}", event["at"], event["status_to"], event["cause"], event["message"]);
        }
        let _ = writeln!(text, "    failure: {}", self.execution["failure"]);
        let _ = write!(text, "    log: {:?}", self.log);
        text
    }
}
