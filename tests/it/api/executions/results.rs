//! `GET /api/v1/execution/<id>/download-results`.

use std::path::PathBuf;

use reqwest::Method;
use serde_json::{Value, json};

use super::run::with_script;
use crate::support::{Server, gzip};

#[tokio::test]
async fn results_come_as_a_file() {
    let (server, admin, ada) = with_script().await;
    let id = ada.run("echo", &json!({})).await;
    let path = format!("/api/v1/execution/{id}");
    let file = format!("{path}/download-results");
    let answer = ada.get(&file).await;
    answer.expect(200);
    assert_eq!(answer.bytes, b"{}");
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers["content-disposition"], "attachment;filename=results.json");
    for empty in [json!(null), json!([]), json!(0), json!(false), json!("")] {
        admin.patch(&path, &json!({"results": empty})).await.expect(200);
        assert_eq!(ada.get(&file).await.bytes, b"{}", "{empty}");
    }
    let results = json!({"b": [1, 2.5, null], "a": {"text": "Ünïcödé 🌍"}});
    admin.patch(&path, &json!({"results": results})).await.expect(200);
    let got: Value = serde_json::from_slice(&ada.get(&file).await.bytes).unwrap();
    assert_eq!(got, results);
    server.anonymous().get(&file).await.expect(401);
    server.user("grace").await.get(&file).await.refused(404, "Ticket Not Found");
}

/// The results that lie beside their rows.
fn objects(server: &Server) -> Vec<PathBuf> {
    server.files(&["objects/results"]).into_iter().filter(|path| path.is_file()).collect()
}

#[tokio::test]
async fn large_results_of_a_run_lie_beside_its_row_equal_everywhere_and_go_with_it() {
    let (server, admin, ada) = with_script().await;
    let id = ada.run("echo", &json!({})).await;
    let path = format!("/api/v1/execution/{id}");
    server.lend(&id, 1, "a secret of the run").await;
    let run = server.sign_in_as_run(&id, "a secret of the run").await.unwrap();

    // More values than anybody else may send, digits that no float holds, and what Python writes.
    let numbers = "7,NaN,".repeat(600_000);
    let sent = format!("{{\"results\":{{\"n\":[{numbers}12345678901234567890.125]}},\"status\":\"FINISHED\"}}");
    let report = run.request(Method::PATCH, &path).header("content-type", "application/json");
    let report = report.header("content-encoding", "gzip").body(gzip(sent.as_bytes()));
    run.send(report).await.expect(200);

    let kept = format!("{{\"n\":[{}12345678901234567890.125]}}", "7,null,".repeat(600_000));
    assert_eq!(objects(&server).len(), 1);
    assert_eq!(ada.get(&format!("{path}/download-results")).await.bytes, kept.as_bytes());
    for list in [path.clone(), "/api/v1/execution?per_page=5".to_owned()] {
        let bytes = ada.get(&list).await.bytes;
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains(&format!("\"results\":{kept},")), "{list}");
    }
    assert!(
        !ada.get("/api/v1/execution?exclude=results").await.data(200)[0].as_object().unwrap().contains_key("results")
    );

    // What comes later does not replace it; and it goes with its script.
    admin.patch(&path, &json!({"results": {"late": true}})).await.expect(200);
    assert_eq!(ada.get(&format!("{path}/download-results")).await.bytes, kept.as_bytes());
    admin.delete("/api/v1/script/echo").await.expect(200);
    assert_eq!(objects(&server), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn results_that_are_gone_are_said_to_be_gone() {
    let (server, admin, ada) = with_script().await;
    let id = ada.run("echo", &json!({})).await;
    let path = format!("/api/v1/execution/{id}");
    admin.patch(&path, &json!({"results": "x".repeat(1_100_000)})).await.expect(200);
    for file in objects(&server) {
        std::fs::remove_file(file).unwrap();
    }
    let sentence = format!("The results of execution {id} are not there any more; run it again.");
    ada.get(&format!("{path}/download-results")).await.refused(410, &sentence);
    assert_eq!(ada.get(&path).await.data(200)["results"], Value::Null);
}

#[tokio::test]
async fn a_container_hears_200_to_what_cannot_be_kept_and_its_run_fails_with_the_reason() {
    let (server, _admin, ada) = with_script().await;
    let huge = format!("{{\"results\":\"{}\",\"status\":\"FINISHED\"}}", "x".repeat(65 << 20));
    let deep = format!("{{\"results\":{}{}}}", "[".repeat(200), "]".repeat(200));
    for (sent, reason) in
        [(huge.as_bytes(), "Decompressed request body too large"), (deep.as_bytes(), "more than 128 levels")]
    {
        let id = ada.run("echo", &json!({})).await;
        let path = format!("/api/v1/execution/{id}");
        server.lend(&id, 1, "a secret of the run").await;
        let run = server.sign_in_as_run(&id, "a secret of the run").await.unwrap();
        let send = |method: Method, path: &str, body: &[u8]| {
            let request = run.request(method, path).header("content-type", "application/json");
            run.send(request.header("content-encoding", "gzip").body(gzip(body)))
        };
        send(Method::POST, &format!("{path}/log"), sent).await.expect(200);
        send(Method::PATCH, &path, sent).await.expect(200);
        let seen = ada.get(&path).await.data(200);
        assert_eq!(seen["status"], "FAILED");
        assert_eq!(seen["failure"]["class"], "script_error");
        assert!(seen["failure"]["message"].as_str().unwrap().contains(reason), "{}", seen["failure"]);
        let log = ada.log(&id).await;
        assert!(log[0].starts_with("A line could not be read: ") && log[0].contains(reason), "{log:?}");
        assert_eq!(log.last().unwrap(), seen["failure"]["message"].as_str().unwrap());
    }
    // Anybody else hears what is wrong.
    let id = ada.run("echo", &json!({})).await;
    let answer = ada.patch(&format!("/api/v1/execution/{id}"), &json!({"results": "x".repeat(6 << 20)})).await;
    answer.refused(403, "Forbidden");
}
