//! `/api/v1/stats/…`: numbers about executions, scripts and people.

mod cache;
mod numbers;
mod pages;

use serde_json::{Value, json};

use crate::support::{Client, Server};

/// A script of this slug, whoever it belongs to; its id.
pub async fn script(server: &Server, slug: &str, owner: &str) -> String {
    let id = uuid::Uuid::new_v4().to_string();
    server
        .execute(&format!(
            "INSERT INTO script (id, name, slug, status, restricted, user_id) VALUES ('{id}', '{slug}', '{slug}', 'SUCCESS', FALSE, '{owner}')"
        ))
        .await;
    id
}

/// The id of a caller's account.
pub async fn id(client: &Client) -> String {
    client.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned()
}

/// Asks anew, and not what is kept.
pub async fn fresh(admin: &Client, path: &str) -> Value {
    assert_eq!(admin.delete("/api/v1/stats/cache").await.data(200)["success"], json!(true));
    admin.get(&format!("/api/v1/stats/{path}")).await.data(200)
}
