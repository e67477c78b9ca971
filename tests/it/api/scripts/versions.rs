//! `/api/v1/script/<s>/versions…`, and which version runs.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Package, Server};

/// A package whose archive differs by this word.
fn package(word: &str) -> Package {
    Package::echo("Maps").file("word.txt", word)
}

async fn upload(who: &Client, package: &Package) {
    who.upload(Method::PATCH, "/api/v1/script/maps", "x.tar.gz", package.pack()).await.expect(200);
}

/// Numbers, states and which one is current, newest first.
async fn versions(who: &Client) -> Value {
    let list = who.get("/api/v1/script/maps/versions").await.data(200);
    list.as_array().unwrap().iter().map(|v| json!([v["number"], v["status"], v["current"]])).collect()
}

/// The version that a run without a wish gets.
async fn runs(who: &Client) -> Value {
    let run = who.post("/api/v1/script/maps/run", &json!({})).await.data(200);
    run["script_version"].clone()
}

#[tokio::test]
async fn versions_are_listed_shown_and_downloaded() {
    let server = Server::api_only().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let script = admin.publish(&package("one").with("memory_limit", 200_000_000).with("timeout_s", 30)).await;
    upload(&admin, &package("two")).await;
    upload(&admin, &package("three")).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS', built_at = created_at WHERE number = 1").await;
    server.execute("UPDATE script_version SET status = 'FAIL', build_error = 'no such package' WHERE number = 2").await;
    let list = admin.get("/api/v1/script/maps/versions").await;
    assert_eq!(list.headers["x-total-count"], "3");
    let list = list.expect(200);
    assert_eq!(list.as_object().unwrap().keys().collect::<Vec<_>>(), ["data"]);
    assert_eq!(versions(&admin).await, json!([[3, "PENDING", false], [2, "FAIL", false], [1, "SUCCESS", true]]));
    let one = admin.get("/api/v1/script/maps/versions/1").await.data(200);
    assert_eq!(one, list["data"][2]);
    assert_eq!(
        one["limits"],
        json!({"cpu_limit": 500_000_000, "memory_limit": 200_000_000, "timeout_s": 30, "network": "none"})
    );
    assert_eq!((&one["created_by"], &one["build_error"]), (&script["user_id"], &Value::Null));
    assert!(one["digest"].as_str().unwrap().starts_with("sha256:") && one["built_at"].is_string());
    assert_eq!(list["data"][1]["build_error"], "no such package");
    assert_eq!(list["data"][1]["built_at"], Value::Null);

    let page = admin.get("/api/v1/script/maps/versions?page=2&per_page=2").await.expect(200);
    assert_eq!((&page["total"], &page["data"]), (&json!(3), &json!([one])));

    let archive = admin.get("/api/v1/script/maps/versions/2/download").await;
    assert_eq!((archive.status, archive.bytes), (200, package("two").pack()));
    assert_eq!(archive.headers["content-disposition"], "attachment; filename=maps-2.tar.gz");

    for path in ["4", "0", "-1", "x", "99999999999", "4/download"] {
        let missing = admin.get(&format!("/api/v1/script/maps/versions/{path}")).await;
        missing.refused(404, "Script maps has no such version");
    }
    for path in ["", "/1", "/1/download"] {
        let hidden = ada.get(&format!("/api/v1/script/maps/versions{path}")).await;
        hidden.refused(404, "Script with id maps does not exist");
    }
}

#[tokio::test]
async fn an_older_version_is_activated_until_a_newer_one_is_built() {
    let server = Server::start().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    admin.publish_built(&package("one")).await;
    let broken = package("two").file("src/main.py", "def run(:\n");
    upload(&admin, &broken).await;
    assert_eq!(admin.built("maps").await.0, "FAIL");
    assert_eq!(versions(&admin).await, json!([[2, "FAIL", false], [1, "SUCCESS", true]]));
    assert_eq!(runs(&admin).await, 1, "the last good version goes on");
    upload(&admin, &package("three")).await;
    assert_eq!(admin.built("maps").await.0, "SUCCESS");
    assert_eq!(runs(&admin).await, 3);

    let activate =
        async |who: &Client, n: &str| who.post_empty(&format!("/api/v1/script/maps/versions/{n}/activate")).await;
    let view = activate(&admin, "1").await.data(200);
    assert_eq!((&view["number"], &view["current"]), (&json!(1), &json!(true)));
    assert_eq!(versions(&admin).await, json!([[3, "SUCCESS", false], [2, "FAIL", false], [1, "SUCCESS", true]]));
    assert_eq!(runs(&admin).await, 1);
    let wish = admin.request(Method::POST, "/api/v1/script/maps/run").header("x-te-script-version", "3");
    assert_eq!(admin.send(wish.json(&json!({}))).await.data(200)["script_version"], 3);
    assert_eq!(admin.get("/api/v1/script/maps").await.data(200)["status"], "SUCCESS");

    // A build that fails leaves the choice, one that succeeds ends it.
    upload(&admin, &broken).await;
    assert_eq!(admin.built("maps").await.0, "FAIL");
    assert_eq!(runs(&admin).await, 1);
    upload(&admin, &package("five")).await;
    assert_eq!(admin.built("maps").await.0, "SUCCESS");
    assert_eq!(runs(&admin).await, 5);
    activate(&admin, "1").await.expect(200);
    activate(&admin, "3").await.expect(200);
    assert_eq!(runs(&admin).await, 3);
    activate(&admin, "5").await.expect(200);
    assert_eq!(runs(&admin).await, 5);

    activate(&admin, "2").await.refused(400, "Version 2 of script maps is not built");
    activate(&admin, "9").await.refused(404, "Script maps has no such version");
    activate(&ada, "1").await.refused(404, "Script with id maps does not exist");
    admin.post_empty("/api/v1/script/maps/publish").await.expect(200);
    activate(&ada, "1").await.refused(403, "Operation not allowed to this user");
    let trail = admin.get("/api/v1/admin/audit?filter=action=script.version_activated&per_page=9").await.data(200);
    assert_eq!(trail.as_array().unwrap().len(), 4);
    assert_eq!(trail[0]["detail"], json!({"version": 5}));
}
