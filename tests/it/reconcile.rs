//! Runs that nobody drives, and what is kept of those that have ended.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Options, Package, Server, until};

const SLOW: &str = r#"import time
def run(params, logger):
    for tile in range(params["n"]):
        logger.info("tile %d" % tile)
        time.sleep(0.1)
    return {"tiles": params["n"]}
"#;

#[tokio::test]
async fn a_run_whose_job_is_lost_is_driven_again_and_ends_with_the_truth_while_those_of_others_stay() {
    let server = Server::start().await;
    if !server.has_sandbox().await {
        return;
    }
    let admin = server.admin().await;
    let slug = admin.publish_built(&Package::new("Slow", SLOW)).await;
    // What the existing server has under way is not ours to judge.
    let script = admin.get(&format!("/api/v1/script/{slug}")).await.data(200)["id"].clone();
    let owner = admin.get("/api/v1/user/me").await.data(200)["id"].clone();
    let (script, owner) = (script.as_str().unwrap(), owner.as_str().unwrap());
    for chunk in 0..20 {
        let rows: Vec<String> = (0..500)
            .map(|n| {
                format!("('{}', '2025-01-01 00:00:00', 'RUNNING', 5, '{script}', '{owner}')", uuid(chunk * 500 + n))
            })
            .collect();
        let rows = rows.join(", ");
        server
            .execute(&format!(
                "INSERT INTO execution (id, start_date, status, progress, script_id, user_id) VALUES {rows}"
            ))
            .await;
    }
    let run = admin.run(&slug, &json!({"n": 120})).await;
    admin.said(&run, "tile 3").await;
    let lost = admin.run(&slug, &json!({"n": 1000})).await;
    admin.said(&lost, "tile 3").await;
    // One loses its job, the other its job and its place.
    server.execute(&format!("DELETE FROM job WHERE subject_id IN ('{run}', '{lost}')")).await;
    server
        .execute(&format!("UPDATE execution_run SET scope = 'process:elsewhere' WHERE execution_id = '{lost}'"))
        .await;

    let ended = admin.ended(&run).await;
    assert_eq!((&ended["status"], &ended["results"]), (&json!("FINISHED"), &json!({"tiles": 120})));
    let tiles: Vec<String> = (0..120).map(|n| format!("tile {n}")).collect();
    assert_eq!(
        admin.log(&run).await.iter().filter(|line| line.starts_with("tile")).cloned().collect::<Vec<_>>(),
        tiles
    );
    let ended = admin.ended(&lost).await;
    assert_eq!((&ended["status"], &ended["failure"]["class"]), (&json!("FAILED"), &json!("infrastructure")));
    assert_eq!(admin.log(&lost).await.last().unwrap(), ended["failure"]["message"].as_str().unwrap());
    assert_eq!(server.rows("execution WHERE status = 'RUNNING' AND progress = 5 AND end_date IS NULL").await, 10_000);
    assert_eq!(server.rows("execution_log").await as usize, admin.log(&run).await.len() + admin.log(&lost).await.len());
}

/// An id of its own for each number.
fn uuid(n: usize) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

#[tokio::test]
async fn logs_results_and_folders_go_when_their_time_is_over_and_not_before() {
    let options = Options::default().set("TE_LOGS_DAYS", 30).set("TE_RESULTS_DAYS", 60).set("TE_KEEP_RUNS_S", 3_600);
    let mut server = Server::with(options).await;
    if !server.has_sandbox().await {
        return;
    }
    let mut admin = server.admin().await;
    let slug = admin.publish_built(&Package::new("Slow", SLOW)).await;
    let mut runs = Vec::new();
    for _ in 0..3 {
        let run = admin.run(&slug, &json!({"n": 2})).await;
        admin.ended(&run).await;
        runs.push(run);
    }
    for (run, end) in [(&runs[1], "2026-10-01 00:00:00"), (&runs[2], "2026-01-01 00:00:00")] {
        server.execute(&format!("UPDATE execution SET end_date = '{end}' WHERE id = '{run}'")).await;
    }
    server.stop();
    server.restart().await;
    admin = server.moved(&admin);
    let gone = format!("/api/v1/execution/{}/download-results", runs[2]);
    until("what is old is gone", async || {
        let no_results = admin.get(&gone).await.status == 410;
        no_results && admin.log(&runs[1]).await.is_empty() && !server.unit(&runs[1]).is_dir()
    })
    .await;
    assert_eq!(admin.get(&format!("/api/v1/execution/{}", runs[2])).await.data(200)["results"], Value::Null);
    assert_eq!(admin.log(&runs[2]).await, Vec::<String>::new());
    let between = admin.get(&format!("/api/v1/execution/{}", runs[1])).await.data(200);
    assert_eq!(between["results"], json!({"tiles": 2}));
    assert_eq!((admin.log(&runs[0]).await.len() >= 2, server.unit(&runs[0]).is_dir()), (true, true));
}

#[tokio::test]
async fn a_full_cache_lets_go_what_was_used_longest_ago_and_makes_it_again_when_it_is_needed() {
    let mut server = Server::with(Options::default().set("TE_CACHE_MAX_BYTES", 0)).await;
    if !server.has_sandbox().await {
        return;
    }
    let mut admin = server.admin().await;
    let slug = admin.publish_built(&Package::new("Slow", SLOW)).await;
    let versions = |server: &Server| -> Vec<PathBuf> {
        let found = server.files(&["versions"]).into_iter();
        found.filter(|path| path.parent().is_some_and(|parent| parent.ends_with("versions"))).collect()
    };
    let unpacked = versions(&server);
    assert_eq!(unpacked.len(), 1, "what was used within the hour stays");
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7_200);
    std::fs::File::open(&unpacked[0]).unwrap().set_modified(long_ago).unwrap();
    server.stop();
    server.restart().await;
    admin = server.moved(&admin);
    until("the version is gone", async || versions(&server).is_empty()).await;
    assert_eq!(admin.finish(&slug, &json!({"n": 1})).await["results"], json!({"tiles": 1}));
}
