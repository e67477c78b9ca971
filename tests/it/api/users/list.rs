//! `GET /user`.

use serde_json::{Value, json};
use trends_earth::store::users::Role;

use crate::support::{Client, Server};

async fn emails(admin: &Client, query: &str) -> Vec<String> {
    let list = admin.get(&format!("/api/v1/user?{query}")).await.data(200);
    list.as_array().unwrap().iter().map(|row| row["email"].as_str().unwrap().replace("@example.org", "")).collect()
}

#[tokio::test]
async fn administrators_page_filter_and_sort_people() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    for name in ["ada", "bob", "cy"] {
        server.user(name).await;
    }
    server.account("dan", Role::Admin).await;
    server
        .execute("UPDATE \"user\" SET country = 'Kenya', institution = 'A, B (C) OR D''s' WHERE name IN ('ada', 'cy')")
        .await;
    assert_eq!(emails(&admin, "").await, ["dan", "cy", "bob", "ada", "admin"]);
    let page = admin.get("/api/v1/user?page=2&per_page=2&sort=email").await.expect(200);
    assert_eq!((&page["total"], &page["page"], &page["per_page"]), (&json!(5), &json!(2), &json!(2)));
    assert_eq!(page["data"][0]["email"], "bob@example.org");
    for (query, found) in [
        ("sort=-email", &["dan", "cy", "bob", "admin", "ada"][..]),
        ("sort=role desc,email", &["ada", "bob", "cy", "admin", "dan"]),
        ("sort=country,email&filter=role=USER", &["ada", "cy", "bob"]),
        ("sort=country desc,email&filter=role=USER", &["bob", "ada", "cy"]),
        ("sort=email&filter=role='admin',role=\"superadmin\"", &["admin", "dan"]),
        ("sort=email&filter=(role=ADMIN OR name like 'a%')", &["ada", "admin", "dan"]),
        ("sort=email&filter=country!=x", &["ada", "cy"]),
        ("sort=email&filter=institution='A, B (C) OR D''s',role=USER", &["ada", "cy"]),
        ("sort=email&filter=(institution='A, B (C) OR D''s' OR name=bob)", &["ada", "bob", "cy"]),
        ("sort=email&filter=email_verified=true,created_at>2020-01-01,name<b", &["ada", "admin"]),
        ("sort=email&filter=unknown=1,nonsense,country=", &["ada", "admin", "bob", "cy", "dan"]),
        ("sort=email&filter=has_openeo_credentials=true", &[]),
    ] {
        assert_eq!(emails(&admin, query).await, found, "{query}");
    }
}

#[tokio::test]
async fn what_is_ignored_is_told_and_what_cannot_be_compared_is_refused() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let answer = admin.get("/api/v1/user?filter=password=x,nonsense,name=a&sort=-secret,email").await;
    answer.expect(200);
    assert_eq!(answer.headers["x-ignored-filters"], "password, nonsense, secret");
    for (filter, sentence) in [
        ("id=abc", "filter: id is compared with \"abc\"; it must be a UUID"),
        ("email_verified=maybe", "filter: email_verified is compared with \"maybe\"; it must be true or false"),
        (
            "created_at>'garbage'",
            "filter: created_at is compared with \"garbage\"; it must be a date or time such as 2026-11-24 or 2026-11-24T02:56:01",
        ),
        ("created_at like '2026%'", "filter: created_at is no text; like compares text"),
        ("name like '%a%b%c%d%e%'", "filter: a pattern has at most 4 % signs"),
    ] {
        let query: String = url::form_urlencoded::Serializer::new(String::new()).append_pair("filter", filter).finish();
        admin.get(&format!("/api/v1/user?{query}")).await.refused(400, sentence);
    }
    let many = vec!["name=a"; 33].join(",");
    admin.get(&format!("/api/v1/user?filter={many}")).await.refused(400, "filter has more than 32 clauses");
    let long = "a".repeat(5_000);
    admin
        .get(&format!("/api/v1/user?filter={long}"))
        .await
        .refused(400, "filter has 5000 bytes; at most 4096 are read");
    admin
        .get("/api/v1/user?sort=id,email,name,role,country")
        .await
        .refused(400, "sort names 5 fields; at most 4 count");
}

#[tokio::test]
async fn includes_come_in_batches_and_excludes_take_away() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    server.user("ada").await;
    admin.publish(&crate::support::Package::echo("echo")).await;
    let list = admin.get("/api/v1/user?sort=email desc&include=scripts,executions,google_groups,gee_credentials,openeo_credentials,nonsense").await;
    let list = list.data(200);
    let row = &list[0];
    assert_eq!(row["scripts"][0]["slug"], "echo");
    assert_eq!((&row["executions"], &row["openeo_credentials"]), (&json!([]), &json!({"has_credentials": false})));
    assert_eq!(row["google_groups"]["trendsearth"], json!(false));
    assert_eq!(row["gee_credentials"]["credentials_type"], Value::Null);
    assert_eq!(list[1]["scripts"], json!([]));
    let slim = admin.get("/api/v1/user?exclude=email,id,name&per_page=1").await.data(200);
    assert!(slim[0].get("email").is_none() && slim[0].get("id").is_none() && slim[0].get("role").is_some());
}

#[tokio::test]
async fn a_list_without_pages_is_whole_however_long_it_is() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    for part in 0..3 {
        let rows: Vec<String> = (0..400)
            .map(|i| format!("('{}', 'p{part}-{i}@example.org', 'x', 'USER', 'P', '2026-01-01 00:00:{:02}', FALSE, FALSE, TRUE, 0, FALSE, FALSE, TRUE)",
                uuid::Uuid::new_v4(), i % 60)).collect();
        server.execute(&format!("INSERT INTO \"user\" (id, email, password, role, name, created_at, google_groups_trends_earth_users, google_groups_trendsearth,
            email_notifications_enabled, failed_login_count, email_subscription_news, email_subscription_engagement, email_subscription_system_updates) VALUES {}", rows.join(","))).await;
    }
    let list = admin.get("/api/v1/user").await.data(200);
    let mut ids: Vec<&str> = list.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1_201);
}
