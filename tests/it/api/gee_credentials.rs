//! `/api/v1/user/…/gee-…`: what people let the server use of Earth Engine.

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use trends_earth::reading;

use crate::support::{
    Options, Server,
    google::{ADDRESS, CODE, Google, REFRESH, service_account},
};

const PATH: &str = "/api/v1/user/me/gee-credentials";
const BEGIN: &str = "/api/v1/user/me/gee-oauth/initiate";
const BACK: &str = "/api/v1/user/me/gee-oauth/callback";
const ANYONE_BACK: &str = "/api/v1/gee-oauth/callback";
const KEY: &str = "/api/v1/user/me/gee-service-account";
const PROJECT: &str = "/api/v1/user/me/gee-credentials/project";

/// A column of ada's, decrypted as the existing server would.
async fn column(server: &Server, name: &str) -> Option<String> {
    let text = sqlx::AssertSqlSafe(format!(r#"SELECT {name} FROM "user" WHERE email = 'ada@example.org'"#));
    let column: Option<String> = reading!(&server.app.db, |on| sqlx::query_scalar(text).fetch_one(on).await).unwrap();
    let open = |text: String| server.app.fernet.as_ref().unwrap().decrypt(&text).unwrap().expose_secret().to_owned();
    column.map(open)
}

#[tokio::test]
async fn a_person_consents_at_google_and_comes_back_once() {
    let google = Google::start().await;
    let operator = STANDARD.encode(service_account("operator").to_string());
    let options = google.settings().set("EE_SERVICE_ACCOUNT_JSON", operator).set("GCS_OUTPUT_BUCKET", "exports");
    let server = Server::with(options.without_worker()).await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    server.anonymous().get(PATH).await.refused(401, "Authorization token required");
    let none = json!({"cloud_project": null, "created_at": null, "credentials_type": null, "has_credentials": false});
    assert_eq!(ada.get(PATH).await.data(200), none);

    let begun = ada.post_empty(BEGIN).await.data(200);
    let url = url::Url::parse(begun["auth_url"].as_str().unwrap()).unwrap();
    assert!(url.as_str().starts_with(&format!("{}/accounts.google.com/o/oauth2/auth?", google.url)));
    let query: std::collections::BTreeMap<_, _> = url.query_pairs().into_owned().collect();
    let asked = "openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/earthengine https://www.googleapis.com/auth/devstorage.full_control";
    for (key, value) in [
        ("response_type", "code"),
        ("client_id", "client-1"),
        ("scope", asked),
        ("code_challenge_method", "S256"),
        ("access_type", "offline"),
        ("include_granted_scopes", "true"),
        ("prompt", "consent"),
        ("state", begun["state"].as_str().unwrap()),
    ] {
        assert_eq!(query[key], value);
    }
    assert_eq!(server.rows(&format!("oauth_state WHERE state_sha256 = '{}'", query["state"])).await, 0);

    let back = json!({"code": CODE, "state": begun["state"]});
    for (body, why) in [
        (json!({}), "JSON data required"),
        (json!({"state": "x"}), "Authorization code is required"),
        (json!({"code": "x"}), "State parameter is required"),
        (json!({"code": CODE, "state": "guessed"}), "Invalid or expired state parameter"),
    ] {
        ada.post(BACK, &body).await.refused(400, why);
        server.anonymous().post(ANYONE_BACK, &body).await.refused(400, why);
    }
    // A state is its owner's.
    bob.post(BACK, &back).await.refused(400, "Invalid or expired state parameter");
    assert_eq!(google.calls(), []);
    assert_eq!(ada.post(BACK, &back).await.expect(200)["message"], "GEE OAuth credentials saved successfully");
    ada.post(BACK, &back).await.refused(400, "Invalid or expired state parameter");
    assert_eq!(column(&server, "gee_oauth_token").await.as_deref(), Some("consented"));
    assert_eq!(column(&server, "gee_refresh_token").await.as_deref(), Some(REFRESH));

    // A project is chosen, and the account at Google is let into the bucket.
    ada.patch(PROJECT, &json!({})).await.refused(400, "JSON data required");
    ada.patch(PROJECT, &json!({"x": 1})).await.refused(400, "cloud_project is required");
    for bad in ["short", "1starts-with-digit", "ends-with-", "Capital-letters", "a-project-of-far-too-many-letters"] {
        let said = ada.patch(PROJECT, &json!({"cloud_project": bad})).await.expect(400);
        assert!(said["detail"].as_str().unwrap().starts_with("cloud_project must be a valid GCP project ID"));
    }
    let said = ada.patch(PROJECT, &json!({"cloud_project": " my-project "})).await.expect(200);
    assert_eq!(said, json!({"message": "GEE cloud project saved successfully", "gcs_write_access": true}));
    assert_eq!(
        google.bindings(),
        json!([{"role": "roles/storage.objectCreator", "members": [format!("user:{ADDRESS}")]}])
    );
    let seen = ada.get(PATH).await.data(200);
    assert_eq!((&seen["credentials_type"], &seen["cloud_project"]), (&json!("oauth"), &json!("my-project")));

    google.calls();
    let tried = ada.post_empty(&format!("{PATH}/test")).await.expect(200);
    assert_eq!(tried["message"], "GEE credentials are valid and working");
    let calls = google.calls();
    assert_eq!(calls[1].path, "/earthengine.googleapis.com/v1/projects/my-project/value:compute");
    assert_eq!(calls[1].token, "refreshed");
    ada.patch(PROJECT, &json!({"cloud_project": "closed-project"})).await.expect(200);
    ada.post_empty(&format!("{PATH}/test")).await.refused(400, "GEE credentials are invalid or expired");

    ada.delete(PATH).await.expect(200);
    assert_eq!(google.bindings()[0]["members"], json!([]));
    assert_eq!(ada.get(PATH).await.data(200), none);
    ada.delete(PATH).await.refused(404, "No GEE credentials found");

    // By the state alone, for the plugin; a code that Google does not know uses the state up.
    let request = ada.request(reqwest::Method::POST, BEGIN).header("x-te-client", "type=qgis_plugin; version=2");
    let begun = ada.send(request).await.data(200);
    let back = json!({"code": CODE, "state": begun["state"]});
    let said = server.anonymous().post(ANYONE_BACK, &back).await.data(200);
    assert_eq!(said, json!({"client_type": "qgis_plugin", "gee_google_email": ADDRESS, "status": "connected"}));
    let begun = bob.post_empty(BEGIN).await.data(200);
    let wrong = json!({"code": "4/wrong", "state": begun["state"]});
    bob.post(BACK, &wrong).await.refused(400, "Google did not accept the code; start again.");
    bob.post(BACK, &wrong).await.refused(400, "Invalid or expired state parameter");
    let begun = bob.post_empty(BEGIN).await.data(200);
    server.execute("UPDATE oauth_state SET expires_at = '2026-01-01 00:00:00'").await;
    let late = json!({"code": CODE, "state": begun["state"]});
    bob.post(BACK, &late).await.refused(400, "Invalid or expired state parameter");
    assert_eq!(bob.get(PATH).await.data(200), none);
    let acts = "audit_event WHERE action = 'credential.set' AND target_type = 'user'";
    assert_eq!(server.rows(acts).await, 2);
    assert_eq!(server.rows("audit_event WHERE action = 'credential.deleted'").await, 1);
}

#[tokio::test]
async fn the_key_of_a_service_account_is_stored_and_tried_also_by_administrators() {
    let google = Google::start().await;
    let server = Server::with(google.settings().without_worker()).await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let id = ada.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    let key = service_account("hers");
    let without = |name: &str| {
        let mut key = key.clone();
        key.as_object_mut().unwrap().remove(name);
        json!({"service_account_key": key})
    };
    ada.post_empty(KEY).await.refused(400, "JSON data required");
    ada.post(KEY, &json!({"a": 1})).await.refused(400, "Service account key is required");
    ada.post(KEY, &json!({"service_account_key": "{"}))
        .await
        .refused(400, "Invalid JSON format for service account key");
    let mut bad = vec![json!({"service_account_key": {"type": "x"}}), json!({"service_account_key": []})];
    bad.extend(key.as_object().unwrap().keys().map(|name| without(name)));
    for body in bad {
        ada.post(KEY, &body).await.refused(400, "Invalid service account key format");
    }
    // What was stored by a consent before goes.
    server
        .execute(r#"UPDATE "user" SET gee_credentials_type = 'oauth', gee_refresh_token = 'x', gee_oauth_token = 'x', gee_cloud_project = 'old' WHERE email = 'ada@example.org'"#)
        .await;
    ada.post(KEY, &json!({"service_account_key": key.to_string()})).await.expect(200);
    let stored = column(&server, "gee_service_account_key").await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&stored).unwrap(), key);
    assert_eq!(column(&server, "gee_refresh_token").await, None);
    ada.patch(PROJECT, &json!(1)).await.refused(400, "Cloud project selection only applies to OAuth credentials.");

    // Google is asked where the settings say, never where the key says.
    ada.post_empty(&format!("{PATH}/test")).await.expect(200);
    let calls = google.calls();
    assert_eq!(calls[0].path, "/oauth2.googleapis.com/token");
    assert_eq!(calls[1].token, "token of hers@hers-project.iam.gserviceaccount.com");
    assert_eq!(calls[1].path, "/earthengine.googleapis.com/v1/projects/hers-project/value:compute");

    let (theirs, set) =
        (format!("/api/v1/user/{id}/gee-credentials"), format!("/api/v1/user/{id}/gee-service-account"));
    for answer in [ada.get(&theirs).await, ada.delete(&theirs).await, ada.post(&set, &json!({})).await] {
        answer.refused(403, "Admin access required");
    }
    for id in ["99999999-0000-4000-8000-000000000000", "ada@example.org", "garbage"] {
        admin.get(&format!("/api/v1/user/{id}/gee-credentials")).await.refused(404, "User not found");
    }
    let seen = admin.get(&theirs).await.data(200);
    assert_eq!(
        (&seen["credentials_type"], &seen["user_email"]),
        (&json!("service_account"), &json!("ada@example.org"))
    );
    let tried = admin.post_empty(&format!("{theirs}/test")).await.expect(200);
    assert_eq!(tried["message"], "GEE credentials for user ada@example.org are valid and working");
    let gone = admin.delete(&theirs).await.expect(200);
    assert_eq!(gone["message"], "GEE credentials deleted for user ada@example.org");
    admin.delete(&theirs).await.refused(404, "No GEE credentials found for user");
    admin.post_empty(&format!("{theirs}/test")).await.refused(400, "No GEE credentials configured for user");
    // A key that is none is stored as the existing server stores it, and found out when it is tried.
    let mut forged = key.clone();
    forged["private_key"] = json!("-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n");
    admin.post(&set, &json!({"service_account_key": forged})).await.expect(200);
    let refused = "GEE credentials for user ada@example.org are invalid or expired";
    admin.post_empty(&format!("{theirs}/test")).await.refused(400, refused);
    // What was stored under another key counts as none that works, and nobody is asked.
    google.calls();
    server.execute(r#"UPDATE "user" SET gee_service_account_key = 'foreign' WHERE email = 'ada@example.org'"#).await;
    ada.post_empty(&format!("{PATH}/test")).await.refused(400, "GEE credentials are invalid or expired");
    assert_eq!(google.calls(), []);
}

#[tokio::test]
async fn without_a_key_or_a_client_of_google_a_sentence_says_so() {
    let server = Server::with(Options::default().without_worker()).await;
    let ada = server.user("ada").await;
    ada.post_empty(BEGIN).await.refused(503, "OAuth not configured");
    let key = json!({"service_account_key": service_account("hers")});
    let sentence = "This server has no key to encrypt credentials with; its operator has to set GEE_ENCRYPTION_KEY.";
    ada.post(KEY, &key).await.refused(503, sentence);
    assert_eq!(ada.get(PATH).await.data(200)["has_credentials"], false);
}
