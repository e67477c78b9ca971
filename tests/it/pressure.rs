//! Many at one time: what holds for one request holds for fifty, whatever they do to each other.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    api::executions::{cancel::ENDLESS, run::with_script},
    support::{Answer, Options, Package, Random, Server, setting},
};

/// Who hears that the server has too much to do at present asks again, as clients and containers do.
async fn heard(ask: impl AsyncFn() -> Answer) -> Answer {
    loop {
        let answer = ask().await;
        if answer.status != 503 {
            return answer;
        }
        assert_eq!(answer.headers["retry-after"], "1");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn of_fifty_submits_at_one_time_never_more_than_three_run_at_once_and_all_finish() {
    let server = Server::with(Options::default().set("TE_MAX_RUNS", 10)).await;
    if !server.has_sandbox().await {
        return;
    }
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let package = Package::echo("Echo").with("cpu_reservation", 1_000).with("memory_reservation", 1_000);
    let slug = admin.publish_built(&package).await;
    admin.post_empty(&format!("/api/v1/script/{slug}/publish")).await.expect(200);
    let submits = (0..50).map(|n| {
        let (ada, slug) = (ada.clone(), slug.clone());
        async move {
            let path = format!("/api/v1/script/{slug}/run");
            let answer = heard(async || ada.post(&path, &json!({"n": n})).await).await;
            answer.data(200)["id"].as_str().unwrap().to_owned()
        }
    });
    let runs = futures::future::join_all(submits).await;
    let mut moves: Vec<(String, i32)> = Vec::new();
    for run in &runs {
        assert_eq!(ada.ended(run).await["status"], "FINISHED");
        let history = ada.get(&format!("/api/v1/execution/{run}/history")).await.data(200);
        for change in history.as_array().unwrap() {
            let at = change["at"].as_str().unwrap().to_owned();
            match change["status_to"].as_str().unwrap() {
                "READY" => moves.push((at, 1)),
                "FINISHED" => moves.push((at, -1)),
                _ => {}
            }
        }
    }
    // An end and a begin of the same microsecond: the end came first.
    moves.sort();
    assert_eq!(moves.len(), 100);
    let (mut active, mut most) = (0, 0);
    for (_, change) in moves {
        active += change;
        most = most.max(active);
    }
    assert_eq!(most, 3);
}

#[tokio::test]
async fn a_run_is_cancelled_at_any_moment_of_its_life() {
    let server = Server::with(Options::default().set("TE_MAX_RUNS", 4)).await;
    if !server.has_sandbox().await {
        return;
    }
    let admin = server.admin().await;
    let package = |name| Package::new(name, ENDLESS).with("cpu_reservation", 1_000).with("memory_reservation", 1_000);
    let slug = admin.publish_built(&package("Endless")).await;
    let mut random = Random::new(11);
    let mut runs = Vec::new();
    for _ in 0..setting("TE_TEST_CANCELS", 10) {
        let run = admin.run(&slug, &json!({})).await;
        tokio::time::sleep(Duration::from_millis(random.below(700))).await;
        admin.post_empty(&format!("/api/v1/execution/{run}/cancel")).await.expect(202);
        runs.push(run);
    }
    for run in runs {
        assert_eq!(admin.ended(&run).await["status"], "CANCELLED");
        // One that was still waiting has none.
        if server.unit(&run).is_dir() {
            server.unit_is_gone(&run).await;
        }
        let history = admin.get(&format!("/api/v1/execution/{run}/history")).await.data(200);
        let ends = history.as_array().unwrap().iter().filter(|change| change["status_to"] == "CANCELLED");
        assert_eq!(ends.count(), 1, "{history:#}");
        let asked = "Cancellation requested by user".to_owned();
        assert_eq!(admin.log(&run).await.iter().filter(|line| **line == asked).count(), 1);
    }
    assert_eq!(server.rows("job WHERE state IN ('waiting', 'running')").await, 0);
}

#[tokio::test]
async fn readers_by_id_and_by_stream_miss_no_line_of_four_writers() {
    let (server, admin, ada) = with_script().await;
    let run = ada.run("echo", &json!({})).await;
    let path = format!("/api/v1/execution/{run}");
    let log = format!("{path}/log");
    let over = AtomicBool::new(false);
    let writers = async {
        let write = |writer: usize| {
            let (admin, log) = (admin.clone(), log.clone());
            async move {
                for n in 0..150 {
                    let line = json!({"text": format!("{writer}: {n}"), "level": "INFO"});
                    admin.post(&log, &line).await.expect(200);
                }
            }
        };
        futures::future::join_all((0..4).map(write)).await;
        over.store(true, Ordering::SeqCst);
        admin.patch(&path, &json!({"status": "FINISHED"})).await.expect(200);
    };
    let by_id = async {
        let (mut seen, mut last): (Vec<Value>, i64) = (Vec::new(), 0);
        loop {
            let complete = over.load(Ordering::SeqCst);
            let more = ada.get(&format!("{log}?last-id={last}")).await.data(200);
            for line in more.as_array().unwrap() {
                last = line["id"].as_i64().unwrap();
                seen.push(line.clone());
            }
            if complete && more.as_array().unwrap().is_empty() {
                return seen;
            }
        }
    };
    let stream = format!("{log}/stream");
    let by_stream = ada.events(&stream);
    let ((), by_id, by_stream) = tokio::join!(writers, by_id, by_stream);
    let whole = ada.get(&log).await.data(200);
    let by_stream: Vec<Value> = by_stream.into_iter().filter(|(name, _)| name == "log").map(|(_, line)| line).collect();
    assert_eq!(whole.as_array().unwrap().len(), 600);
    assert_eq!(json!(by_id), whole);
    assert_eq!(json!(by_stream), whole);
    let mut next: BTreeMap<String, usize> = BTreeMap::new();
    for line in whole.as_array().unwrap() {
        let (writer, n) = line["text"].as_str().unwrap().split_once(": ").unwrap();
        let expected = next.entry(writer.to_owned()).or_default();
        assert_eq!(n.parse::<usize>().unwrap(), *expected, "the lines of one writer stay in order");
        *expected += 1;
    }
    drop(server);
}

#[tokio::test]
async fn two_hundred_containers_that_sign_in_before_every_word_starve_nobody() {
    let server = Server::with(Options::default().without_worker().set("RATE_LIMITING_ENABLED", true)).await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    admin.publish(&Package::echo("Echo")).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let first = admin.run("echo", &json!({})).await;
    let mut runs = vec![first.clone()];
    for _ in 1..setting("TE_TEST_CONTAINERS", 30) {
        runs.push(admin.run("echo", &json!({})).await);
    }
    for run in &runs {
        server.lend(run, 1, "a secret of the run").await;
    }
    let containers = runs.iter().map(|run| {
        let (server, path) = (&server, format!("/api/v1/execution/{run}"));
        async move {
            let again = async || {
                let body = json!({"email": format!("execution-{run}"), "password": "a secret of the run"});
                let session = heard(async || server.anonymous().post("/auth", &body).await).await.expect(200);
                server.anonymous().with_token(session["access_token"].as_str().unwrap().to_owned())
            };
            let says = async |word: &Value| {
                let container = again().await;
                heard(async || container.patch(&path, word).await).await.expect(200);
            };
            says(&json!({"status": "RUNNING"})).await;
            for n in 0..3 {
                let line = json!({"text": format!("word {n}"), "level": "WARN"});
                let container = again().await;
                heard(async || container.post(&format!("{path}/log"), &line).await).await.expect(200);
            }
            says(&json!({"status": "FINISHED", "results": {"a": 1}})).await;
        }
    });
    let over = AtomicBool::new(false);
    let others = async {
        let mut served = 0;
        while !over.load(Ordering::SeqCst) {
            heard(async || ada.get("/api/v1/execution/user?page=1").await).await.expect(200);
            served += 1;
            // Within the hour's limit, however long many containers take.
            tokio::time::sleep(Duration::from_millis(10 * runs.len() as u64)).await;
        }
        served
    };
    let crowd = async {
        futures::future::join_all(containers).await;
        over.store(true, Ordering::SeqCst);
    };
    let ((), served) = tokio::join!(crowd, others);
    assert!(served > 0);
    for run in &runs {
        assert_eq!(admin.get(&format!("/api/v1/execution/{run}")).await.data(200)["status"], "FINISHED");
        assert_eq!(admin.log(run).await, ["word 0", "word 1", "word 2"]);
    }
}
