//! `POST /api/v1/execution/<id>/cancel`.

use serde_json::{Value, json};

use super::run::with_script;
use crate::support::{Client, Package, Server};

/// Says `begun`, then sleeps longer than any test.
pub const ENDLESS: &str =
    "import time\ndef run(params, logger):\n    logger.info('begun')\n    time.sleep(600)\n    return {}\n";

/// A server with a worker, and a public script that never ends.
pub async fn with_endless() -> (Server, Client, Client, String) {
    let server = Server::start().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let slug = admin.publish_built(&Package::new("Endless", ENDLESS)).await;
    admin.post_empty(&format!("/api/v1/script/{slug}/publish")).await.expect(200);
    (server, admin, ada, slug)
}

#[tokio::test]
async fn a_running_execution_ends_and_its_process_is_gone() {
    let (server, _, ada, slug) = with_endless().await;
    let id = ada.run(&slug, &json!({})).await;
    ada.said(&id, "begun").await;
    let answer = ada.post_empty(&format!("/api/v1/execution/{id}/cancel")).await.data(202);
    assert_eq!((&answer["execution"]["status"], &answer["execution"]["id"]), (&json!("CANCELLING"), &json!(id)));
    let details = &answer["cancellation_details"];
    assert!(details["task_id"].is_string());
    let told = ["execution_id", "previous_status", "new_status", "queued", "errors"].map(|key| &details[key]);
    assert_eq!(json!(told), json!([id, "RUNNING", "CANCELLING", true, []]));
    let run = ada.ended(&id).await;
    assert_eq!((&run["status"], &run["progress"]), (&json!("CANCELLED"), &json!(100)));
    assert!(run["end_date"].is_string());
    let failure = &run["failure"];
    assert_eq!((&failure["class"], &failure["message"]), (&json!("cancelled"), &json!("The run was cancelled.")));
    assert_eq!((&failure["hint"], &failure["retryable"]), (&Value::Null, &json!(false)));
    assert_eq!(ada.log(&id).await, ["begun", "Cancellation requested by user", "The run was cancelled."]);
    server.unit_is_gone(&id).await;
    let history = ada.get(&format!("/api/v1/execution/{id}/history")).await.data(200);
    let causes: Vec<&Value> = history.as_array().unwrap().iter().map(|row| &row["cause"]).collect();
    assert_eq!(json!(causes), json!(["submitted", "dispatched", "reported", "cancel_requested", "cancelled"]));
}

#[tokio::test]
async fn a_waiting_execution_is_cancelled_without_having_begun() {
    let (server, _, ada, slug) = with_endless().await;
    server.execute("UPDATE \"user\" SET max_concurrent_executions = 1 WHERE email = 'ada@example.org'").await;
    let (first, second) = (ada.run(&slug, &json!({})).await, ada.run(&slug, &json!({})).await);
    ada.said(&first, "begun").await;
    let answer = ada.post_empty(&format!("/api/v1/execution/{second}/cancel")).await.data(202);
    assert_eq!(answer["cancellation_details"]["previous_status"], "PENDING");
    let run = ada.ended(&second).await;
    assert_eq!((&run["status"], &run["dispatched_at"]), (&json!("CANCELLED"), &Value::Null));
    assert_eq!(ada.log(&second).await, ["Cancellation requested by user", "The run was cancelled."]);
    assert!(!server.folder.join("runs").join(&second).exists());
    assert_eq!(ada.get(&format!("/api/v1/execution/{first}")).await.data(200)["status"], "RUNNING");
    ada.post_empty(&format!("/api/v1/execution/{first}/cancel")).await.expect(202);
    assert_eq!(ada.ended(&first).await["status"], "CANCELLED");
}

#[tokio::test]
async fn a_second_request_is_a_conflict_and_one_after_the_end_is_refused() {
    let (_server, admin, ada) = with_script().await;
    let cancel = |id: &str| format!("/api/v1/execution/{id}/cancel");
    let id = ada.run("echo", &json!({})).await;
    ada.post(&cancel(&id), &json!({})).await.expect(202);
    for who in [&ada, &admin] {
        who.post_empty(&cancel(&id)).await.refused(409, "Cancellation already in progress for this execution");
    }
    for end in ["FINISHED", "FAILED", "CANCELLED"] {
        let id = ada.run("echo", &json!({})).await;
        admin.patch(&format!("/api/v1/execution/{id}"), &json!({"status": end})).await.expect(200);
        ada.post_empty(&cancel(&id)).await.refused(400, &format!("Cannot cancel execution in {end} state"));
    }
}

#[tokio::test]
async fn of_many_requests_at_one_time_one_counts() {
    let (server, _, ada) = with_script().await;
    let id = ada.run("echo", &json!({})).await;
    let path = format!("/api/v1/execution/{id}/cancel");
    let answers = futures::future::join_all((0..8).map(|_| ada.post_empty(&path))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 202).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 409).count(), 7);
    assert_eq!(server.rows("execution_log").await, 1);
}

#[tokio::test]
async fn a_stranger_cannot_cancel_and_an_administrator_can() {
    let (server, admin, ada) = with_script().await;
    let grace = server.user("grace").await;
    let id = ada.run("echo", &json!({})).await;
    let path = format!("/api/v1/execution/{id}/cancel");
    grace.post_empty(&path).await.refused(404, "Ticket Not Found");
    server.anonymous().post_empty(&path).await.expect(401);
    for id in ["00000000-0000-4000-8000-000000000000", "x"] {
        admin.post_empty(&format!("/api/v1/execution/{id}/cancel")).await.refused(404, "Ticket Not Found");
    }
    assert_eq!(ada.get(&format!("/api/v1/execution/{id}")).await.data(200)["status"], "PENDING");
    admin.post_empty(&format!("{path}/")).await.expect(202);
}

#[tokio::test]
async fn a_result_that_comes_while_it_is_cancelled_counts() {
    let (_server, admin, ada) = with_script().await;
    let id = ada.run("echo", &json!({})).await;
    ada.post_empty(&format!("/api/v1/execution/{id}/cancel")).await.expect(202);
    let report = json!({"status": "FINISHED", "results": {"in": "time"}});
    let run = admin.patch(&format!("/api/v1/execution/{id}"), &report).await.data(200);
    assert_eq!((&run["status"], &run["results"]), (&json!("FINISHED"), &json!({"in": "time"})));
}
