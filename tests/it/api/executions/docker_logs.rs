//! `GET /api/v1/execution/<id>/docker-logs` and `…/batch-logs`.

use serde_json::json;

use crate::support::{Package, Server};

const MISSING: &str = "Logs not found for execution";

#[tokio::test]
async fn the_last_lines_that_a_run_printed_are_kept_with_its_end() {
    let server = Server::start().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let prints = "import sys\ndef run(params, logger):\n    for i in range(1500):\n        print('line', i)\n    print('t\\u00fcr', file=sys.stderr)\n    raise ValueError('broken')\n";
    let slug = admin.publish_built(&Package::new("Prints", prints)).await;
    let run = admin.finish(&slug, &json!({})).await;
    assert_eq!(run["status"], json!("FAILED"));
    let path = format!("/api/v1/execution/{}/docker-logs", run["id"].as_str().unwrap());
    let lines = admin.get(&path).await.data(200);
    let lines = lines.as_array().unwrap();
    assert_eq!(lines.len(), 1_000, "{:?}", lines.last());
    let keys: Vec<&str> = lines[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["created_at", "id", "text"]);
    assert!(lines.iter().enumerate().all(|(at, line)| line["id"] == json!(at)));
    assert!(lines[0]["created_at"].as_str().unwrap().ends_with('Z'));
    let texts: Vec<&str> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert!(texts.contains(&"line 1499") && texts.contains(&"tür"), "{:?}", &texts[980..]);
    assert!(!texts.contains(&"line 0"));

    ada.get(&path).await.refused(403, "Forbidden");
    let batch = path.replace("docker", "batch");
    ada.get(&batch).await.refused(403, "Forbidden");
    admin.get(&batch).await.refused(404, MISSING);
    // They go with the execution.
    admin.delete(&format!("/api/v1/script/{slug}")).await.expect(200);
    admin.get(&path).await.refused(404, MISSING);
}

#[tokio::test]
async fn where_nothing_was_printed_yet_nothing_is_found() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    admin.publish(&Package::echo("echo")).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let run = admin.run("echo", &json!({})).await;
    admin.get(&format!("/api/v1/execution/{run}/docker-logs")).await.refused(404, MISSING);
    admin.get(&format!("/api/v1/execution/{}/docker-logs", uuid::Uuid::new_v4())).await.refused(404, MISSING);
    for page in ["docker-logs", "batch-logs"] {
        admin.get(&format!("/api/v1/execution/garbage/{page}")).await.expect(404);
    }
}
