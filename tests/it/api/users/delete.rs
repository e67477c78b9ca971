//! The end of an account.

use serde_json::json;
use sqlx::AssertSqlSafe;
use trends_earth::{reading, store::Db};

use crate::support::{Options, Package, Server, until};

/// Every value of every text column of the database, and every file of the data folder but the server's own log.
async fn everything(server: &Server) -> String {
    let columns: Vec<(String, String)> = match &server.app.db {
        Db::Sqlite { read, .. } => sqlx::query_as(
            "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' AND t.name NOT LIKE '_sqlx%'",
        )
        .fetch_all(read)
        .await
        .unwrap(),
        Db::Postgres(pool) => sqlx::query_as(
            "SELECT table_name::text, column_name::text FROM information_schema.columns WHERE table_schema = 'public' AND table_name NOT LIKE '_sqlx%'",
        )
        .fetch_all(&**pool)
        .await
        .unwrap(),
    };
    let mut found = String::new();
    for (table, column) in columns {
        let text = AssertSqlSafe(format!("SELECT CAST(\"{column}\" AS TEXT) FROM \"{table}\""));
        let values: Vec<Option<String>> =
            reading!(&server.app.db, |on| sqlx::query_scalar(text).fetch_all(on).await).unwrap();
        for value in values.into_iter().flatten() {
            found.push_str(&format!("{table}.{column}: {value}\n"));
        }
    }
    for file in server.files(&["objects", "builds", "runs", "versions", "mail"]) {
        if let Ok(text) = std::fs::read(&file) {
            found.push_str(&String::from_utf8_lossy(&text));
        }
    }
    found
}

#[tokio::test]
async fn a_deleted_person_leaves_no_word_behind_and_others_keep_their_work() {
    let server = Server::api_only().await;
    let (admin, bob) = (server.admin().await, server.user("bob").await);
    let ada = server.account("ada.lovelace", trends_earth::store::users::Role::Admin).await;
    ada.publish(&Package::echo("shared")).await;
    ada.publish(&Package::echo("own")).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    server.execute("UPDATE script SET public = TRUE WHERE slug = 'shared'").await;
    let kept = bob.run("shared", &json!({"of": "bob"})).await;
    let gone = ada.run("shared", &json!({"of": "ada"})).await;
    let client = ada.post("/api/v1/oauth/clients", &json!({"name": "robot"})).await.data(201);
    ada.post("/auth", &json!({"email": ada.email, "password": "wrong"})).await.expect(401);
    let id = ada.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    server
        .execute(&format!(
            "INSERT INTO rate_limit_event (id, occurred_at, user_id, user_email, rate_limit_type, endpoint, ip_address)
        VALUES ('{}', '2026-01-01 00:00:00', '{id}', 'ada.lovelace@example.org', 'USER', '/x', '203.0.113.7')",
            uuid::Uuid::new_v4()
        ))
        .await;
    assert!(everything(&server).await.contains("ada.lovelace"));

    let deleted = admin.delete("/api/v1/user/ada.lovelace@example.org").await.data(200);
    assert_eq!(deleted["id"], id.as_str());
    let left = everything(&server).await;
    let line = left.lines().find(|line| line.contains("lovelace") || line.contains("203.0.113.7"));
    assert_eq!(line, None);
    ada.get("/api/v1/user/me").await.expect(401);
    server.anonymous().post("/auth", &json!({"email": ada.email, "password": ada.password})).await.expect(401);
    let form = json!({"grant_type": "client_credentials", "client_id": client["client_id"], "client_secret": client["client_secret"]});
    server.anonymous().post("/api/v1/oauth/token", &form).await.expect(401);

    // What others use goes on under the administrator who acted.
    let boss = admin.get("/api/v1/user/me").await.data(200)["id"].clone();
    assert_eq!(admin.get("/api/v1/script/shared").await.data(200)["user_id"], boss);
    assert_eq!(bob.get(&format!("/api/v1/execution/{kept}")).await.data(200)["params"], json!({"of": "bob"}));
    admin.get(&format!("/api/v1/execution/{gone}")).await.expect(404);
    admin.get("/api/v1/script/own").await.expect(404);
    assert_eq!(server.rows("user_deletion_audit").await, 1);
    let same = json!({"email": "ada.lovelace@example.org", "name": "Ada"});
    server.anonymous().post("/api/v1/user", &same).await.data(200);
}

#[tokio::test]
async fn a_person_deletes_the_own_account_and_administrators_ask_another() {
    let options = Options::default().without_worker().set("API_ENVIRONMENT_USER", "gef@example.org");
    let server = Server::with(options).await;
    let (admin, ada, gef) = (server.admin().await, server.user("ada").await, server.user("gef").await);
    let sentence = "Admin accounts cannot be deleted via self-service. Please contact a system administrator.";
    admin.delete("/api/v1/user/me").await.refused(403, sentence);
    gef.delete("/api/v1/user/me").await.refused(403, sentence);
    let id = gef.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    for path in ["GEF@example.org", "gef@example.org", &id] {
        admin.delete(&format!("/api/v1/user/{path}")).await.refused(403, "Forbidden");
    }
    assert_eq!(ada.delete("/api/v1/user/me").await.data(200)["email"], "ada@example.org");
    ada.get("/api/v1/user/me").await.expect(401);
    admin.delete("/api/v1/user/ada@example.org").await.refused(404, "User with id ada@example.org does not exist");
}

#[tokio::test]
async fn a_deleted_person_leaves_no_letter_and_no_folder_of_a_run_on_the_machine() {
    let mut server = Server::start().await;
    if !server.has_sandbox().await {
        return;
    }
    let (admin, bob) = (server.admin().await, server.user("bob").await);
    let ada = server.account("ada.lovelace", trends_earth::store::users::Role::Admin).await;
    ada.publish_built(&Package::echo("echo")).await;
    server.execute("UPDATE script SET public = TRUE").await;
    let gone = ada.run("echo", &json!({"of": "ada.lovelace"})).await;
    let kept = bob.run("echo", &json!({"of": "bob"})).await;
    ada.ended(&gone).await;
    bob.ended(&kept).await;
    server.unit_is_gone(&gone).await;
    until("the letter about each run is a file", async || server.files(&["mail"]).len() == 2).await;
    assert!(everything(&server).await.contains("ada.lovelace"));

    admin.delete("/api/v1/user/ada.lovelace@example.org").await.data(200);
    assert_eq!(server.files(&["mail"]).len(), 1);
    // A worker looks for what is left at its start and every minute.
    server.restart().await;
    until("the folder is gone", async || !server.unit(&gone).exists()).await;
    assert!(server.unit(&kept).exists());
    let left = everything(&server).await;
    assert_eq!(left.lines().find(|line| line.contains("lovelace")), None);
}
