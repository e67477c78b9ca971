//! New passwords.

use serde_json::json;
use trends_earth::store::users::Role;

use crate::support::{Options, Server};

const NEW: &str = "An0ther!Passw0rd";

#[tokio::test]
async fn a_new_password_ends_every_other_session_and_the_caller_goes_on() {
    let server = Server::api_only().await;
    let ada = server.user("ada").await;
    let session = ada.post("/auth", &json!({"email": ada.email, "password": ada.password})).await.expect(200);
    let path = "/api/v1/user/me/change-password";
    let body = |old: &str, new: &str| json!({"old_password": old, "new_password": new});
    ada.patch(path, &json!({"new_password": NEW})).await.refused(400, "old_password and new_password are required");
    let wrong = ada.patch(path, &body("x", NEW)).await;
    wrong.refused(401, "Invalid current password");
    assert_eq!(wrong.json()["error_code"], "invalid_password");
    ada.patch(path, &body(&ada.password, &ada.password))
        .await
        .refused(422, "New password must be different from current password");
    for (new, sentence) in [
        ("Sh0rt!", "Password must be at least 12 characters long"),
        ("lower!passw0rd", "Password must include an uppercase letter"),
        ("UPPER!PASSW0RD", "Password must include a lowercase letter"),
        ("Without!Number", "Password must include a number"),
        ("W1thoutSpecial~", "Password must include a special character"),
    ] {
        ada.patch(path, &body(&ada.password, new)).await.refused(422, sentence);
    }
    let changed = ada.patch(path, &body(&ada.password, NEW)).await;
    changed.data(200);
    ada.get("/api/v1/user/me").await.expect(401);
    let refreshed = ada.post("/auth/refresh", &json!({"refresh_token": session["refresh_token"]})).await;
    refreshed.expect(401);
    let token = changed.headers["x-te-access-token"].to_str().unwrap().to_owned();
    ada.with_token(token).get("/api/v1/user/me").await.expect(200);
    server.sign_in(&ada.email, NEW).await;
}

#[tokio::test]
async fn an_administrator_gives_new_passwords_but_not_to_those_above() {
    let options = Options::default().without_worker().set("API_ENVIRONMENT_USER", "gef@example.org");
    let server = Server::with(options).await;
    let (admin, ada) = (server.account("boss", Role::Admin).await, server.user("ada").await);
    server.account("gef", Role::User).await;
    let body = json!({"new_password": NEW});
    let path = |who: &str| format!("/api/v1/user/{who}@example.org/change-password");
    ada.patch(&path("boss"), &body).await.refused(403, "Forbidden");
    for above in ["admin", "gef"] {
        admin.patch(&path(above), &body).await.refused(403, "Administrators cannot change superadmin passwords");
    }
    admin.patch(&path("ada"), &json!({})).await.refused(400, "new_password is required");
    admin
        .patch(&path("ada"), &json!({"new_password": "short"}))
        .await
        .refused(422, "Password must be at least 12 characters long");
    admin.patch(&path("ada"), &body).await.data(200);
    ada.get("/api/v1/user/me").await.expect(401);
    server.sign_in("ada@example.org", NEW).await;
}
