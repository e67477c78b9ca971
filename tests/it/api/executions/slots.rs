//! How many runs of one user run at one time, and what the others are told.

use serde_json::json;

use super::cancel::with_endless;
use crate::support::{Options, Package, Server};

#[tokio::test]
async fn of_five_runs_of_a_user_three_run_two_wait_with_a_reason_and_then_all_finish() {
    let server = Server::with(Options::default().set("TE_MAX_RUNS", 10)).await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    // Each waits for a word in its log that only the test can say: no clock decides who is first.
    let main = "import os, time\ndef run(params, logger):\n    logger.info('begun')\n    while not os.path.exists('/script/go'):\n        time.sleep(0.05)\n    return {'n': params['n']}\n";
    let package = Package::new("Slow", main).with("cpu_reservation", 1_000).with("memory_reservation", 1_000);
    let slug = admin.publish_built(&package).await;
    admin.post_empty(&format!("/api/v1/script/{slug}/publish")).await.expect(200);
    let mut runs = Vec::new();
    for n in 0..5 {
        runs.push(ada.run(&slug, &json!({"n": n})).await);
    }
    for id in &runs[..3] {
        ada.said(id, "begun").await;
    }
    for (n, id) in runs[3..].iter().enumerate() {
        let run = ada.get(&format!("/api/v1/execution/{id}")).await.data(200);
        assert_eq!((&run["status"], &run["queued_at"]), (&json!("PENDING"), &run["start_date"]));
        let queue = json!({"ahead": n, "position": n + 1, "reason": "user_limit", "waiting_since": run["start_date"],
            "message": "3 of your 3 runs are active; the next one starts when one ends."});
        assert_eq!(run["queue"], queue);
    }
    let list = ada.get("/api/v1/execution?include=queue&status=PENDING").await.data(200);
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert!(list.as_array().unwrap().iter().all(|run| run["queue"]["reason"] == "user_limit"));
    // An administrator does not wait behind them.
    let own = admin.run(&slug, &json!({"n": 9})).await;
    admin.said(&own, "begun").await;
    for version in server.files(&["versions"]).iter().filter(|path| path.ends_with("src/main.py")) {
        std::fs::write(version.parent().unwrap().parent().unwrap().join("go"), "").unwrap();
    }
    for (n, id) in runs.iter().enumerate() {
        let run = ada.ended(id).await;
        assert_eq!((&run["status"], &run["results"]), (&json!("FINISHED"), &json!({"n": n})), "{run:#}");
        assert!(run.get("queue").is_none());
    }
    assert_eq!(admin.ended(&own).await["status"], "FINISHED");
}

#[tokio::test]
async fn the_limit_of_the_account_counts_before_the_setting() {
    let (server, _, ada, slug) = with_endless().await;
    server.execute("UPDATE \"user\" SET max_concurrent_executions = 1 WHERE email = 'ada@example.org'").await;
    let (first, second) = (ada.run(&slug, &json!({})).await, ada.run(&slug, &json!({})).await);
    ada.said(&first, "begun").await;
    let queue = ada.get(&format!("/api/v1/execution/{second}")).await.data(200)["queue"].clone();
    assert_eq!(queue["message"], "1 of your 1 runs are active; the next one starts when one ends.");
    ada.post_empty(&format!("/api/v1/execution/{first}/cancel")).await.expect(202);
    ada.said(&second, "begun").await;
    ada.post_empty(&format!("/api/v1/execution/{second}/cancel")).await.expect(202);
    ada.ended(&second).await;
}

#[tokio::test]
async fn a_full_queue_is_said_with_the_time_to_wait() {
    let server = Server::with(Options::default().without_worker().set("TE_MAX_WAITING_PER_USER", 2)).await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    admin.publish(&Package::echo("Echo")).await;
    admin.post_empty("/api/v1/script/echo/publish").await.expect(200);
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    ada.run("echo", &json!({})).await;
    ada.run("echo", &json!({})).await;
    let answer = ada.post("/api/v1/script/echo/run", &json!({})).await;
    answer.refused(429, "2 of your runs are waiting already; start more when some have begun.");
    assert_eq!(
        (answer.json()["error_code"].as_str(), &answer.headers["retry-after"]),
        (Some("queue_full"), &"60".parse().unwrap())
    );
    assert_eq!(server.rows("execution").await, 2);
}
