//! `POST /api/v1/script/<s>/publish` and `…/unpublish`.

use serde_json::json;
use trends_earth::store::users::Role;

use crate::support::{Package, Server};

#[tokio::test]
async fn publishing_sets_public_and_nothing_else() {
    let server = Server::api_only().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let script = admin.publish(&Package::echo("Shown")).await;
    let id = script["id"].as_str().unwrap();
    for (verb, key, public) in [("publish", "shown", true), ("unpublish", id, false), ("publish", id, true)] {
        let answer = admin.post_empty(&format!("/api/v1/script/{key}/{verb}")).await;
        let mut expected = script.clone();
        expected["public"] = json!(public);
        assert_eq!(answer.data(200), expected);
        let seen = ada.get("/api/v1/script/shown").await;
        assert_eq!(seen.status, if public { 200 } else { 404 });
    }
    admin.post("/api/v1/script/shown/unpublish/", &json!({})).await.expect(200);
    admin.post("/api/v1/script/shown/unpublish", &json!({"any": "thing"})).await.expect(200);
}

#[tokio::test]
async fn the_owner_publishes_by_slug_too_and_others_are_told_nothing() {
    let server = Server::api_only().await;
    let (ada, grace) = (server.account("ada", Role::Admin).await, server.user("grace").await);
    ada.publish(&Package::echo("Owned")).await;
    server.execute("UPDATE \"user\" SET role = 'USER' WHERE email = 'ada@example.org'").await;
    ada.post_empty("/api/v1/script/owned/publish").await.expect(200);
    for verb in ["publish", "unpublish"] {
        let answer = grace.post_empty(&format!("/api/v1/script/owned/{verb}")).await;
        answer.refused(404, "Script with id owned does not exist");
    }
    server.anonymous().post_empty("/api/v1/script/owned/unpublish").await.expect(401);
    assert_eq!(grace.get("/api/v1/script/owned").await.data(200)["public"], true);
}
