//! `/api/v1/user/me/google-groups…`: wishes are kept, and told to Google where the settings allow it.

use serde_json::json;

use crate::support::{
    Server,
    google::{Google, service_account},
};

const PATH: &str = "/api/v1/user/me/google-groups";
const SYNC: &str = "/api/v1/user/me/google-groups/sync";

#[tokio::test]
async fn wishes_are_kept_without_an_account_for_groups_and_google_is_not_asked() {
    let google = Google::start().await;
    let server = Server::with(google.settings().without_worker()).await;
    let ada = server.user("ada").await;
    let groups = server.anonymous().get("/api/v1/google-groups/info").await.data(200)["available_groups"].take();
    assert_eq!(
        groups["trendsearth"],
        json!({"description": "TrendsEarth community group", "group_name": "TrendsEarth"})
    );
    let seen = ada.get(PATH).await.data(200);
    assert_eq!(seen["service_available"], false);
    assert_eq!(seen["sync_status"], json!({"last_sync": null, "registration_status": null}));
    assert_eq!(seen["available_groups"]["trendsearth"]["group_email"], "trendsearth@googlegroups.com");

    let put = async |body| ada.send(ada.request(reqwest::Method::PUT, PATH).json(&body)).await;
    put(json!({})).await.refused(400, "Request body is required");
    put(json!({"preferences": []})).await.refused(400, "'preferences' must be an object");
    let keys = "Invalid group keys: ['x']. Valid keys: ['trends_earth_users', 'trendsearth']";
    put(json!({"preferences": {"x": true}})).await.refused(400, keys);
    let kind = "Preference for 'trendsearth' must be a boolean";
    put(json!({"preferences": {"trendsearth": "yes"}})).await.refused(400, kind);
    let said = put(json!({"preferences": {"trendsearth": true}})).await.data(200);
    assert_eq!((&said["updated_groups"], &said["sync_results"]), (&json!(["trendsearth"]), &json!(null)));
    assert_eq!(said["preferences"], json!({"trends_earth_users": false, "trendsearth": true}));
    assert_eq!(put(json!({"trendsearth": false})).await.data(200)["preferences"]["trendsearth"], true);
    ada.post_empty(SYNC).await.refused(503, "Google Groups service is not available");
    assert_eq!(google.calls(), []);
}

#[tokio::test]
async fn google_is_told_who_wants_to_be_in_a_group_and_who_no_longer() {
    let google = Google::start().await;
    let key = service_account("groups").to_string();
    let options = google.settings().set("TE_GOOGLE_GROUPS_JSON", key).set("TE_GOOGLE_GROUPS_ADMIN", "boss@example.org");
    let server = Server::with(options.without_worker()).await;
    let ada = server.user("ada").await;
    let put = async |body| ada.send(ada.request(reqwest::Method::PUT, PATH).json(&body)).await.data(200);
    let said = put(json!({"preferences": {"trendsearth": true}})).await;
    let added = json!({"success": true, "group": "trendsearth", "group_email": "trendsearth@googlegroups.com", "action": "added"});
    assert_eq!(said["sync_results"]["groups"], json!({"trendsearth": added}));
    assert_eq!(said["sync_results"]["user_email"], "ada@example.org");
    assert_eq!(google.members(), ["trendsearth@googlegroups.com ada@example.org"]);
    assert_eq!(google.calls()[1].token, "token of boss@example.org");
    // What is so already is success.
    let said = ada.post_empty(SYNC).await.data(200);
    let groups = &said["sync_results"]["groups"];
    assert_eq!(
        (&groups["trendsearth"]["success"], &groups["trends_earth_users"]["success"]),
        (&json!(true), &json!(true))
    );
    let status = ada.get(PATH).await.data(200)["sync_status"].take();
    assert_eq!(status["last_sync"], said["sync_results"]["timestamp"]);
    assert!(status["registration_status"].as_str().unwrap().contains("trendsearth@googlegroups.com"));
    put(json!({"preferences": {"trendsearth": false}})).await;
    assert_eq!(google.members(), [""; 0]);
    // Nobody is put into a group by an address that may be somebody else's.
    server.execute(r#"UPDATE "user" SET email_verified = FALSE WHERE email = 'ada@example.org'"#).await;
    let said = put(json!({"preferences": {"trendsearth": true}})).await;
    assert_eq!(said["sync_results"]["groups"]["trendsearth"]["error"], "The address is not confirmed yet");
    assert_eq!(google.members(), [""; 0]);
}
