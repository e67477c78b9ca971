//! `POST /api/v1/execution/<id>/rerun`.

use serde_json::json;

use super::run::with_script;
use crate::support::Package;

#[tokio::test]
async fn a_run_is_started_again_with_its_version_and_parameters_or_with_others() {
    let (server, admin, ada) = with_script().await;
    let first = ada.run("echo", &json!({"a": 1})).await;
    let again = format!("/api/v1/execution/{first}/rerun");
    let packed = Package::echo("Echo").file("src/more.py", "x = 1").pack();
    admin.upload(reqwest::Method::PATCH, "/api/v1/script/echo", "echo.tar.gz", packed).await.expect(200);
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;

    for (body, version, params) in [
        (json!(null), 1, json!({"a": 1})),
        (json!({}), 1, json!({"a": 1})),
        (json!({"version": "same"}), 1, json!({"a": 1})),
        (json!({"version": "latest"}), 2, json!({"a": 1})),
        (json!({"params": {"b": 2}}), 1, json!({"b": 2})),
    ] {
        let run = ada.post(&again, &body).await.data(200);
        assert_eq!((&run["script_version"], &run["params"]), (&json!(version), &params), "{body}");
        assert_eq!((&run["status"], run["id"] == json!(first)), (&json!("PENDING"), false));
    }
    ada.post_empty(&again).await.expect(200);
    ada.post(&again, &json!({"version": 2})).await.refused(400, "version must be \"same\" or \"latest\"");
    ada.post(&again, &json!({"params": [1]})).await.refused(400, "params must be an object, such as {\"year\": 2020}");
    server.user("grace").await.post(&again, &json!({})).await.refused(404, "Ticket Not Found");
    server.anonymous().post(&again, &json!({})).await.expect(401);
    // An administrator's rerun is his own.
    let own = admin.post(&again, &json!({})).await.data(200);
    assert_eq!(own["user_id"], admin.get("/api/v1/user/me").await.data(200)["id"]);
    // Who may not see the script any more may not run it again.
    admin.post_empty("/api/v1/script/echo/unpublish").await.expect(200);
    let sentence = format!("The script of execution {first} does not exist any more");
    ada.post(&again, &json!({})).await.refused(404, &sentence);
}
