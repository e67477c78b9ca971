//! `GET /api/v1/execution/<id>/history`.

use serde_json::{Value, json};

use crate::support::{Package, Server};

/// Changes as from, to, cause.
fn changes(history: &Value) -> Value {
    let rows = history.as_array().unwrap().iter();
    json!(rows.map(|row| json!([row["status_from"], row["status_to"], row["cause"]])).collect::<Vec<_>>())
}

#[tokio::test]
async fn every_change_is_told_with_who_and_why() {
    let server = Server::start().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let slug = admin.publish_built(&Package::echo("Told")).await;
    admin.post_empty(&format!("/api/v1/script/{slug}/publish")).await.expect(200);
    let run = ada.finish(&slug, &json!({})).await;
    let path = format!("/api/v1/execution/{}/history", run["id"].as_str().unwrap());
    let history = ada.get(&path).await.data(200);
    let expected = json!([
        [null, "PENDING", "submitted"],
        ["PENDING", "READY", "dispatched"],
        ["READY", "RUNNING", "reported"],
        ["RUNNING", "FINISHED", "reported"],
    ]);
    assert_eq!(changes(&history), expected);
    let keys: Vec<&str> = history[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["actor", "at", "cause", "message", "status_from", "status_to"]);
    let me = ada.get("/api/v1/user/me").await.data(200);
    assert_eq!(history[0]["actor"], format!("user:{}", me["id"].as_str().unwrap()));
    assert!(history[1]["actor"].as_str().unwrap().starts_with("worker:"));
    assert!(history[1]["message"].as_str().unwrap().starts_with("attempt 1 on process:"), "{history:#}");
    assert_eq!((&history[0]["at"], &history[3]["at"]), (&run["start_date"], &run["end_date"]));
    assert!(history.as_array().unwrap().is_sorted_by_key(|row| row["at"].as_str()));
}
