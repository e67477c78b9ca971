//! `DELETE /api/v1/script/<s>`.

use serde_json::json;

use crate::support::{Package, Server, until};

#[tokio::test]
async fn only_administrators_delete_and_the_script_is_answered_as_it_was() {
    let server = Server::api_only().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let script = admin.publish(&Package::echo("Gone")).await;
    ada.delete("/api/v1/script/gone").await.refused(403, "Forbidden");
    server.anonymous().delete("/api/v1/script/gone").await.expect(401);
    assert_eq!(admin.delete("/api/v1/script/gone").await.data(200), script);
    for path in ["/api/v1/script/gone", &format!("/api/v1/script/{}", script["id"].as_str().unwrap())] {
        let answer = admin.delete(path).await;
        answer.refused(404, &format!("Script with id {} does not exist", path.rsplit('/').next().unwrap()));
        admin.get(path).await.expect(404);
    }
}

#[tokio::test]
async fn with_a_script_go_its_runs_logs_versions_and_archives_and_nothing_else() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let keeper = admin.publish_built(&Package::echo("Stays")).await;
    let kept = admin.finish(&keeper, &json!({})).await;
    let before = server.files(&["objects"]);
    let mut rows = Vec::new();
    let tables = [
        "script",
        "script_log",
        "script_version",
        "execution",
        "execution_log",
        "execution_run",
        "execution_flag",
        "execution_event",
        "execution_credential",
    ];
    for table in tables {
        rows.push((table, server.rows(table).await));
    }
    let slug = admin.publish_built(&Package::echo("Goes")).await;
    let path = format!("/api/v1/script/{slug}");
    let archive = Package::echo("Goes").file("x", "2").pack();
    admin.upload(reqwest::Method::PATCH, &path, "x.tar.gz", archive).await.expect(200);
    let run = admin.finish(&slug, &json!({"a": 1})).await;
    assert_eq!(run["status"], "FINISHED");
    admin.built(&slug).await;
    admin.delete(&path).await.expect(200);
    for (table, n) in rows {
        assert_eq!(server.rows(table).await, n, "{table}");
    }
    let files = |all: Vec<std::path::PathBuf>| all.into_iter().filter(|path| path.is_file()).collect::<Vec<_>>();
    assert_eq!(files(server.files(&["objects"])), files(before));
    let id = run["id"].as_str().unwrap();
    for path in ["", "/log", "/log/stream", "/history", "/download-results"] {
        admin.get(&format!("/api/v1/execution/{id}{path}")).await.refused(404, "Ticket Not Found");
    }
    let list = admin.get("/api/v1/execution?per_page=10").await.expect(200);
    assert_eq!((&list["total"], &list["data"][0]["id"]), (&json!(1), &kept["id"]));
}

#[tokio::test]
async fn deleting_a_script_ends_its_running_and_its_waiting_runs() {
    let server = Server::start().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let forever = "import time\ndef run(params, logger):\n    logger.info('begun')\n    time.sleep(600)\n";
    let slug = admin.publish_built(&Package::new("Endless", forever)).await;
    admin.post_empty(&format!("/api/v1/script/{slug}/publish")).await.expect(200);
    server.execute("UPDATE \"user\" SET max_concurrent_executions = 1 WHERE email = 'ada@example.org'").await;
    let (running, waiting) = (ada.run(&slug, &json!({})).await, ada.run(&slug, &json!({})).await);
    ada.said(&running, "begun").await;
    assert_eq!(ada.get(&format!("/api/v1/execution/{waiting}")).await.data(200)["status"], "PENDING");
    admin.delete(&format!("/api/v1/script/{slug}")).await.expect(200);
    server.unit_is_gone(&running).await;
    // The worker is free again, and the slot too.
    let slug = admin.publish_built(&Package::echo("Next")).await;
    admin.post_empty(&format!("/api/v1/script/{slug}/publish")).await.expect(200);
    assert_eq!(ada.finish(&slug, &json!({})).await["status"], "FINISHED");
    until("every job is done", async || server.rows("job WHERE state IN ('waiting', 'running')").await == 0).await;
}
