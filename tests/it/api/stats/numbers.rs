//! The numbers are those of a plain evaluation of random executions, before they are rolled up and after.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{Datelike, NaiveDateTime, TimeDelta, Timelike};
use serde_json::{Value, json};
use trends_earth::{jobs::fold_statistics, store};

use super::{fresh, id, script};
use crate::support::{Client, Random, Server};

/// A row of `execution`, as the test has made it.
#[derive(Debug, Clone)]
struct Run {
    script: usize,
    user: usize,
    status: &'static str,
    start: NaiveDateTime,
    end: Option<NaiveDateTime>,
}

const TERMINAL: [&str; 3] = ["FINISHED", "FAILED", "CANCELLED"];
const OPEN: [&str; 4] = ["PENDING", "READY", "RUNNING", "CANCELLING"];
/// Slugs, with the task and the version that they mean.
const SCRIPTS: [(&str, &str, &str); 6] = [
    ("sdg-15-3-1-sub-indicators-2-2-4", "sdg-15-3-1-sub-indicators", "2.2.4"),
    ("sdg-sub-indicators-1-0-3", "sdg-15-3-1-sub-indicators", "1.0.3"),
    ("productivity-v2-1", "productivity", "2.1"),
    ("productivity-trends", "productivity", ""),
    ("vegetation-productivity", "productivity", ""),
    ("drought-vulnerability", "drought-vulnerability", ""),
];
const PERIODS: [(&str, Option<i64>); 5] =
    [("last_day", Some(1)), ("last_week", Some(7)), ("last_month", Some(30)), ("last_year", Some(365)), ("all", None)];

impl Run {
    fn is_terminal(&self) -> bool {
        TERMINAL.contains(&self.status)
    }

    /// When it counts in a series.
    fn happened(&self) -> NaiveDateTime {
        self.end.filter(|_| self.is_terminal()).unwrap_or(self.start)
    }
}

/// Runs of the last 420 days: ended ones, open ones, open ones with an end as an older server wrote them, ended ones without.
/// Times stay five minutes away from every border of a period.
fn random_runs(random: &mut Random, now: NaiveDateTime, users: u64) -> Vec<Run> {
    let mut runs = Vec::new();
    for _ in 0..500 {
        let days = [2, 10, 60, 420][usize::try_from(random.below(4)).unwrap()];
        let ago = i64::try_from(random.below(days * 144)).unwrap() * 600 + 300;
        let start = now - TimeDelta::seconds(ago);
        let length = i64::try_from(random.below(200)).unwrap() * 600;
        let end = Some(start + TimeDelta::seconds(length)).filter(|end| *end < now);
        let kind = random.below(20);
        let status =
            |of: &[&'static str], random: &mut Random| of[usize::try_from(random.below(of.len() as u64)).unwrap()];
        let (status, end) = match (kind, end) {
            (0, _) => (status(&TERMINAL, random), None),
            (1, end) => (status(&OPEN, random), end),
            (2 | 3, _) | (_, None) => (status(&OPEN, random), None),
            (_, end) => (status(&TERMINAL, random), end),
        };
        let script = usize::try_from(random.below(SCRIPTS.len() as u64)).unwrap();
        runs.push(Run { script, user: usize::try_from(random.below(users)).unwrap(), status, start, end });
    }
    // Exactly at midnight, where a day begins.
    let midnight = (now - TimeDelta::days(10)).date().and_hms_opt(0, 0, 0).unwrap();
    runs.push(Run { script: 0, user: 0, status: "FINISHED", start: midnight, end: Some(midnight) });
    runs.push(Run {
        script: 1,
        user: 1,
        status: "FAILED",
        start: midnight - TimeDelta::hours(5),
        end: Some(midnight + TimeDelta::days(1)),
    });
    runs
}

fn sql(time: NaiveDateTime) -> String {
    time.format("'%Y-%m-%d %H:%M:%S'").to_string()
}

fn floor(time: NaiveDateTime, bucket: &str) -> String {
    let day = time.date();
    let at = match bucket {
        "quarter_hour" => day.and_hms_opt(time.hour(), time.minute() / 15 * 15, 0).unwrap(),
        "hour" => day.and_hms_opt(time.hour(), 0, 0).unwrap(),
        "day" => day.and_hms_opt(0, 0, 0).unwrap(),
        "week" => day.week(chrono::Weekday::Mon).first_day().and_hms_opt(0, 0, 0).unwrap(),
        _ => day.with_day(1).unwrap().and_hms_opt(0, 0, 0).unwrap(),
    };
    at.format("%Y-%m-%dT%H:%M:%S").to_string()
}

fn count<'r>(runs: impl Iterator<Item = &'r Run>, key: impl Fn(&Run) -> String) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for run in runs {
        *counts.entry(key(run)).or_default() += 1;
    }
    counts
}

