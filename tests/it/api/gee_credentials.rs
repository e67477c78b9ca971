//! `GET /api/v1/user/me/gee-credentials`.

use serde_json::json;

use crate::support::Server;

const PATH: &str = "/api/v1/user/me/gee-credentials";

#[tokio::test]
async fn a_person_hears_whether_there_are_credentials_and_never_sees_them() {
    let server = Server::api_only().await;
    let ada = server.user("ada").await;
    server.anonymous().get(PATH).await.refused(401, "Authorization token required");
    let none = json!({"cloud_project": null, "created_at": null, "credentials_type": null, "has_credentials": false});
    assert_eq!(ada.get(PATH).await.data(200), none);
    server
        .execute(r#"UPDATE "user" SET gee_credentials_type = 'oauth', gee_refresh_token = 'secret', gee_cloud_project = 'my-project', gee_credentials_created_at = '2026-01-02 03:04:05' WHERE email = 'ada@example.org'"#)
        .await;
    let some = json!({"cloud_project": "my-project", "created_at": "2026-01-02T03:04:05", "credentials_type": "oauth", "has_credentials": true});
    assert_eq!(ada.get(PATH).await.data(200), some);
    assert_eq!(server.user("bob").await.get(PATH).await.data(200), none);
}
