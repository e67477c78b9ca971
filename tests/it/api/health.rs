//! `/api-health` and `/ping`.

use crate::support::{Server, json_type};

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
