//! `PATCH /api/v1/execution/<id>`: what containers report.

use reqwest::Method;
use serde_json::{Value, json};

use super::run::with_script;
use crate::support::{Answer, Client, Server, compact, gzip};

struct Run {
    server: Server,
    admin: Client,
    ada: Client,
    path: String,
}

async fn with_run() -> Run {
    let (server, admin, ada) = with_script().await;
    let id = ada.run("echo", &json!({"a": 1})).await;
    Run { server, admin, ada, path: format!("/api/v1/execution/{id}") }
}

impl Run {
    async fn patch(&self, body: &Value) -> Answer {
        self.admin.patch(&self.path, body).await
    }

    async fn patch_text(&self, body: &str) -> Answer {
        let request = self.admin.request(Method::PATCH, &self.path).header("content-type", "application/json");
        self.admin.send(request.body(body.to_owned())).await
    }
}

#[tokio::test]
async fn a_run_goes_from_running_by_its_progress_to_its_results() {
    let run = with_run().await;
    let seen = run.patch(&json!({"status": "RUNNING"})).await.data(200);
    assert_eq!((&seen["status"], &seen["end_date"], &seen["progress"]), (&json!("RUNNING"), &Value::Null, &json!(0)));
    for (sent, kept) in [(json!(10), 10), (json!(33.7), 34), (json!(34.5), 35), (json!(0), 0), (json!(100), 100)] {
        assert_eq!(run.patch(&json!({"progress": sent})).await.data(200)["progress"], kept);
    }
    let seen = run.patch(&json!({"results": {"x": [1, null]}, "progress": 50})).await.data(200);
    assert_eq!(
        (&seen["results"], &seen["progress"], &seen["status"]),
        (&json!({"x": [1, null]}), &json!(50), &json!("RUNNING"))
    );
    let seen = run.patch(&json!({"status": "FINISHED", "results": {"y": 2}})).await.data(200);
    assert_eq!(
        (&seen["results"], &seen["progress"], &seen["status"]),
        (&json!({"y": 2}), &json!(100), &json!("FINISHED"))
    );
    assert!(seen["end_date"].as_str() >= seen["start_date"].as_str());
    assert_eq!(seen["params"], json!({"a": 1}));
    assert_eq!(run.ada.get(&run.path).await.data(200), seen);
}

#[tokio::test]
async fn after_the_end_every_word_is_answered_with_200_and_changes_nothing() {
    for end in ["FINISHED", "FAILED", "CANCELLED"] {
        let run = with_run().await;
        run.patch(&json!({"status": end, "progress": 70, "results": {"first": true}})).await.expect(200);
        let kept = run.ada.get(&run.path).await.data(200);
        assert_eq!((&kept["status"], &kept["progress"]), (&json!(end), &json!(70)));
        let events = run.server.rows("execution_event").await;
        for late in ["RUNNING", "READY", "SUBMITTED", "CANCELLING", "FINISHED", "FAILED", "CANCELLED"] {
            let body = json!({"status": late, "progress": 3, "results": {"late": late}});
            let seen = run.patch(&body).await.data(200);
            assert_eq!(seen, kept, "{late} after {end}");
        }
        assert_eq!(run.server.rows("execution_event").await, events, "no effects twice");
    }
}

#[tokio::test]
async fn results_that_come_late_are_kept_if_there_are_none() {
    let run = with_run().await;
    run.patch(&json!({"status": "FINISHED"})).await.expect(200);
    assert_eq!(run.patch(&json!({"results": {"late": 1}})).await.data(200)["results"], json!({"late": 1}));
    assert_eq!(run.patch(&json!({"results": {"later": 2}})).await.data(200)["results"], json!({"late": 1}));
}

#[tokio::test]
async fn words_that_go_back_are_absorbed() {
    let run = with_run().await;
    for (word, state) in [
        ("READY", "PENDING"),
        ("SUBMITTED", "PENDING"),
        ("RUNNING", "RUNNING"),
        ("READY", "RUNNING"),
        ("RUNNING", "RUNNING"),
        ("CANCELLING", "CANCELLING"),
        ("RUNNING", "CANCELLING"),
        ("FAILED", "CANCELLED"),
    ] {
        assert_eq!(run.patch(&json!({"status": word})).await.data(200)["status"], state, "{word}");
    }
}

