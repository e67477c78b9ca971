//! `/user/me/sessions` and `/user/me/clients`.

use reqwest::Method;
use serde_json::json;
use trends_earth::store::users::Role;

use crate::support::{Server, until};

#[tokio::test]
async fn a_person_sees_and_ends_the_own_sessions_only() {
    let server = Server::api_only().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let body = json!({"email": ada.email, "password": ada.password});
    let request = server.anonymous().request(Method::POST, "/auth").header("user-agent", "QGIS\u{e9}").json(&body);
    let session = server.anonymous().send(request).await.expect(200);
    let list = ada.get("/api/v1/user/me/sessions").await.data(200);
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert!(list[0]["device_info"].as_str().unwrap().starts_with("IP: 127.0.0.1 | UA: QGIS"), "{list}");
    assert_eq!((&list[0]["is_revoked"], &list[0]["last_used_at"]), (&json!(false), &json!(null)));
    let path = format!("/api/v1/user/me/sessions/{}", list[0]["id"].as_str().unwrap());
    bob.delete(&path).await.refused(404, "Session not found");
    bob.delete("/api/v1/user/me/sessions/garbage").await.refused(404, "Session not found");
    for _ in 0..2 {
        assert_eq!(ada.delete(&path).await.expect(200), json!({"message": "Session revoked successfully"}));
    }
    ada.post("/auth/refresh", &json!({"refresh_token": session["refresh_token"]})).await.expect(401);
    assert_eq!(ada.delete("/api/v1/user/me/sessions").await.expect(200)["message"], "Successfully revoked 1 sessions");
    assert_eq!(ada.get("/api/v1/user/me/sessions").await.data(200), json!([]));
}

#[tokio::test]
async fn what_people_work_with_is_noted_and_counted() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let sign_in = async |name: &str, header: &'static [u8]| {
        let body = json!({"email": format!("{name}@example.org"), "password": "User!Passw0rd#12"});
        let value = reqwest::header::HeaderValue::from_bytes(header).unwrap();
        let request = server.anonymous().request(Method::POST, "/auth").header("x-te-client", value).json(&body);
        server.anonymous().send(request).await.expect(200);
    };
    let ada = server.user("ada").await;
    server.user("bob").await;
    sign_in("ada", b"type=qgis_plugin; version=2.2.4; qgis_version=3.34.0; os=Windows; lang=en; other=x").await;
    sign_in("ada", "type=qgis_plugin; version=2.2.5; os=Fenêtres".as_bytes()).await;
    sign_in("ada", b"type=api_ui; version=1.0; lang=en").await;
    sign_in("ada", b"type=unknown; version=9").await;
    sign_in("bob", b"type=qgis_plugin; version=2.2.4; lang=fr").await;
    let list = ada.get("/api/v1/user/me/clients").await.data(200);
    assert_eq!(list.as_array().unwrap().len(), 2);
    let plugin = &list[0];
    assert_eq!(
        (&plugin["client_version"], &plugin["qgis_version"], &plugin["os"]),
        (&json!("2.2.5"), &json!("3.34.0"), &json!("Fenêtres"))
    );
    assert_eq!(plugin["extra_metadata"], json!({"other": "x"}));
    let stats = admin.get("/api/v1/admin/client-stats").await.expect(200);
    assert_eq!(stats["platform_summary"]["qgis_plugin"], json!({"active_users": 2, "total_users": 2}));
    assert_eq!(
        stats["language_stats"],
        json!([{"language": "en", "user_count": 1}, {"language": "fr", "user_count": 1}])
    );
    assert_eq!(stats["plugin_stats"]["by_plugin_version"][0]["user_count"], 1);
    let narrow = admin.get("/api/v1/admin/client-stats?days=junk&client_type=cli").await.expect(200);
    assert_eq!((&narrow["period_days"], narrow.get("plugin_stats")), (&json!(30), None));
    let boss = server.account("boss", Role::Admin).await;
    assert_eq!(boss.get("/api/v1/admin/client-stats").await.expect(403)["msg"], "Superadmin access required");
}

#[tokio::test]
async fn a_session_that_nobody_uses_ends_and_one_in_use_goes_on() {
    let mut server = Server::start().await;
    for name in ["ada", "bob"] {
        server.user(name).await;
    }
    server.execute("UPDATE refresh_tokens SET created_at = '2026-01-01 00:00:00'").await;
    let ada = "user_id = (SELECT id FROM \"user\" WHERE email = 'ada@example.org')";
    let recently = server.app.clock.now() - chrono::TimeDelta::days(13);
    server.execute(&format!("UPDATE refresh_tokens SET last_used_at = '{recently}' WHERE {ada}")).await;
    server.restart().await;
    until("it is swept", async || server.rows("refresh_tokens").await == 1).await;
    assert_eq!(server.rows(&format!("refresh_tokens WHERE {ada}")).await, 1);
}