fn percent(part: usize, whole: usize) -> f64 {
    (part as f64 / whole as f64 * 1_000.0).round() / 10.0
}

fn finished(runs: &[&Run]) -> usize {
    runs.iter().filter(|run| run.status == "FINISHED").count()
}

/// Numbers by a key of each object of a list.
fn table(rows: &Value, key: &str, number: &str) -> BTreeMap<String, i64> {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| (row[key].as_str().unwrap().to_owned(), row[number].as_i64().unwrap())).collect()
}

async fn check_dashboard(admin: &Client, runs: &[Run], now: NaiveDateTime) {
    for (period, days) in PERIODS {
        let got = fresh(admin, &format!("dashboard?period={period}")).await;
        let since = days.map(|days| now - TimeDelta::days(days));
        let begun: Vec<&Run> = runs.iter().filter(|run| since.is_none_or(|since| run.start >= since)).collect();
        let of = |status: &str| begun.iter().filter(|run| run.status == status).count();
        let summary = &got["summary"];
        assert_eq!(summary["total_executions"], json!(begun.len()), "{period}");
        assert_eq!(summary["total_jobs"], json!(begun.len()), "{period}");
        assert_eq!(summary["total_executions_finished"], json!(of("FINISHED")), "{period}");
        assert_eq!(summary["total_executions_failed"], json!(of("FAILED")), "{period}");
        assert_eq!(summary["total_executions_cancelled"], json!(of("CANCELLED")), "{period}");
        assert_eq!(summary["total_scripts"], json!(SCRIPTS.len()), "{period}");

        let trends = &got["trends"];
        let year = runs.iter().filter(|run| run.start >= now - TimeDelta::days(365));
        let months = count(year, |run| run.start.format("%Y-%m").to_string());
        assert_eq!(table(&trends["monthly_jobs"], "month", "count"), months, "{period}");
        assert_eq!(trends.get("hourly_jobs").is_some(), matches!(period, "all" | "last_day"));
        if let Some(hours) = trends.get("hourly_jobs") {
            let days = runs.iter().filter(|run| run.start >= now - TimeDelta::hours(72));
            assert_eq!(table(hours, "hour", "count"), count(days, |run| floor(run.start, "hour")), "{period}");
        }
        assert_eq!(trends.get("daily_jobs").is_some(), period != "all");
        if let Some(days) = trends.get("daily_jobs") {
            let by_day = count(begun.iter().copied(), |run| run.start.date().to_string());
            assert_eq!(table(days, "date", "count"), by_day, "{period}");
        }

        let tasks = &got["tasks"];
        let by_task = count(begun.iter().copied(), |run| SCRIPTS[run.script].1.to_owned());
        assert_eq!(table(&tasks["by_type"], "task", "count"), by_task, "{period}");
        for row in tasks["by_type"].as_array().unwrap() {
            let of: Vec<&Run> = begun.iter().copied().filter(|run| SCRIPTS[run.script].1 == row["task"]).collect();
            assert_eq!(row["success_rate"], json!(percent(finished(&of), of.len())), "{period}: {row}");
        }
        let major = |run: &Run| match SCRIPTS[run.script].2 {
            "" => "unknown".to_owned(),
            version => version[..1].to_owned(),
        };
        assert_eq!(table(&tasks["by_version"], "version", "count"), count(begun.iter().copied(), major), "{period}");
        let all: f64 =
            tasks["by_version"].as_array().unwrap().iter().map(|row| row["percentage"].as_f64().unwrap()).sum();
        assert!((all - 100.0).abs() < 0.5 || begun.is_empty(), "{tasks}");
    }
}

