//! `GET /api/v1/script`.

use serde_json::{Value, json};

use crate::support::{Client, Package, Server};

async fn slugs(who: &Client, query: &str) -> Vec<String> {
    let list = who.get(&format!("/api/v1/script{query}")).await.data(200);
    list.as_array().unwrap().iter().map(|script| script["slug"].as_str().unwrap().to_owned()).collect()
}

/// A server with the scripts a, b, c, d of an administrator, in this order; b and d are public.
async fn with_scripts() -> (Server, Client) {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    for name in ["a", "b", "c", "d"] {
        admin.publish(&Package::echo(name)).await;
    }
    for name in ["b", "d"] {
        admin.post_empty(&format!("/api/v1/script/{name}/publish")).await.expect(200);
    }
    (server, admin)
}

#[tokio::test]
async fn administrators_see_all_scripts_and_others_the_public_ones_newest_first() {
    let (server, admin) = with_scripts().await;
    let ada = server.user("ada").await;
    assert_eq!(slugs(&admin, "").await, ["d", "c", "b", "a"]);
    assert_eq!(slugs(&admin, "/").await, ["d", "c", "b", "a"]);
    assert_eq!(slugs(&ada, "").await, ["d", "b"]);
    server
        .execute(
            "UPDATE script SET user_id = (SELECT id FROM \"user\" WHERE email = 'ada@example.org') WHERE slug = 'a'",
        )
        .await;
    assert_eq!(slugs(&ada, "").await, ["d", "b", "a"], "the own ones too");
    server.anonymous().get("/api/v1/script").await.expect(401);
}

#[tokio::test]
async fn a_list_is_paged_only_if_it_is_asked_to() {
    let (server, admin) = with_scripts().await;
    let ada = server.user("ada").await;
    let whole = admin.get("/api/v1/script").await.expect(200);
    assert_eq!(whole.as_object().unwrap().keys().collect::<Vec<_>>(), ["data"]);
    let page = async |who: &Client, query: &str| {
        let body = who.get(&format!("/api/v1/script?{query}")).await.expect(200);
        let slugs: Vec<Value> = body["data"].as_array().unwrap().iter().map(|s| s["slug"].clone()).collect();
        (json!([body["page"], body["per_page"], body["total"]]), json!(slugs))
    };
    for (query, numbers, slugs) in [
        ("page=1&per_page=3", json!([1, 3, 4]), json!(["d", "c", "b"])),
        ("page=2&per_page=3", json!([2, 3, 4]), json!(["a"])),
        ("page=3&per_page=3", json!([3, 3, 4]), json!([])),
        ("per_page=1", json!([1, 1, 4]), json!(["d"])),
        ("page=1", json!([1, 20, 4]), json!(["d", "c", "b", "a"])),
        ("page=0&per_page=0", json!([1, 1, 4]), json!(["d"])),
        ("page=-7&per_page=1000", json!([1, 100, 4]), json!(["d", "c", "b", "a"])),
        ("page=x&per_page=2", json!([1, 20, 4]), json!(["d", "c", "b", "a"])),
        ("page=9223372036854775807&per_page=100", json!([i64::MAX, 100, 4]), json!([])),
        ("page=99999999999999999999", json!([1, 20, 4]), json!(["d", "c", "b", "a"])),
    ] {
        assert_eq!(page(&admin, query).await, (numbers, slugs), "{query}");
    }
    assert_eq!(page(&ada, "per_page=1").await, (json!([1, 1, 2]), json!(["d"])));
}

#[tokio::test]
async fn include_and_exclude_count_for_every_row() {
    let (_server, admin) = with_scripts().await;
    let list = admin.get("/api/v1/script?include=user_name,logs&exclude=description&per_page=2").await.data(200);
    for script in list.as_array().unwrap() {
        assert!(script["user_name"].is_string() && script["logs"] == json!([]), "{script}");
        assert!(script.get("description").is_none());
    }
}

#[tokio::test]
async fn executions_inside_of_scripts_are_those_that_the_caller_may_see_newest_first() {
    let (server, admin) = with_scripts().await;
    let ada = server.user("ada").await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let mut hers = Vec::new();
    for (who, slug) in [(&admin, "b"), (&ada, "b"), (&ada, "d"), (&ada, "b"), (&admin, "a")] {
        let id = who.run(slug, &json!({})).await;
        if who.email == ada.email {
            hers.push(id);
        }
    }
    server.execute(&format!("INSERT INTO execution_flag (execution_id, deleted) VALUES ('{}', TRUE)", hers[2])).await;
    let inside = async |who: &Client, path: &str| -> Vec<Value> {
        let data = who.get(&format!("/api/v1/script{path}?include=executions&exclude=description")).await.data(200);
        let scripts = if data.is_array() { data.as_array().unwrap().clone() } else { vec![data] };
        let ids = |script: &Value| script["executions"].as_array().unwrap().iter().map(|e| e["id"].clone()).collect();
        scripts.iter().map(ids).collect()
    };
    assert_eq!(inside(&ada, "").await, [json!([hers[1]]), json!([hers[0]])], "of d and b");
    assert_eq!(inside(&ada, "/b").await, [json!([hers[0]])]);
    let all = inside(&admin, "").await;
    assert_eq!(all.iter().map(|ids| ids.as_array().unwrap().len()).collect::<Vec<_>>(), [1, 0, 2, 1]);
    assert_eq!(all[2][0], json!(hers[0]), "the newest first");
    let excluded = ada.get("/api/v1/script?include=executions&exclude=executions").await.data(200);
    assert!(excluded[0].get("executions").is_none());
}
