//! `/user/me`.

use serde_json::json;

use crate::support::Server;

#[tokio::test]
async fn a_person_changes_the_own_profile_and_neither_role_nor_limits_nor_address() {
    let server = Server::api_only().await;
    let ada = server.user("ada").await;
    let body = json!({"name": "Ada Lovelace", "country": "", "sector": "Academic", "role": "SUPERADMIN", "email": "other@example.org",
        "max_concurrent_executions": 500, "email_notifications_enabled": false});
    let me = ada.patch("/api/v1/user/me", &body).await.data(200);
    assert_eq!((&me["name"], &me["country"], &me["sector"]), (&json!("Ada Lovelace"), &json!(""), &json!("academic")));
    assert_eq!((&me["role"], &me["email"]), (&json!("USER"), &json!("ada@example.org")));
    assert_eq!((&me["max_concurrent_executions"], &me["email_notifications_enabled"]), (&json!(null), &json!(false)));
    assert_eq!(ada.get("/api/v1/user/me").await.data(200), me);
    let me =
        ada.patch("/api/v1/user/me", &json!({"email_subscription_news": true, "country": null, "name": "Ada"})).await;
    let me = me.data(200);
    assert_eq!((&me["consent_source"], &me["country"]), (&json!("profile_settings"), &json!(null)));
}

#[tokio::test]
async fn what_changes_nothing_or_is_wrong_is_refused() {
    let server = Server::api_only().await;
    let ada = server.user("ada").await;
    for body in [
        json!({}),
        json!({"foo": 1}),
        json!({"role": "ADMIN"}),
        json!({"role_title": "Boss"}),
        json!({"password": "x", "repeatPassword": "x"}),
    ] {
        ada.patch("/api/v1/user/me", &body).await.refused(400, "Not updated");
    }
    for (body, sentence) in [
        (json!({"name": ""}), "Name cannot be empty"),
        (json!({"name": null, "country": "Italy"}), "Name cannot be empty"),
        (json!({"name": "x", "sector": "nonsense"}), "Invalid sector selection"),
        (json!({"name": "<script>alert(1)</script>"}), "Name contains invalid characters"),
    ] {
        ada.patch("/api/v1/user/me", &body).await.refused(400, sentence);
    }
    assert_eq!(ada.get("/api/v1/user/me").await.data(200)["name"], "ada");
}
