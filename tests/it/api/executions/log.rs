//! `GET` and `POST /api/v1/execution/<id>/log`.

use serde_json::{Value, json};

use super::run::with_script;
use crate::support::{Client, Server};

async fn with_run() -> (Server, Client, Client, String) {
    let (server, admin, ada) = with_script().await;
    let id = ada.run("echo", &json!({})).await;
    (server, admin, ada, format!("/api/v1/execution/{id}/log"))
}

#[tokio::test]
async fn a_line_is_kept_verbatim_with_its_level() {
    let (_server, admin, ada, path) = with_run().await;
    let texts = [
        "<b>bold</b> in <module> a<b only = 5 online= javascript: <script>alert(1)</script>",
        "  blanks around  ",
        "two\nlines\tand a tab",
        "Ünïcödé 日本 🌍 &amp; %s {}",
    ];
    for (text, level) in texts.iter().zip(["DEBUG", "info", "WARN", "CRITICAL"]) {
        let line = admin.post(&path, &json!({"text": text, "level": level})).await.data(200);
        let keys: Vec<&str> = line.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["execution_id", "id", "level", "register_date", "text"]);
        assert_eq!((&line["text"], &line["level"]), (&json!(text), &json!(level)));
    }
    let lines = ada.get(&path).await.data(200);
    let kept: Vec<&Value> = lines.as_array().unwrap().iter().map(|line| &line["text"]).collect();
    assert_eq!(json!(kept), json!(texts));
    assert!(lines.as_array().unwrap().is_sorted_by_key(|line| line["id"].as_i64()));
}

#[tokio::test]
async fn an_unknown_level_is_info_and_odd_texts_are_taken() {
    let (_server, admin, _, path) = with_run().await;
    for (text, level, kept) in [
        (json!("x"), json!("TRACE"), json!(["x", "INFO"])),
        (json!("x"), json!("Error"), json!(["x", "Error"])),
        (json!("x"), json!(5), json!(["x", "INFO"])),
        (json!(5), json!("INFO"), json!(["5", "INFO"])),
        (json!(["a", 1]), json!("INFO"), json!(["[\"a\",1]", "INFO"])),
        (json!("nul \u{0}"), json!("INFO"), json!(["nul \u{fffd}", "INFO"])),
        (json!("x".repeat(10_000)), json!("INFO"), json!(["x".repeat(10_000), "INFO"])),
    ] {
        let line = admin.post(&path, &json!({"text": text, "level": level})).await.data(200);
        assert_eq!(json!([line["text"], line["level"]]), kept);
    }
}

#[tokio::test]
async fn a_line_needs_text_and_level_and_has_a_limit() {
    let (server, admin, ada, path) = with_run().await;
    for body in [
        json!({}),
        json!(null),
        json!({"text": "x"}),
        json!({"level": "INFO"}),
        json!({"text": "", "level": "INFO"}),
        json!({"text": null, "level": "INFO"}),
    ] {
        admin.post(&path, &body).await.refused(400, "Text and level are required");
    }
    let long = json!({"text": "ü".repeat(10_001), "level": "INFO"});
    admin.post(&path, &long).await.refused(400, "Log text too long");
    admin.post_empty(&path).await.refused(415, "Send a JSON object, with the header Content-Type: application/json");
    let good = json!({"text": "x", "level": "INFO"});
    ada.post(&path, &good).await.refused(403, "Forbidden");
    server.anonymous().post(&path, &good).await.expect(401);
    for id in ["00000000-0000-4000-8000-000000000000", "x"] {
        admin.post(&format!("/api/v1/execution/{id}/log"), &good).await.refused(404, "Ticket Not Found");
    }
    assert_eq!(server.rows("execution_log").await, 0);
}

#[tokio::test]
async fn a_reader_goes_on_after_a_time_or_an_id() {
    let (_server, admin, ada, path) = with_run().await;
    let mut lines = Vec::new();
    for text in ["one", "two", "three"] {
        lines.push(admin.post(&path, &json!({"text": text, "level": "INFO"})).await.data(200));
    }
    let texts = async |query: &str| {
        let lines = ada.get(&format!("{path}{query}")).await.data(200);
        lines.as_array().unwrap().iter().map(|l| l["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let at = lines[0]["register_date"].as_str().unwrap();
    for start in
        [at.to_owned(), format!("{at}Z"), format!("{at}+00:00"), format!("{at}%2B00:00"), format!("{at} 00:00")]
    {
        assert_eq!(texts(&format!("?start={start}")).await, ["two", "three"], "{start}");
    }
    assert_eq!(texts(&format!("?last-id={}", lines[1]["id"])).await, ["three"]);
    assert_eq!(texts(&format!("?last-id={}", lines[2]["id"])).await, Vec::<String>::new());
    ada.get(&format!("{path}?last-id=x")).await.refused(400, "last-id is \"x\"; it must be the id of a log line");
    ada.get(&format!("{path}?start=x"))
        .await
        .refused(400, "start is \"x\"; it must be a time such as 2026-11-24T02:56:01");
}
