//! Submits that are repeated.

use reqwest::Method;
use serde_json::json;

use super::run::with_script;
use crate::support::{Answer, Client};

async fn submit(who: &Client, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = who.request(Method::POST, "/api/v1/script/echo/run").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    who.send(request.body(body.to_owned())).await
}

fn replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

#[tokio::test]
async fn a_submit_with_a_key_is_made_once_however_often_and_at_one_time_it_comes() {
    let (server, _, ada) = with_script().await;
    let key = [("idempotency-key", "my submit 1")];
    let many = (0..20).map(|_| submit(&ada, &key, r#"{"a":{"x":1.50,"y":"é"},"b":[1,2]}"#));
    let answers = futures::future::join_all(many).await;
    let ids: std::collections::BTreeSet<String> =
        answers.iter().map(|answer| answer.data(200)["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((ids.len(), server.rows("execution").await, server.rows("job").await), (1, 1, 2));
    assert_eq!(answers.iter().filter(|answer| !replayed(answer)).count(), 1);
    // The same in another spelling is the same; other digits are another request.
    let again = submit(&ada, &key, "{ \"b\": [1, 2], \"a\": {\"y\": \"\\u00e9\", \"x\": 1.50} }").await;
    assert_eq!((again.data(200)["id"].as_str(), replayed(&again)), (ids.first().map(String::as_str), true));
    for other in [r#"{"a":{"x":1.5,"y":"é"},"b":[1,2]}"#, "{}"] {
        let refused = submit(&ada, &key, other).await;
        refused.refused(422, "This Idempotency-Key was used for another request.");
        assert_eq!(refused.json()["error_code"], "idempotency_key_reused");
    }
    // A key is one person's own.
    let grace = server.user("grace").await;
    assert!(!replayed(&submit(&grace, &key, "{}").await));
    // After a day it is free again.
    server.execute("UPDATE idempotency_key SET created_at = '2026-01-01 00:00:00'").await;
    let fresh = submit(&ada, &key, "{}").await;
    assert!(!replayed(&fresh) && fresh.data(200)["id"].as_str() != ids.first().map(String::as_str));
    for bad in ["", &"k".repeat(256)] {
        let sentence = "Idempotency-Key must be 1 to 255 printable ASCII characters";
        submit(&ada, &[("idempotency-key", bad)], "{}").await.refused(400, sentence);
    }
    assert_eq!(server.rows("execution").await, 3);
}

#[tokio::test]
async fn the_plugin_that_asks_again_gets_the_run_that_it_has_until_that_has_ended() {
    let (server, admin, ada) = with_script().await;
    let plugin = [("x-te-client", "type=qgis_plugin; version=2.2.0")];
    let body = r#"{"task_name":"x","year":2020}"#;
    let first = submit(&ada, &plugin, body).await.data(200);
    let again = submit(&ada, &plugin, body).await;
    assert!(replayed(&again) && again.data(200)["id"] == first["id"]);
    assert_ne!(submit(&ada, &plugin, r#"{"task_name":"x","year":2021}"#).await.data(200)["id"], first["id"]);
    // Others mean what they say.
    let cli = [("x-te-client", "type=cli")];
    assert_ne!(submit(&ada, &cli, body).await.data(200)["id"], submit(&ada, &cli, body).await.data(200)["id"]);
    // Once the first has ended, or three minutes have passed, a submit is a new one.
    let path = format!("/api/v1/execution/{}", first["id"].as_str().unwrap());
    admin.patch(&path, &json!({"status": "FINISHED"})).await.expect(200);
    let second = submit(&ada, &plugin, body).await;
    assert!(!replayed(&second) && second.data(200)["id"] != first["id"]);
    server.execute("UPDATE idempotency_key SET created_at = '2026-01-01 00:00:00'").await;
    assert_ne!(submit(&ada, &plugin, body).await.data(200)["id"], second.data(200)["id"]);
}
