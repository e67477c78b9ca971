//! Nothing that was accepted is lost or done twice, whenever the server dies: the server is killed at random moments
//! while clients go on, and what the database and the units say in the end is held against what was promised.

mod ledger;
mod moments;
mod nodes;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::json;
use tokio::sync::watch;

use crate::support::{Client, Options, Package, Random, Server, setting};
use ledger::Ledger;

/// Says who it is, then numbered lines with pauses, and returns who it is.
const COUNTING: &str = r#"
import time, uuid

def run(params, logger):
    token = uuid.uuid4().hex
    logger.info("started " + token)
    for n in range(params["lines"]):
        logger.info("line %d" % n)
        logger.send_progress(100 * n / params["lines"])
        time.sleep(params["pause_s"])
    return {"token": token}
"#;

/// Clients that know where the server is at present, and go on when it is away.
#[derive(Clone)]
struct Crowd {
    admin: Client,
    base: watch::Receiver<String>,
    ledger: Arc<Ledger>,
    script: String,
}

impl Crowd {
    fn client(&self) -> Client {
        Client { base: self.base.borrow().clone(), ..self.admin.clone() }
    }

    /// Submits runs until the kills are over, and asks for the end of some.
    async fn submit(self, mut random: Random) {
        let over = |crowd: &Self| crowd.base.has_changed().is_err();
        while !over(&self) {
            let params = json!({"lines": 10 + random.below(25), "pause_s": 0.02 + 0.001 * random.below(80) as f64});
            let client = self.client();
            let path = format!("/api/v1/script/{}/run", self.script);
            if let Ok(answer) = client.try_send(client.request(Method::POST, &path).json(&params)).await {
                let id = answer.data(200)["id"].as_str().unwrap().to_owned();
                self.ledger.accepted_run(&id);
                if random.below(6) == 0 {
                    tokio::time::sleep(Duration::from_millis(random.below(2_500))).await;
                    let client = self.client();
                    let path = format!("/api/v1/execution/{id}/cancel");
                    if let Ok(answer) = client.try_send(client.request(Method::POST, &path)).await {
                        // Refused with 400 if it has ended meanwhile.
                        assert!([202, 400].contains(&answer.status), "{} {}", answer.status, answer.json());
                    }
                    self.ledger.asked_to_cancel(&id);
                }
            }
            tokio::time::sleep(Duration::from_millis(400 + random.below(900))).await;
        }
    }

    /// Uploads scripts until the kills are over.
    async fn upload(self, mut random: Random) {
        let mut number = 0;
        while self.base.has_changed().is_ok() {
            number += 1;
            let package = Package::echo(&format!("upload {number}"));
            let client = self.client();
            let request = client.uploading(Method::POST, "/api/v1/script", "script.tar.gz", package.pack());
            if let Ok(answer) = client.try_send(request).await {
                self.ledger.accepted_script(answer.data(200)["slug"].as_str().unwrap());
            }
            tokio::time::sleep(Duration::from_millis(2_500 + random.below(3_000))).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_whenever_the_server_is_killed() {
    let seed = setting("TE_TEST_SEED", uuid::Uuid::new_v4().as_u128() as u64);
    let kills = setting("TE_TEST_KILLS", 12);
    let mut random = Random::new(seed);
    let mut server = Server::with(Options::default().set("TE_MAX_RUNS", 6).set("TE_MAX_BUILDS", 2)).await;
    let admin = server.admin().await;
    let script = admin.publish_built(&Package::new("counting", COUNTING)).await;
    let ledger = Arc::new(Ledger::new(seed));
    let (base, present) = watch::channel(server.base.clone());
    let crowd = Crowd { admin, base: present, ledger: ledger.clone(), script };
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..2 {
        clients.spawn(crowd.clone().submit(Random::new(seed.wrapping_add(n + 1))));
    }
    clients.spawn(crowd.clone().upload(Random::new(seed.wrapping_sub(1))));
    for _ in 0..kills {
        // Now and then so early that not even the sandbox has been tried.
        let most = if random.below(4) == 0 { 300 } else { 2_500 };
        tokio::time::sleep(Duration::from_millis(random.below(most))).await;
        server.kill();
        ledger.killed();
        server.restart().await;
        base.send_replace(server.base.clone());
    }
    let last = Instant::now();
    drop(base);
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    ledger.until_all_jobs_are_done(&server).await;
    println!("seed {seed}: {kills} kills, then {:?} until all was done; {}", last.elapsed(), ledger.summary());
    ledger.check(&server).await;
}
