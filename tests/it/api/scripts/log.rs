//! `GET /api/v1/script/<s>/log` and `…/log/stream`.

use serde_json::{Value, json};

use crate::support::{Client, Package, Server};

async fn texts(who: &Client, query: &str) -> Vec<String> {
    let lines = who.get(&format!("/api/v1/script/logged/log{query}")).await.data(200);
    lines.as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap().to_owned()).collect()
}

/// A server with a script that has three log lines of three seconds.
async fn with_lines() -> (Server, Client) {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let script = admin.publish(&Package::echo("Logged")).await;
    for (text, at) in [("one", "10:00:01"), ("two", "10:00:02"), ("three", "10:00:03")] {
        server
            .execute(&format!(
                "INSERT INTO script_log (text, register_date, script_id) VALUES ('{text}', '2026-03-04 {at}.250', '{}')",
                script["id"].as_str().unwrap()
            ))
            .await;
    }
    (server, admin)
}

#[tokio::test]
async fn a_build_logs_from_its_start_to_its_end_in_order() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let script = admin.publish(&Package::echo("Ordered")).await;
    let (status, told) = admin.built("ordered").await;
    assert_eq!(status, "SUCCESS");
    let lines = admin.get("/api/v1/script/ordered/log").await.data(200);
    let lines = lines.as_array().unwrap();
    let texts: Vec<&str> = lines.iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(told, texts);
    assert_eq!((texts[0], *texts.last().unwrap()), ("Build started.", "Build successful."));
    let ids: Vec<i64> = lines.iter().map(|line| line["id"].as_i64().unwrap()).collect();
    assert!(ids.is_sorted() && lines.iter().all(|line| line["script_id"] == script["id"]));
    assert!(lines.is_sorted_by_key(|line| line["register_date"].as_str()));
}

#[tokio::test]
async fn a_reader_goes_on_after_a_time_in_any_spelling() {
    let (_server, admin) = with_lines().await;
    assert_eq!(texts(&admin, "").await, ["one", "two", "three"]);
    for start in [
        "2026-03-04T10:00:01.250000%2B00:00",
        "2026-03-04T10:00:01.250000+00:00",
        "2026-03-04T10:00:01.250000 00:00",
        "2026-03-04T10:00:01.250000",
        "2026-03-04T10:00:01.250000Z",
        "2026-03-04T10:00:01.25",
        "2026-03-04T10:00:02",
        "2026-03-04 10:00:02",
        "2026-03-04%2010:00:02",
        "2026-03-04T12:00:01.250000%2B02:00",
        "2026-03-04T12:00:01.250000+02:00",
        "2026-03-04T05:30:01.250000-04:30",
    ] {
        assert_eq!(texts(&admin, &format!("?start={start}")).await, ["two", "three"], "{start}");
    }
    assert_eq!(texts(&admin, "?start=2026-03-04").await, ["one", "two", "three"]);
    assert_eq!(texts(&admin, "?start=2026-03-05").await, Vec::<String>::new());
    assert_eq!(texts(&admin, "?start=").await.len(), 3);
    admin
        .get("/api/v1/script/logged/log?start=yesterday")
        .await
        .refused(400, "start is \"yesterday\"; it must be a time such as 2026-11-24T02:56:01");
}

#[tokio::test]
async fn a_reader_goes_on_after_an_id() {
    let (_server, admin) = with_lines().await;
    let lines = admin.get("/api/v1/script/logged/log").await.data(200);
    let first = lines[0]["id"].as_i64().unwrap();
    assert_eq!(texts(&admin, &format!("?last-id={first}")).await, ["two", "three"]);
    assert_eq!(texts(&admin, &format!("?last-id={}", first + 2)).await, Vec::<String>::new());
    assert_eq!(texts(&admin, "?last-id=0").await.len(), 3);
    assert_eq!(texts(&admin, "?last-id=-5").await.len(), 3);
    assert_eq!(
        texts(&admin, &format!("?start=2026-03-04T10:00:02.250000&last-id={first}")).await,
        ["three"],
        "start wins"
    );
    for bad in ["x", "1.5", "99999999999999999999"] {
        let answer = admin.get(&format!("/api/v1/script/logged/log?last-id={bad}")).await;
        answer.refused(400, &format!("last-id is {bad:?}; it must be the id of a log line"));
    }
}

#[tokio::test]
async fn the_live_log_ends_with_the_build_and_then_answers_204() {
    let server = Server::start().await;
    let admin = server.admin().await;
    admin.publish(&Package::new("Live", "def run(params, logger:\n")).await;
    let events = admin.events("/api/v1/script/live/log/stream").await;
    assert_eq!(events[0].0, "status");
    let (name, end) = events.last().unwrap();
    assert_eq!((name.as_str(), &end["status"]), ("end", &json!("FAIL")));
    let error = admin.get("/api/v1/script/live?include=build_error").await.data(200)["build_error"].clone();
    assert_eq!(end["build_error"], error);
    let last = end["last_id"].as_i64().unwrap();
    let lines: Vec<&Value> = events.iter().filter(|event| event.0 == "log").map(|event| &event.1).collect();
    assert_eq!(lines.last().unwrap()["id"], last);
    let answer = admin.get(&format!("/api/v1/script/live/log/stream?last-id={last}")).await;
    assert_eq!((answer.status, answer.bytes.len()), (204, 0));
}