async fn check_executions(admin: &Client, runs: &[Run], now: NaiveDateTime, users: &[String]) {
    for (period, days) in PERIODS {
        let since = days.map(|days| now - TimeDelta::days(days));
        for bucket in ["quarter_hour", "hour", "day", "week", "month"] {
            for (filter, status, text) in [
                ("", None, ""),
                ("&status=FAILED", Some("FAILED"), ""),
                ("&task_type=PRODUCTIVITY", None, "productivity"),
            ] {
                let got = fresh(admin, &format!("executions?period={period}&group_by={bucket}{filter}")).await;
                let wanted: Vec<&Run> = runs
                    .iter()
                    .filter(|run| since.is_none_or(|since| run.happened() >= since))
                    .filter(|run| status.is_none_or(|status| run.status == status))
                    .filter(|run| SCRIPTS[run.script].0.contains(text))
                    .collect();
                let mut points: BTreeMap<String, Vec<&Run>> = BTreeMap::new();
                for run in wanted {
                    points.entry(floor(run.happened(), bucket)).or_default().push(run);
                }
                let series = points.into_iter().map(|(at, runs)| {
                    let by_status = count(runs.iter().copied(), |run| run.status.to_owned());
                    let by_task = count(runs.iter().copied(), |run| SCRIPTS[run.script].1.to_owned());
                    json!({"timestamp": at, "total": runs.len(), "by_status": by_status, "by_task": by_task})
                });
                assert_eq!(got["time_series"], json!(series.collect::<Vec<_>>()), "{period} {bucket} {filter}");
                let begun: Vec<&Run> = runs.iter().filter(|run| since.is_none_or(|since| run.start >= since)).collect();
                check_people(&got["top_users"], &begun, users, text);
                check_performance(&got["task_performance"], &begun);
            }
        }
    }
}

fn check_people(got: &Value, begun: &[&Run], users: &[String], text: &str) {
    let of: Vec<&Run> = begun.iter().copied().filter(|run| SCRIPTS[run.script].0.contains(text)).collect();
    let wanted = count(of.iter().copied(), |run| users[run.user].clone());
    assert_eq!(table(got, "user_id", "execution_count"), wanted);
    let people = got.as_array().unwrap();
    assert!(people.is_sorted_by_key(|person| -person["execution_count"].as_i64().unwrap()));
    for person in people {
        let own = |run: &&&Run| users[run.user] == person["user_id"];
        let theirs: Vec<&Run> = of.iter().filter(own).copied().collect();
        assert_eq!(person["success_rate"], json!(percent(finished(&theirs), theirs.len())), "{person}");
        assert!(person["email"].as_str().unwrap().ends_with("@example.org"));
        let likes = count(begun.iter().filter(own).copied(), |run| SCRIPTS[run.script].1.to_owned());
        let favourites: Vec<&str> =
            person["favorite_tasks"].as_array().unwrap().iter().map(|task| task.as_str().unwrap()).collect();
        assert_eq!(favourites.len(), likes.len().min(3));
        assert_eq!(likes.get(favourites[0]), likes.values().max(), "{person}");
    }
}

fn check_performance(got: &Value, begun: &[&Run]) {
    let ended: Vec<&Run> = begun.iter().copied().filter(|run| run.is_terminal()).collect();
    let wanted = count(ended.iter().copied(), |run| SCRIPTS[run.script].1.to_owned());
    assert_eq!(table(got, "task", "total_executions"), wanted);
    let check = |row: &Value, of: &[&Run]| {
        assert_eq!(row["total_executions"], json!(of.len()));
        assert_eq!(row["success_rate"], json!(percent(finished(of), of.len())), "{row}");
        let minutes: Vec<i64> = of.iter().filter_map(|run| Some((run.end? - run.start).num_minutes())).collect();
        let mean = minutes.iter().sum::<i64>() as f64 / minutes.len().max(1) as f64;
        let said: f64 = row["avg_duration_minutes"].as_str().unwrap().parse().unwrap();
        assert!((said - mean).abs() <= 0.051, "{row}: {mean}");
    };
    for row in got.as_array().unwrap() {
        let of: Vec<&Run> = ended.iter().copied().filter(|run| SCRIPTS[run.script].1 == row["task"]).collect();
        check(row, &of);
        assert_eq!(row["failure_reasons"], json!([]));
        let versions: BTreeSet<&str> = of.iter().map(|run| SCRIPTS[run.script].2).collect();
        assert_eq!(row["versions"].as_array().unwrap().len(), versions.len());
        for version in row["versions"].as_array().unwrap() {
            let of: Vec<&Run> = of.iter().copied().filter(|run| SCRIPTS[run.script].2 == version["version"]).collect();
            check(version, &of);
        }
    }
}

