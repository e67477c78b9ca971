//! `PATCH /api/v1/script/<s>`: a new version.

use reqwest::Method;
use serde_json::json;
use trends_earth::store::users::Role;

use crate::support::{Package, Server};

const BROKEN: &str = "def run(params, logger:\n";

#[tokio::test]
async fn a_new_upload_keeps_id_and_slug_and_takes_name_and_limits() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let before = admin.publish(&Package::echo("First Name").with("memory_limit", 300_000_000)).await;
    let path = format!("/api/v1/script/{}", before["slug"].as_str().unwrap());
    let package = Package::echo("Second Name").with("cpu_limit", 1_000_000_000);
    let after = admin.upload(Method::PATCH, &path, "script.tar.gz", package.pack()).await.data(200);
    let mut expected = before.clone();
    expected["name"] = json!("Second Name");
    expected["cpu_limit"] = json!(1_000_000_000);
    expected["updated_at"] = after["updated_at"].clone();
    assert_eq!(after, expected);
    assert!(after["updated_at"].as_str() > before["updated_at"].as_str());
    assert_eq!(server.rows("script_version").await, 2);
}

#[tokio::test]
async fn an_upload_without_file_is_refused_before_the_script_is_looked_for() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    admin.patch("/api/v1/script/unknown", &json!({})).await.refused(400, "File Required");
    let archive = Package::echo("x").pack();
    admin
        .upload(Method::PATCH, "/api/v1/script/unknown", "x.tar.gz", archive)
        .await
        .refused(404, "Script with id unknown does not exist");
}

#[tokio::test]
async fn owner_and_administrator_upload_others_may_not() {
    let server = Server::api_only().await;
    let (admin, ada, grace) =
        (server.admin().await, server.account("ada", Role::Admin).await, server.user("grace").await);
    let script = ada.publish(&Package::echo("Shared")).await;
    server.execute("UPDATE \"user\" SET role = 'USER' WHERE email = 'ada@example.org'").await;
    let upload = |who: &crate::support::Client, key: &str| {
        let (who, path) = (who.clone(), format!("/api/v1/script/{key}"));
        async move { who.upload(Method::PATCH, &path, "script.tar.gz", Package::echo("Shared").pack()).await }
    };
    let id = script["id"].as_str().unwrap();
    upload(&ada, "shared").await.expect(200);
    upload(&admin, id).await.expect(200);
    upload(&grace, "shared").await.refused(404, "Script with id shared does not exist");
    ada.post_empty(&format!("/api/v1/script/{id}/publish")).await.expect(200);
    upload(&grace, "shared").await.refused(403, "Operation not allowed to this user");
    upload(&server.anonymous(), "shared").await.expect(401);
    assert_eq!(server.rows("script_version").await, 3);
}

#[tokio::test]
async fn the_last_good_version_stays_runnable_while_a_new_one_fails() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let slug = admin.publish_built(&Package::echo("Steady")).await;
    let path = format!("/api/v1/script/{slug}");
    let broken = Package::new("Steady", BROKEN);
    let answer = admin.upload(Method::PATCH, &path, "script.tar.gz", broken.pack()).await.data(200);
    assert_eq!(answer["status"], "SUCCESS", "the status changes when the build begins");
    // Whatever the state of the new build is, version 1 runs.
    let run = admin.finish(&slug, &json!({"n": 1})).await;
    assert_eq!((&run["status"], &run["script_version"]), (&json!("FINISHED"), &json!(1)), "{run:#}");
    let (status, log) = admin.built(&slug).await;
    assert_eq!(status, "FAIL", "{log:#?}");
    let script = admin.get(&format!("{path}?include=build_error")).await.data(200);
    assert_eq!(script["status"], "FAIL");
    let error = script["build_error"].as_str().unwrap();
    assert!(log.last().unwrap().contains(error), "{error}: {log:#?}");
    assert_eq!(admin.finish(&slug, &json!({})).await["script_version"], 1);
    let answer = admin.upload(Method::PATCH, &path, "script.tar.gz", Package::echo("Steady").pack()).await;
    answer.expect(200);
    assert_eq!(admin.built(&slug).await.0, "SUCCESS");
    let run = admin.finish(&slug, &json!({})).await;
    assert_eq!((&run["status"], &run["script_version"]), (&json!("FINISHED"), &json!(3)));
}
