//! `/api/v1/stats/cache`: what is kept, and forgetting it.

use serde_json::{Value, json};

use crate::support::{Client, Server};

async fn keys(admin: &Client) -> Vec<String> {
    let kept = admin.get("/api/v1/stats/cache").await.data(200);
    assert_eq!(kept["available"], json!(true));
    let keys = kept["keys"].as_array().unwrap();
    assert_eq!(kept["total_keys"], json!(keys.len()));
    for key in keys {
        let left = key["ttl_seconds"].as_i64().unwrap();
        assert!((1..=300).contains(&left), "{key}");
        assert_eq!(key["expires_in"], json!(format!("{}m {}s", left / 60, left % 60)));
    }
    let mut keys: Vec<String> = keys.iter().map(|key| key["key"].as_str().unwrap().to_owned()).collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn answers_are_kept_under_the_names_of_the_existing_server_and_forgotten_by_pattern() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    assert_eq!(keys(&admin).await, Vec::<String>::new());
    for page in ["dashboard", "executions", "users"] {
        admin.get(&format!("/api/v1/stats/{page}")).await.expect(200);
    }
    let all = [
        "stats_service:_get_geographic_data:period=all",
        "stats_service:_get_geographic_data:period=last_year",
        "stats_service:_get_summary_stats:period=all",
        "stats_service:_get_tasks_data:period=all",
        "stats_service:_get_trends_data:period=all",
        "stats_service:get_dashboard_stats:include=geographic,summary,tasks,trends_period=all",
        "stats_service:get_execution_stats:group_by=day_period=last_month_status=none_task_type=none",
        "stats_service:get_user_stats:country=none_group_by=month_period=last_year",
    ];
    assert_eq!(keys(&admin).await, all);
    // What came since is not seen before it is forgotten.
    server.user("ada").await;
    let users = async || admin.get("/api/v1/stats/dashboard").await.data(200)["summary"]["total_users"].clone();
    assert_eq!(users().await, json!(1));
    let cleared = admin.delete("/api/v1/stats/cache?pattern=summary").await.data(200);
    assert_eq!(cleared, json!({"success": true, "message": "Cache cleared successfully for pattern: summary"}));
    assert_eq!(keys(&admin).await.len(), all.len() - 2);
    assert_eq!(users().await, json!(2));

    for pattern in ["executions", "users"] {
        admin.delete(&format!("/api/v1/stats/cache?pattern={pattern}")).await.expect(200);
    }
    assert!(
        !keys(&admin).await.iter().any(|key| key.contains("get_execution_stats") || key.contains("get_user_stats"))
    );
    let cleared: Value = admin.delete("/api/v1/stats/cache").await.data(200);
    assert_eq!(cleared, json!({"success": true, "message": "Cache cleared successfully"}));
    assert_eq!(keys(&admin).await, Vec::<String>::new());
    admin.delete("/api/v1/stats/cache?pattern=*").await.refused(
        400,
        "Invalid pattern. Allowed patterns: summary, trends, geographic, tasks, executions, users, activity",
    );
}
