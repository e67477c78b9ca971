//! Tags of what is polled.

use reqwest::Method;
use serde_json::json;

use super::executions::run::with_script;
use crate::support::{Answer, Client};

async fn ask(who: &Client, path: &str, tag: &str) -> Answer {
    who.send(who.request(Method::GET, path).header("if-none-match", tag)).await
}

#[tokio::test]
async fn who_has_the_answer_already_hears_304_until_something_has_changed() {
    let (server, admin, ada) = with_script().await;
    let id = ada.run("echo", &json!({})).await;
    let run = format!("/api/v1/execution/{id}");
    for path in [
        "/api/v1/execution",
        "/api/v1/execution/user?include=script&exclude=params,results&page=1&per_page=100",
        &run,
        &format!("{run}/log"),
        "/api/v1/script",
        "/api/v1/script/echo",
        "/api/v1/script/echo/log",
    ] {
        let first = ada.get(path).await;
        first.expect(200);
        let tag = first.headers["etag"].to_str().unwrap().to_owned();
        assert!(tag.starts_with("W/\"") && tag.len() == 20, "{path}: {tag}");
        assert_eq!(first.headers["cache-control"], "private, no-cache");
        let vary: Vec<_> = first.headers.get_all("vary").iter().map(|v| v.to_str().unwrap().to_lowercase()).collect();
        assert!(vary.join(",").contains("authorization") && vary.join(",").contains("accept-encoding"), "{vary:?}");
        for known in [tag.clone(), format!("\"old\", {tag}"), "*".to_owned(), tag[2..].to_owned()] {
            let again = ask(&ada, path, &known).await;
            assert_eq!((again.status, again.bytes.len()), (304, 0), "{path}: {known}");
            assert_eq!(again.headers["etag"], tag.as_str());
        }
        ask(&ada, path, "W/\"0123456789abcdef\"").await.expect(200);
        ask(&server.anonymous(), path, &tag).await.expect(401);
    }
    let tag = ada.get(&run).await.headers["etag"].to_str().unwrap().to_owned();
    admin.patch(&run, &json!({"progress": 7})).await.expect(200);
    assert_eq!(ask(&ada, &run, &tag).await.data(200)["progress"], 7);
    // What is no poll has no tag.
    assert!(!ada.get("/api/v1/user/me").await.headers.contains_key("etag"));
    assert!(!ada.get(&format!("{run}/download-results")).await.headers.contains_key("etag"));
}