#[tokio::test]
async fn bad_values_are_refused_with_the_contract_s_sentences() {
    let run = with_run().await;
    for status in
        [json!("PENDING"), json!("running"), json!("DONE"), json!(""), json!(5), json!(true), json!(["RUNNING"])]
    {
        run.patch(&json!({"status": status})).await.refused(400, "Invalid status");
    }
    for progress in [json!(-1), json!(100.5), json!(101), json!(null), json!("50"), json!(true), json!([1])] {
        run.patch(&json!({"progress": progress})).await.refused(400, "Progress must be between 0 and 100");
    }
    run.patch_text(r#"{"progress": NaN}"#).await.refused(400, "Progress must be between 0 and 100");
    run.patch_text(r#"{"progress": 1e400}"#).await.refused(400, "Progress must be between 0 and 100");
    for body in [json!({}), json!(null), json!([]), json!({"other": 1}), json!({"status": null})] {
        run.patch(&body).await.refused(400, "Status, progress or results are required");
    }
    let answer = run.patch_text("{\"status\": \"RUNNING\"").await;
    assert_eq!(answer.expect(400)["error_code"], "invalid_json");
    let request = run.admin.request(Method::PATCH, &run.path).header("content-type", "text/plain").body("{}");
    run.admin.send(request).await.refused(415, "Send a JSON object, with the header Content-Type: application/json");
    let seen = run.ada.get(&run.path).await.data(200);
    assert_eq!((&seen["status"], &seen["progress"], &seen["results"]), (&json!("PENDING"), &json!(0), &json!({})));
}

#[tokio::test]
async fn only_administrators_report_but_the_values_are_looked_at_first() {
    let run = with_run().await;
    let grace = run.server.user("grace").await;
    for who in [&run.ada, &grace] {
        who.patch(&run.path, &json!({"status": "FINISHED"})).await.refused(403, "Forbidden");
        who.patch(&run.path, &json!({"status": "DONE"})).await.refused(400, "Invalid status");
    }
    run.server.anonymous().patch(&run.path, &json!({"status": "FINISHED"})).await.expect(401);
    for id in ["00000000-0000-4000-8000-000000000000", "x"] {
        let answer = run.admin.patch(&format!("/api/v1/execution/{id}"), &json!({"progress": 1})).await;
        answer.refused(404, "Ticket Not Found");
    }
}

#[tokio::test]
async fn results_are_kept_as_they_were_sent_also_odd_ones() {
    let run = with_run().await;
    for text in [
        r#"{"big":123456789012345678901234567890,"one":1.0}"#,
        "[]",
        "0",
        "false",
        "\"\"",
        "[1,2]",
        "null",
        r#"{"text":"Ünïcödé 🌍"}"#,
    ] {
        let answer = run.patch_text(&format!("{{\"results\":{text}}}")).await;
        answer.expect(200);
        let body = compact(&String::from_utf8(answer.bytes).unwrap());
        assert!(body.contains(&format!(r#""results":{text}"#)), "{text}: {body}");
    }
    let seen = run.patch_text(r#"{"results":{"a":NaN,"b":-Infinity,"c":"x\u0000y","d":"\udc00"}}"#).await.data(200);
    assert_eq!(seen["results"], json!({"a": null, "b": null, "c": "x\u{fffd}y", "d": "\u{fffd}"}));
}

#[tokio::test]
async fn large_gzipped_results_are_kept() {
    let run = with_run().await;
    let results = json!({"tiles": (0..200_000).map(|n| n * 7_919 % 1_000_003).collect::<Vec<u64>>()});
    let body = json!({"status": "FINISHED", "results": results}).to_string();
    let request = run.admin.request(Method::PATCH, &run.path).header("content-type", "application/json");
    let request = request.header("content-encoding", "gzip").body(gzip(body.as_bytes()));
    run.admin.send(request).await.expect(200);
    assert_eq!(run.ada.get(&run.path).await.data(200)["results"], results);
}

#[tokio::test]
async fn an_owner_hides_what_has_ended_and_nothing_else() {
    let run = with_run().await;
    let grace = run.server.user("grace").await;
    let hide = json!({"deleted": true});
    run.ada
        .patch(&run.path, &hide)
        .await
        .refused(400, "An execution in state PENDING cannot be deleted; cancel it first");
    run.patch(&json!({"status": "RUNNING"})).await.expect(200);
    run.ada
        .patch(&run.path, &hide)
        .await
        .refused(400, "An execution in state RUNNING cannot be deleted; cancel it first");
    run.patch(&json!({"status": "FAILED"})).await.expect(200);
    grace.patch(&run.path, &hide).await.refused(404, "Ticket Not Found");
    assert_eq!(run.ada.patch(&run.path, &hide).await.data(200)["deleted"], true);
    assert_eq!(run.patch(&json!({"deleted": false})).await.data(200)["deleted"], false);
    run.ada.patch(&run.path, &json!({"deleted": "yes"})).await.refused(400, "Status, progress or results are required");
}