/// Fills a server with random executions.
async fn filled(server: &Server, seed: u64) -> (Client, Vec<String>, Vec<Run>, NaiveDateTime) {
    let admin = server.admin().await;
    let mut users = Vec::new();
    for name in ["ada", "ben", "cleo", "dan"] {
        users.push(id(&server.user(name).await).await);
    }
    let mut scripts = Vec::new();
    for (slug, ..) in SCRIPTS {
        scripts.push(script(server, slug, &users[0]).await);
    }
    let now = server.app.clock.now().with_nanosecond(0).unwrap();
    let runs = random_runs(&mut Random::new(seed), now, users.len() as u64);
    let rows = runs.iter().map(|run| {
        let (id, end) = (uuid::Uuid::new_v4(), run.end.map_or_else(|| "NULL".to_owned(), sql));
        let (script, user) = (&scripts[run.script], &users[run.user]);
        format!("('{id}', '{script}', '{user}', '{}', {}, {end})", run.status, sql(run.start))
    });
    let rows: Vec<String> = rows.collect();
    server
        .execute(&format!(
            "INSERT INTO execution (id, script_id, user_id, status, start_date, end_date) VALUES {}",
            rows.join(", ")
        ))
        .await;
    (admin, users, runs, now)
}

async fn fold(server: &Server) {
    while fold_statistics::fold(&server.app).await.unwrap() {}
}

#[tokio::test]
async fn statistics_are_right_before_days_are_rolled_up_and_after() {
    let server = Server::api_only().await;
    let (admin, users, runs, now) = filled(&server, 1).await;
    check_dashboard(&admin, &runs, now).await;
    check_executions(&admin, &runs, now, &users).await;
    fold(&server).await;
    let rolled = server.rows("execution_daily").await;
    assert!(rolled > 100, "{rolled}");
    check_dashboard(&admin, &runs, now).await;
    check_executions(&admin, &runs, now, &users).await;
    let until = store::roll_up::until(&server.app.db).await.unwrap();
    assert!(until > now - TimeDelta::days(4) && until <= now, "{until}");
    // Doing it again changes nothing.
    fold(&server).await;
    assert_eq!(server.rows("execution_daily").await, rolled);

    let health = fresh(&admin, "health").await;
    let month = runs.iter().filter(|run| run.start >= now - TimeDelta::days(30)).count();
    let counts = json!({"total_jobs": runs.len(), "total_users": users.len() + 1, "jobs_last_month": month});
    assert_eq!(health, json!({"status": "healthy", "basic_counts": counts}));
}

#[tokio::test]
async fn a_check_once_a_day_mends_every_number_that_is_kept() {
    let server = Server::api_only().await;
    let (admin, users, mut runs, now) = filled(&server, 2).await;
    fold(&server).await;
    fold_statistics::check(&server.app).await.unwrap();
    let kept = "SELECT 1 FROM execution_daily";
    assert!(server.rows(&format!("({kept}) AS kept")).await > 100);

    server.execute("UPDATE execution_count SET n = n + 7 WHERE status = 'FINISHED'").await;
    server.execute("DELETE FROM execution_count WHERE status = 'FAILED'").await;
    server.execute("UPDATE execution_daily SET n = n + 1 WHERE status = 'FAILED'").await;
    // A run whose end is moved, as the existing server does when it is told of it twice.
    let old = now - TimeDelta::days(100);
    let moved = runs.iter().position(|run| run.is_terminal() && run.end.is_some_and(|end| end < old)).unwrap();
    let end = now - TimeDelta::minutes(5);
    server
        .execute(&format!(
            "UPDATE execution SET end_date = {} WHERE status = '{}' AND start_date = {} AND end_date = {}",
            sql(end),
            runs[moved].status,
            sql(runs[moved].start),
            sql(runs[moved].end.unwrap())
        ))
        .await;
    runs[moved].end = Some(end);
    // A day has hardly passed: nothing is looked at.
    fold_statistics::check(&server.app).await.unwrap();
    assert_ne!(fresh(&admin, "health").await["basic_counts"]["total_jobs"], json!(runs.len()));
    server.app.clock.advance(25 * 3_600);
    fold_statistics::check(&server.app).await.unwrap();
    assert_eq!(fresh(&admin, "health").await["basic_counts"]["total_jobs"], json!(runs.len()));
    check_dashboard(&admin, &runs, now).await;
    check_executions(&admin, &runs, now, &users).await;
    assert!(store::execution_count::wrong(&server.app.db).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_goes_with_a_script_or_a_person_leaves_the_statistics_too() {
    let server = Server::api_only().await;
    let (admin, users, runs, _) = filled(&server, 3).await;
    fold(&server).await;
    admin.delete("/api/v1/script/drought-vulnerability").await.expect(200);
    admin.delete(&format!("/api/v1/user/{}", users[1])).await.expect(200);
    let left = runs.iter().filter(|run| SCRIPTS[run.script].1 != "drought-vulnerability" && run.user != 1).count();
    assert_eq!(fresh(&admin, "dashboard").await["summary"]["total_executions"], json!(left));
}
