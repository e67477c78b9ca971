//! `GET /api/v1/execution/<id>/download-results`.

use serde_json::{Value, json};

use super::run::with_script;

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
