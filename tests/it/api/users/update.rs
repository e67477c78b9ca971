//! `PATCH /user/<u>`, and how a path names an account.

use serde_json::json;
use trends_earth::store::users::Role;

use crate::support::Server;

#[tokio::test]
async fn a_superadmin_changes_others_and_the_role_is_live_at_once() {
    let server = Server::api_only().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let id = ada.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/user/{id}");
    ada.get("/api/v1/user").await.refused(403, "Forbidden");
    let changed = admin.patch(&path, &json!({"role": "ADMIN", "max_concurrent_executions": 7})).await.data(200);
    assert_eq!((&changed["role"], &changed["max_concurrent_executions"]), (&json!("ADMIN"), &json!(7)));
    ada.get("/api/v1/user").await.expect(200);
    // An administrator manages accounts, not rights.
    ada.patch(&path, &json!({"role": "SUPERADMIN"})).await.refused(403, "Forbidden");
    ada.patch(&path, &json!({"role": "KING"})).await.refused(400, "Invalid role");
    let kept =
        admin.patch(&path, &json!({"max_concurrent_executions": 0, "email": "other@example.org"})).await.data(200);
    assert_eq!((&kept["max_concurrent_executions"], &kept["email"]), (&json!(7), &json!("ada@example.org")));
    admin.patch(&path, &json!({"email": "nonsense"})).await.refused(400, "Invalid email format");
    assert_eq!(admin.patch("/api/v1/user/ada@example.org", &json!({})).await.data(200)["id"], id.as_str());
    assert_eq!(
        admin.get(&format!("/api/v1/user/{}", id.replace('-', "").to_uppercase())).await.data(200)["id"],
        id.as_str()
    );
    for nobody in ["garbage", "ADA@example.org", "00000000-0000-4000-8000-000000000000"] {
        let sentence = format!("User with id {nobody} does not exist");
        admin.patch(&format!("/api/v1/user/{nobody}"), &json!({"name": "x"})).await.refused(404, &sentence);
    }
}

#[tokio::test]
async fn the_last_superadmin_stays_one() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let me = admin.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/user/{me}");
    let step_down = json!({"role": "USER"});
    admin
        .patch(&path, &step_down)
        .await
        .refused(409, "The last SUPERADMIN keeps the role; give it to somebody else first.");
    admin
        .delete(&path)
        .await
        .refused(409, "The last SUPERADMIN cannot be deleted; give the role to somebody else first.");
    server.account("second", Role::Superadmin).await;
    assert_eq!(admin.patch(&path, &step_down).await.data(200)["role"], "USER");
}
