//! `POST /user`.

use serde_json::json;
use trends_earth::store::users::Role;

use crate::support::{Options, Server};

#[tokio::test]
async fn anybody_registers_and_nobody_gives_himself_a_role() {
    let server = Server::api_only().await;
    let body = json!({"email": " New@Example.ORG ", "name": "<b>Zoë</b> Ångström", "country": "Kenya", "role": "SUPERADMIN",
        "password": "ignored", "email_subscription_news": true, "is_plugin_user": true});
    let made = server.anonymous().post("/api/v1/user", &body).await.data(200);
    assert_eq!(
        (&made["email"], &made["name"], &made["role"]),
        (&json!("new@example.org"), &json!("Zoë Ångström"), &json!("USER"))
    );
    assert_eq!((&made["email_verified"], &made["is_plugin_user"]), (&json!(false), &json!(true)));
    assert_eq!((&made["consent_source"], &made["is_in_mailing_list"]), (&json!("registration"), &json!(true)));
    assert!(made.get("password").is_none());
    let again = json!({"email": "NEW@example.org", "name": "Somebody"});
    server.anonymous().post("/api/v1/user", &again).await.refused(400, "Email address is already registered");
    server.anonymous().post("/auth", &json!({"email": "new@example.org", "password": "ignored"})).await.expect(401);
}

#[tokio::test]
async fn a_role_is_given_by_a_superadmin_only() {
    let server = Server::api_only().await;
    let body = |email: &str| json!({"email": email, "name": "Somebody", "role": "ADMIN"});
    for caller in [server.user("ada").await, server.account("boss", Role::Admin).await] {
        caller.post("/api/v1/user", &body("a@example.org")).await.refused(403, "Forbidden");
    }
    assert_eq!(server.admin().await.post("/api/v1/user", &body("a@example.org")).await.data(200)["role"], "ADMIN");
    // What no client would send on purpose counts as no token.
    let stale = server.anonymous().with_token("null".to_owned());
    assert_eq!(stale.post("/api/v1/user", &body("b@example.org")).await.data(200)["role"], "USER");
}

#[tokio::test]
async fn what_is_wrong_with_a_field_is_said_and_nothing_is_kept() {
    let server = Server::api_only().await;
    let before = server.rows("\"user\"").await;
    let with = |key: &str, value: serde_json::Value| {
        let mut body = json!({"email": "x@example.org", "name": "Somebody"});
        body[key] = value;
        body
    };
    for (body, sentence) in [
        (json!({"name": "x"}), "Email is required"),
        (json!({"email": "x@example.org"}), "Name is required"),
        (with("email", json!("nobody")), "Invalid email format"),
        (with("email", json!(["x@example.org"])), "Invalid email format"),
        (with("email", json!(format!("{}@example.org", "x".repeat(120)))), "Email address too long"),
        (with("name", json!("a;b")), "Name contains invalid characters"),
        (with("name", json!("a\u{0}b")), "Name contains invalid characters"),
        (with("name", json!("javascript:alert")), "Invalid content detected"),
        (with("name", json!("&lt;script&gt;")), "Invalid content detected"),
        (with("country", json!("C3")), "Country contains invalid characters"),
        (with("institution", json!("a;b")), "Institution contains invalid characters"),
        (with("role_title", json!("x onclick=y")), "Invalid content detected"),
        (with("sector", json!("x")), "Invalid sector selection"),
        (with("gender_identity", json!(7)), "Invalid gender identity selection"),
        (with("purpose_of_use", json!("fun")), "Invalid purpose of use selection"),
        (with("gee_license_acknowledged", json!("yes")), "gee_license_acknowledged must be a boolean"),
        (with("email_notifications_enabled", json!("yes")), "email_notifications_enabled must be a boolean"),
        (with("email_subscription_news", json!(null)), "email_subscription_news must be a boolean"),
        (with("role", json!("KING")), "Invalid role"),
        (with("role", json!(null)), "Invalid role"),
    ] {
        server.anonymous().post("/api/v1/user", &body).await.refused(400, sentence);
    }
    assert_eq!(server.rows("\"user\"").await, before);
}

#[tokio::test]
async fn two_who_register_one_address_at_one_time_get_one_account() {
    let server = Server::api_only().await;
    let body = json!({"email": "twin@example.org", "name": "Twin"});
    let anonymous = server.anonymous();
    let answers = futures::future::join_all((0..8).map(|_| anonymous.post("/api/v1/user", &body))).await;
    let made = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(made, 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.refused(400, "Email address is already registered");
    }
}

#[tokio::test]
async fn the_address_of_the_environment_account_cannot_be_registered() {
    let server = Server::with(Options::default().without_worker().set("API_ENVIRONMENT_USER", "gef@example.org")).await;
    let body = json!({"email": "GEF@example.org", "name": "Nobody"});
    server.anonymous().post("/api/v1/user", &body).await.refused(400, "Email address is already registered");
}
