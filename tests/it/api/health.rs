//! `/api-health` and `/ping`.

use reqwest::Method;
use serde_json::json;

use crate::support::{Options, Server, json_type};

#[tokio::test]
async fn a_server_says_that_it_is_healthy() {
    let server = Server::api_only().await;
    let answer = server.anonymous().get("/api-health").await;
    let body = answer.expect(200);
    assert_eq!((body["status"].as_str(), body["database"].as_str()), (Some("ok"), Some("healthy")));
    assert_eq!(body["version"], "1.0");
    assert!(body["timestamp"].as_str().unwrap().ends_with("+00:00"));
    assert_eq!(json_type(&body["timestamp"]), "string");
}

#[tokio::test]
async fn an_unknown_route_is_answered_in_json() {
    let server = Server::api_only().await;
    let body = server.anonymous().get("/api/v1/nothing").await.expect(404);
    assert_eq!(body, serde_json::json!({"status": 404, "detail": "Not Found", "error_code": "not_found"}));
}

#[tokio::test]
async fn what_is_installed_is_told_to_everybody_but_in_prod_to_the_watch_alone() {
    let deployed = |environment: &str| {
        let options = Options::default().without_worker().set("GIT_BRANCH", "main").set("GIT_COMMIT_SHA", "abc123");
        let options = options.set("CORS_ORIGINS", "https://app.example.org").set("HEALTH_CHECK_TOKEN", "watch");
        options.set("ENVIRONMENT", environment)
    };
    let whole = json!({"branch": "main", "commit_sha": "abc123", "environment": "unknown"});
    let server = Server::with(deployed("staging")).await;
    assert_eq!(server.anonymous().get("/api-health").await.expect(200)["deployment"], whole);
    let server = Server::with(deployed("prod")).await;
    let caller = server.anonymous();
    assert!(caller.get("/api-health").await.expect(200).get("deployment").is_none());
    for (sent, told) in [("watch", true), ("watc", false), ("", false)] {
        let answer = caller.send(caller.request(Method::GET, "/api-health").header("X-Health-Token", sent)).await;
        assert_eq!(answer.expect(200).get("deployment"), told.then_some(&whole), "{sent}");
    }
}
