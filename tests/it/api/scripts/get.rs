//! `GET /api/v1/script/<s>`.

use reqwest::Method;
use serde_json::{Value, json};
use trends_earth::store::users::Role;

use crate::support::{Client, Package, Server};

async fn get(who: &Client, path: &str) -> Value {
    who.get(&format!("/api/v1/script/{path}")).await.data(200)
}

#[tokio::test]
async fn a_script_is_found_by_slug_and_by_its_id_in_any_form_with_or_without_a_slash() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let script = admin.publish(&Package::echo("Found")).await;
    let id = script["id"].as_str().unwrap();
    for key in [
        "found".to_owned(),
        id.to_owned(),
        id.to_uppercase(),
        id.replace('-', ""),
        format!("%7B{id}%7D"),
        format!("{id}/"),
        "found/".to_owned(),
        format!("{id}/?include=nothing&page=7"),
    ] {
        assert_eq!(get(&admin, &key).await, script, "{key}");
    }
    for key in ["Found", "FOUND", "found%20", "nothing", "00000000-0000-4000-8000-000000000000"] {
        let text = key.replace("%20", " ");
        let answer = admin.get(&format!("/api/v1/script/{key}")).await;
        answer.refused(404, &format!("Script with id {text} does not exist"));
    }
}

#[tokio::test]
async fn include_adds_logs_environment_build_error_owner_and_access() {
    let server = Server::start().await;
    let admin = server.admin().await;
    admin.publish_built(&Package::echo("Included").with("environment_version", "1.2.3")).await;
    let script =
        get(&admin, "included?include=logs,environment,build_error,user,user_name,user_email,access_control,nonsense")
            .await;
    assert_eq!(
        (&script["environment"], &script["environment_version"], &script["compute_type"]),
        (&json!("trends.earth-environment"), &json!("1.2.3"), &json!("gee"))
    );
    assert_eq!(script["build_error"], Value::Null);
    assert_eq!(
        (&script["restricted"], &script["allowed_roles"], &script["allowed_users"]),
        (&json!(false), &json!([]), &json!([]))
    );
    let logs = script["logs"].as_array().unwrap();
    let keys: Vec<&str> = logs[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["id", "register_date", "script_id", "text"]);
    assert_eq!(logs.last().unwrap()["text"], "Build successful.");
    assert_eq!((&script["user_email"], &script["user"]["email"]), (&json!(admin.email), &json!(admin.email)));
    assert!(script["user"].get("password").is_none() && script["user"].get("gender_identity").is_none());
    assert!(script.get("nonsense").is_none());
    let plain = get(&admin, "included").await;
    for key in ["logs", "environment", "build_error", "user", "restricted"] {
        assert!(plain.get(key).is_none(), "{key}");
    }
}

#[tokio::test]
async fn a_stranger_sees_of_the_owner_no_more_than_a_name_and_nothing_of_the_access_list() {
    let server = Server::api_only().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let script = admin.publish(&Package::echo("Public")).await;
    admin.post_empty("/api/v1/script/public/publish").await.expect(200);
    let seen = get(&ada, "public?include=user,user_name,user_email,access_control").await;
    let name = admin.get("/api/v1/user/me").await.data(200)["name"].clone();
    assert_eq!(seen["user"], json!({"id": script["user_id"], "name": name, "email": ""}));
    for key in ["user_name", "user_email", "restricted", "allowed_roles", "allowed_users"] {
        assert!(seen.get(key).is_none(), "{key}");
    }
}

#[tokio::test]
async fn exclude_takes_any_key_away() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    admin.publish(&Package::echo("Excluded")).await;
    let script = get(&admin, "excluded?include=environment&exclude=environment,description,nonsense,public").await;
    for key in ["environment", "description", "public"] {
        assert!(script.get(key).is_none(), "{key}");
    }
    assert_eq!(script["slug"], "excluded");
}

#[tokio::test]
async fn a_private_script_does_not_exist_for_others_by_slug_or_id() {
    let server = Server::start().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let slug = admin.publish_built(&Package::echo("Secret")).await;
    let id = get(&admin, &slug).await["id"].as_str().unwrap().to_owned();
    for key in [&slug, &id] {
        for (method, path) in [
            (Method::GET, ""),
            (Method::POST, "/run"),
            (Method::GET, "/run"),
            (Method::GET, "/log"),
            (Method::GET, "/log/stream"),
            (Method::GET, "/download"),
            (Method::POST, "/publish"),
            (Method::POST, "/unpublish"),
        ] {
            let answer = ada.send(ada.request(method, &format!("/api/v1/script/{key}{path}"))).await;
            answer.refused(404, &format!("Script with id {key} does not exist"));
        }
        ada.upload(Method::PATCH, &format!("/api/v1/script/{key}"), "x.tar.gz", Package::echo("Secret").pack())
            .await
            .refused(404, &format!("Script with id {key} does not exist"));
        ada.delete(&format!("/api/v1/script/{key}")).await.refused(403, "Forbidden");
    }
    assert_eq!(ada.get("/api/v1/script").await.data(200), json!([]));
}

#[tokio::test]
async fn a_restricted_script_is_for_its_roles_and_people() {
    let server = Server::api_only().await;
    let (admin, ada, grace) = (server.admin().await, server.user("ada").await, server.user("grace").await);
    let other = server.account("linus", Role::Admin).await;
    let script = admin.publish(&Package::echo("Restricted")).await;
    let ada_id = ada.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    server
        .execute(&format!("UPDATE script SET public = TRUE, restricted = TRUE, allowed_users = '[\"{ada_id}\"]'"))
        .await;
    get(&ada, "restricted").await;
    get(&other, "restricted").await;
    grace.get("/api/v1/script/restricted").await.refused(404, "Script with id restricted does not exist");
    assert_eq!(grace.get("/api/v1/script").await.data(200), json!([]));
    server.execute("UPDATE script SET allowed_users = NULL, allowed_roles = '[\"USER\"]'").await;
    assert_eq!(get(&grace, "restricted").await["id"], script["id"]);
    let seen = get(&admin, "restricted?include=access_control").await;
    assert_eq!((&seen["restricted"], &seen["allowed_roles"]), (&json!(true), &json!(["USER"])));
}

#[tokio::test]
async fn the_plugin_reads_building_where_a_script_is_pending() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    admin.publish(&Package::echo("Waiting")).await;
    let status = async |client: Option<&[u8]>| {
        let mut of = Vec::new();
        for path in ["/api/v1/script/waiting", "/api/v1/script"] {
            let mut request = admin.request(Method::GET, path);
            if let Some(client) = client {
                request = request.header("x-te-client", client);
            }
            let data = admin.send(request).await.data(200);
            let script = if data.is_array() { data[0].clone() } else { data };
            of.push(script["status"].as_str().unwrap().to_owned());
        }
        assert_eq!(of[0], of[1]);
        of.remove(0)
    };
    assert_eq!(status(None).await, "PENDING");
    assert_eq!(status(Some(b"type=api_ui; version=unknown")).await, "PENDING");
    assert_eq!(status(Some(b"type=qgis_plugin; version=2.1; os=\xd0\x9b; lang=ru")).await, "BUILDING");
    server.execute("UPDATE script SET status = 'FAILED'").await;
    assert_eq!(status(None).await, "FAILED");
    assert_eq!(status(Some(b"type=qgis_plugin")).await, "FAIL");
}
