//! `GET /api/v1/execution` and `/api/v1/execution/user`.

use serde_json::{Value, json};

use super::run::with_script;
use crate::support::{Client, Server};

async fn ids(who: &Client, query: &str) -> Vec<String> {
    let list = who.get(&format!("/api/v1/execution{query}")).await.data(200);
    list.as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect()
}

/// A server with five executions of ada: the first three FINISHED, FAILED and CANCELLED in this order, then one RUNNING,
/// one PENDING; and one PENDING of the administrator.
async fn with_runs() -> (Server, Client, Client, Vec<String>) {
    let (server, admin, ada) = with_script().await;
    let mut runs = Vec::new();
    for status in ["FINISHED", "FAILED", "CANCELLED", "RUNNING", ""] {
        let id = ada.run("echo", &json!({"n": runs.len()})).await;
        if !status.is_empty() {
            admin.patch(&format!("/api/v1/execution/{id}"), &json!({"status": status})).await.expect(200);
        }
        runs.push(id);
    }
    runs.push(admin.run("echo", &json!({})).await);
    (server, admin, ada, runs)
}

#[tokio::test]
async fn open_runs_come_first_then_the_newest_end() {
    let (_server, admin, ada, r) = with_runs().await;
    let own = [&r[4], &r[3], &r[2], &r[1], &r[0]].map(String::clone);
    assert_eq!(ids(&ada, "").await, own);
    assert_eq!(ids(&ada, "/").await, own);
    assert_eq!(ids(&ada, "/user").await, own);
    let all = [&[r[5].clone()][..], &own].concat();
    assert_eq!(ids(&admin, "").await, all);
    assert_eq!(ids(&admin, "/user").await, [r[5].clone()]);
}

#[tokio::test]
async fn others_see_only_their_own_whatever_they_ask_for() {
    let (server, admin, ada, r) = with_runs().await;
    let grace = server.user("grace").await;
    let ada_id = ada.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    let admin_id = admin.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    assert_eq!(ids(&grace, &format!("?user_id={ada_id}")).await, Vec::<String>::new());
    assert_eq!(ids(&ada, &format!("?user_id={admin_id}")).await.len(), 5);
    assert_eq!(ids(&admin, &format!("?user_id={ada_id}")).await.len(), 5);
    assert_eq!(ids(&admin, &format!("?user_id={}", ada_id.to_uppercase())).await.len(), 5);
    assert_eq!(ids(&admin, &format!("/user?user_id={ada_id}")).await, [r[5].clone()]);
    let page = grace.get("/api/v1/execution?page=1").await.expect(200);
    assert_eq!((&page["total"], &page["data"]), (&json!(0), &json!([])));
    server.anonymous().get("/api/v1/execution").await.expect(401);
}

#[tokio::test]
async fn pages_carry_their_numbers_and_the_right_total() {
    let (_server, admin, ada, r) = with_runs().await;
    let page = async |who: &Client, query: &str| {
        let body = who.get(&format!("/api/v1/execution{query}")).await.expect(200);
        let ids: Vec<Value> = body["data"].as_array().unwrap().iter().map(|run| run["id"].clone()).collect();
        (json!([body["page"], body["per_page"], body["total"]]), json!(ids))
    };
    for (who, query, numbers, rows) in [
        (&ada, "?page=1&per_page=2", json!([1, 2, 5]), json!([r[4], r[3]])),
        (&ada, "?page=3&per_page=2", json!([3, 2, 5]), json!([r[0]])),
        (&ada, "?page=4&per_page=2", json!([4, 2, 5]), json!([])),
        (&ada, "/user?per_page=1", json!([1, 1, 5]), json!([r[4]])),
        (&ada, "?per_page=1&status=failed", json!([1, 1, 1]), json!([r[1]])),
        (&ada, "?page=x&status=PENDING", json!([1, 20, 1]), json!([r[4]])),
        (&ada, "?page=1&status=NONSENSE", json!([1, 20, 0]), json!([])),
        (&admin, "?per_page=1", json!([1, 1, 6]), json!([r[5]])),
        (&admin, "?per_page=1&status=PENDING", json!([1, 1, 2]), json!([r[5]])),
        (&admin, "/user?per_page=100&status=FAILED", json!([1, 100, 1]), json!([r[5]])),
    ] {
        assert_eq!(page(who, query).await, (numbers, rows), "{query}");
    }
    let whole = ada.get("/api/v1/execution").await.expect(200);
    assert_eq!(whole.as_object().unwrap().keys().collect::<Vec<_>>(), ["data"]);
}

