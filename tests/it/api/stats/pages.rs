//! What the pages of statistics answer beside their numbers: words, sections, people, refusals.

use serde_json::json;
use trends_earth::{api::stats::Task, store::users::Role};

use super::{fresh, id, script};
use crate::support::Server;

#[tokio::test]
async fn words_that_are_none_are_refused_with_the_words_that_are() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let periods = "Invalid period. Must be one of: last_day, last_week, last_month, last_year, all";
    let buckets = "Invalid group_by. Must be one of: quarter_hour, hour, day, week, month";
    for (path, sentence) in [
        ("dashboard?period=bogus", periods),
        ("dashboard?period=", periods),
        ("executions?period=LAST_DAY", periods),
        ("users?period=bogus", periods),
        ("dashboard?include=", "Invalid sections: . Valid sections: summary, trends, geographic, tasks"),
        (
            "dashboard?include=foo,tasks,bar",
            "Invalid sections: foo, bar. Valid sections: summary, trends, geographic, tasks",
        ),
        ("executions?group_by=year", buckets),
        ("users?group_by=year", buckets),
        ("executions?status=READY", "Invalid status. Must be one of: PENDING, RUNNING, FINISHED, FAILED, CANCELLED"),
    ] {
        admin.get(&format!("/api/v1/stats/{path}")).await.refused(400, sentence);
    }
    let sections = fresh(&admin, "dashboard?include=%20summary%20,tasks").await;
    let names: Vec<&str> = sections.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["summary", "tasks"]);
    for alias in ["15min", "15_min", "15-min", "15-minute", "quarter-hour", "quarterhour", "quarter_hour"] {
        let date = fresh(&admin, &format!("users?group_by={alias}")).await["registration_trends"][0]["date"].clone();
        assert!(date.as_str().unwrap().contains('T'), "{alias}: {date}");
    }
}

#[tokio::test]
async fn the_refusal_names_the_page() {
    let server = Server::api_only().await;
    let boss = server.account("boss", Role::Admin).await;
    for (page, what) in [
        ("dashboard", " for dashboard statistics"),
        ("executions", " for execution statistics"),
        ("users", " for user statistics"),
        ("health", ""),
        ("cache", ""),
    ] {
        boss.get(&format!("/api/v1/stats/{page}")).await.refused(403, &format!("SUPERADMIN role required{what}"));
    }
}

#[tokio::test]
async fn people_are_counted_by_when_they_came_where_from_and_whether_they_work() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let mut ids = Vec::new();
    for name in ["ada", "ben", "cleo"] {
        ids.push(id(&server.user(name).await).await);
    }
    for (id, country, days) in [(&ids[0], "Kenya", 3), (&ids[1], "Kenya", 40), (&ids[2], "Peru", 41)] {
        let at = (server.app.clock.now() - chrono::TimeDelta::days(days)).format("%Y-%m-%d %H:%M:%S");
        server
            .execute(&format!(r#"UPDATE "user" SET country = '{country}', created_at = '{at}' WHERE id = '{id}'"#))
            .await;
    }
    let slug = script(&server, "land-cover", &ids[0]).await;
    for user in &ids[..2] {
        let (id, at) = (uuid::Uuid::new_v4(), server.app.clock.now().format("%Y-%m-%d %H:%M:%S"));
        server
            .execute(&format!(
                "INSERT INTO execution (id, script_id, user_id, status, start_date) VALUES ('{id}', '{slug}', '{user}', 'RUNNING', '{at}')"
            ))
            .await;
    }
    let month = fresh(&admin, "users?period=last_month&group_by=day").await;
    assert_eq!(month["geographic_distribution"], json!({"countries": {"Kenya": 1}, "total_users": 2}));
    assert_eq!(
        month["activity_stats"],
        json!({"active_users_in_period": 2, "active_users_countries": 1, "never_executed": 2})
    );
    let trend = month["registration_trends"].as_array().unwrap();
    assert_eq!(trend.iter().map(|day| day["new_users"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 1]);
    assert_eq!(trend.iter().map(|day| day["total_users"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(trend[0]["date"].as_str().unwrap().len(), 10);
    let all = fresh(&admin, "users?period=all").await;
    assert_eq!(all["geographic_distribution"], json!({"countries": {"Kenya": 2, "Peru": 1}, "total_users": 4}));
    let kenya = fresh(&admin, "users?period=all&country=Kenya").await;
    let new: i64 =
        kenya["registration_trends"].as_array().unwrap().iter().map(|row| row["new_users"].as_i64().unwrap()).sum();
    assert_eq!(new, 2);
}

#[test]
fn a_slug_says_its_task_and_its_version() {
    for (slug, name, version, major) in [
        ("land-cover", "land-cover", "", "unknown"),
        ("land-cover-2-2-4", "land-cover", "2.2.4", "2"),
        ("sdg-15-3-1-sub-indicators-2-2-4", "sdg-15-3-1-sub-indicators", "2.2.4", "2"),
        ("sdg-15-3-1", "sdg", "15.3.1", "15"),
        ("sdg-sub-indicators-1-0-3", "sdg-15-3-1-sub-indicators", "1.0.3", "1"),
        ("time-series-v3-1", "time-series", "3.1", "3"),
        ("drought-vulnerability", "drought-vulnerability", "", "unknown"),
        ("drought-vulnerability-2-2-4", "drought-vulnerability", "2.2.4", "2"),
        ("productivity-trajectory", "productivity", "", "unknown"),
        ("vegetation-productivity-v1", "productivity", "1", "1"),
        ("model-7-1-2-3", "model-7-1-2-3", "", "unknown"),
        ("-1-2-3", "-1-2-3", "", "unknown"),
        ("-v1", "-v1", "", "unknown"),
        ("", "", "", "unknown"),
    ] {
        let task = Task::of(slug);
        assert_eq!((task.name.as_str(), task.version.as_str(), task.major()), (name, version, major), "{slug}");
    }
}
