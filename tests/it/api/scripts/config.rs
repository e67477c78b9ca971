//! `PATCH /api/v1/script/<s>/config`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Package, Server};

const PATH: &str = "/api/v1/script/maps/config";

#[tokio::test]
async fn name_description_and_uses_gee_change_without_an_upload() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let script = admin.publish(&Package::echo("Maps")).await;
    let versions = admin.get("/api/v1/script/maps/versions").await.data(200);
    for (body, key, value) in [
        (json!({"name": "Other maps"}), "name", json!("Other maps")),
        (json!({"name": 5}), "name", json!("5")),
        (json!({"description": "of land, <b>", "x": 1}), "description", json!("of land, <b>")),
        (json!({"description": null}), "description", json!("")),
        (json!({"uses_gee": true, "name": ""}), "uses_gee", json!(true)),
    ] {
        let changed = admin.patch(PATH, &body).await.data(200);
        assert_eq!(changed[key], value, "{body}");
        assert_eq!((&changed["slug"], &changed["status"]), (&json!("maps"), &json!("PENDING")));
        assert!(changed["updated_at"].as_str() > script["updated_at"].as_str());
    }
    assert_eq!(admin.get("/api/v1/script/maps/versions").await.data(200), versions);
    let plugin =
        admin.request(Method::PATCH, PATH).header("x-te-client", "type=qgis_plugin").json(&json!({"name": "Maps"}));
    assert_eq!(admin.send(plugin).await.data(200)["status"], "BUILDING", "the plugin knows three states only");
    let trail = admin.get("/api/v1/admin/audit?filter=action=script.config_changed&per_page=9").await.data(200);
    assert_eq!(trail.as_array().unwrap().len(), 6);
    assert_eq!(trail[1]["detail"], json!({"fields": ["uses_gee"]}));
}

#[tokio::test]
async fn only_owner_and_administrators_change_it_and_nonsense_is_refused() {
    let server = Server::api_only().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let before = admin.publish(&Package::echo("Maps")).await;
    ada.patch(PATH, &json!({"name": "x"})).await.refused(404, "Script with id maps does not exist");
    admin.post_empty("/api/v1/script/maps/publish").await.expect(200);
    let denied = "Only admins or the script owner can update script config";
    ada.patch(PATH, &json!({"name": "x"})).await.refused(403, denied);
    server.execute("UPDATE script SET public = FALSE").await;
    for (body, text) in [
        (json!({}), "JSON body required"),
        (json!({"x": 1}), "No valid fields to update"),
        (json!({"name": ""}), "No valid fields to update"),
        (json!({"uses_gee": "yes"}), "No valid fields to update"),
        (json!({"name": ["x"]}), "name must be a text"),
        (json!({"name": "x".repeat(121)}), "name must be a text of 1 to 120 characters on one line"),
        (json!({"name": "two\nlines"}), "name must be a text of 1 to 120 characters on one line"),
        (json!({"description": 5}), "description must be a text"),
        (json!({"description": "x".repeat(10_001)}), "description has more than 10000 characters"),
    ] {
        admin.patch(PATH, &body).await.refused(400, text);
    }
    admin.send(admin.request(Method::PATCH, PATH)).await.refused(400, "JSON body required");
    admin
        .patch("/api/v1/script/no/config", &json!({"name": "x"}))
        .await
        .refused(404, "Script with id no does not exist");
    assert_eq!(admin.get("/api/v1/script/maps").await.data(200), before);
    server.execute("UPDATE script SET user_id = (SELECT id FROM \"user\" WHERE name = 'ada')").await;
    assert_eq!(ada.patch(PATH, &json!({"name": "Hers"})).await.data(200)["name"], Value::from("Hers"));
}