#[tokio::test]
async fn updated_at_means_open_or_ended_since() {
    let (server, _, ada, r) = with_runs().await;
    for (n, day) in [(0, "2026-01-01"), (1, "2026-01-02"), (2, "2026-01-03")] {
        server
            .execute(&format!(
                "UPDATE execution SET start_date = '2025-12-01 00:00:00', end_date = '{day} 12:00:00' WHERE id = '{}'",
                r[n]
            ))
            .await;
    }
    for (since, n) in [
        ("2026-01-01", 5),
        ("2026-01-02", 4),
        ("2026-01-02T12:00:00", 4),
        ("2026-01-02T12:00:00.000001", 3),
        ("2026-01-02T12:00:00Z", 4),
        ("2026-01-02T14:00:00%2B02:00", 4),
        ("2026-01-02T14:00:00+02:00", 4),
        ("2026-01-04", 2),
        ("2200-01-01", 2),
        ("", 5),
    ] {
        for path in ["", "/user"] {
            assert_eq!(ids(&ada, &format!("{path}?updated_at={since}")).await.len(), n, "{since}");
            let total = ada.get(&format!("/api/v1/execution{path}?per_page=1&updated_at={since}")).await.expect(200);
            assert_eq!(total["total"], n, "{since}");
        }
    }
    ada.get("/api/v1/execution?updated_at=soon")
        .await
        .refused(400, "updated_at is \"soon\"; it must be a date or time such as 2026-11-24T02:56:01");
}

#[tokio::test]
async fn a_list_is_narrowed_by_script_and_refuses_what_is_no_id() {
    let (_server, admin, ada, r) = with_runs().await;
    let script = admin.get("/api/v1/script/echo").await.data(200)["id"].as_str().unwrap().to_owned();
    assert_eq!(ids(&ada, &format!("?script_id={script}")).await.len(), 5);
    assert_eq!(ids(&ada, &format!("/user?script_id={script}&status=RUNNING")).await.len(), 5);
    assert_eq!(ids(&ada, &format!("?script_id={}", r[0])).await, Vec::<String>::new());
    for key in ["script_id", "user_id"] {
        let answer = admin.get(&format!("/api/v1/execution?{key}=x")).await;
        answer.refused(400, &format!("{key} is \"x\"; it must be a UUID"));
    }
}

#[tokio::test]
async fn the_plugin_s_own_query_works() {
    let (_server, _, ada, r) = with_runs().await;
    let path = "/api/v1/execution/user?include=script&exclude=params,results&updated_at=2026-01-01&page=1&per_page=100";
    let body = ada.get(path).await.expect(200);
    assert_eq!(body["total"], 5);
    let rows = body["data"].as_array().unwrap();
    assert_eq!(rows.len(), r.len() - 1);
    for row in rows {
        assert_eq!(row["script"]["name"], "Echo");
        assert!(row.get("params").is_none() && row.get("results").is_none());
        for key in ["failure", "queue", "script_version"] {
            assert!(row.get(key).is_none(), "{key} comes only when asked for");
        }
    }
}

#[tokio::test]
async fn failure_queue_and_version_come_on_request() {
    let (_server, _, ada, _) = with_runs().await;
    // A duration is shown and no filter knows it: the client is told.
    let all = ada.get("/api/v1/execution?filter=duration%3E1").await;
    assert_eq!(all.headers["x-ignored-filters"], "duration");
    assert_eq!(all.data(200).as_array().unwrap().len(), 5);
    let rows = ada.get("/api/v1/execution?include=failure,queue,script_version,duration").await.data(200);
    for row in rows.as_array().unwrap() {
        let failed = matches!(row["status"].as_str(), Some("FAILED" | "CANCELLED"));
        assert_eq!(row.get("failure").is_some(), failed, "{row}");
        assert_eq!(row.get("queue").is_some(), row["status"] == "PENDING", "{row}");
        assert_eq!(row["script_version"], 1);
        assert!(row["duration"].is_number());
    }
}

#[tokio::test]
async fn a_hidden_execution_is_in_no_list_unless_asked_for() {
    let (_server, admin, ada, r) = with_runs().await;
    let path = format!("/api/v1/execution/{}", r[0]);
    assert_eq!(ada.patch(&path, &json!({"deleted": true})).await.data(200)["deleted"], true);
    for (who, n) in [(&ada, 4), (&admin, 5)] {
        assert_eq!(ids(who, "").await.len(), n);
        assert_eq!(who.get("/api/v1/execution?per_page=1").await.expect(200)["total"], n);
        assert_eq!(ids(who, "?include_deleted=true").await.len(), n + 1);
        assert_eq!(who.get("/api/v1/execution?per_page=1&include_deleted=1").await.expect(200)["total"], n + 1);
    }
    assert_eq!(ada.get(&path).await.data(200)["deleted"], true, "its own address still answers");
    assert_eq!(ada.patch(&path, &json!({"deleted": false})).await.data(200)["deleted"], false);
    assert_eq!(ids(&ada, "").await.len(), 5);
}
