//! `GET /api/v1/status`.

use std::collections::BTreeMap;

use chrono::{NaiveDateTime, TimeDelta, Timelike};
use serde_json::{Value, json};
use trends_earth::jobs::fold_statistics;

use crate::support::{Package, Random, Server};

/// A row of `status_log` as the test has made it.
#[derive(Debug, Clone)]
struct Change {
    at: NaiveDateTime,
    counts: [i64; 3],
    from: &'static str,
    to: &'static str,
}

fn random_changes(random: &mut Random, now: NaiveDateTime) -> Vec<Change> {
    const STATES: [&str; 5] = ["PENDING", "RUNNING", "FINISHED", "FAILED", "CANCELLED"];
    let mut changes: Vec<Change> = (0..600)
        .map(|_| {
            let days = [1, 9, 50, 400][usize::try_from(random.below(4)).unwrap()];
            let ago = i64::try_from(random.below(days * 144)).unwrap() * 600 + 300;
            let state = |random: &mut Random| STATES[usize::try_from(random.below(5)).unwrap()];
            Change {
                at: now - TimeDelta::seconds(ago),
                counts: std::array::from_fn(|_| i64::try_from(random.below(50)).unwrap()),
                from: state(random),
                to: state(random),
            }
        })
        .collect();
    changes.sort_by_key(|change| change.at);
    changes
}

async fn insert(server: &Server, changes: &[Change]) {
    let rows: Vec<String> = changes
        .iter()
        .map(|c| {
            let ([pending, ready, running], at) = (c.counts, c.at.format("%Y-%m-%d %H:%M:%S"));
            format!("('{at}', {pending}, {ready}, {running}, 1, 2, 3, '{}', '{}', 'x')", c.from, c.to)
        })
        .collect();
    server
        .execute(&format!(
            r#"INSERT INTO status_log ("timestamp", executions_pending, executions_ready, executions_running, executions_finished,
                   executions_failed, executions_cancelled, status_from, status_to, execution_id) VALUES {}"#,
            rows.join(", ")
        ))
        .await;
}

/// What the aggregate must say of some changes.
fn gathered(changes: &[&Change], floor: impl Fn(NaiveDateTime) -> NaiveDateTime) -> Value {
    let mut buckets: BTreeMap<NaiveDateTime, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        buckets.entry(floor(change.at)).or_default().push(change);
    }
    let mut sums = [0; 3];
    let row = |(at, of): (NaiveDateTime, Vec<&Change>)| {
        let mean = |i: usize| {
            let sum: i64 = of.iter().map(|change| change.counts[i]).sum();
            (sum as f64 / of.len() as f64).round_ties_even() as i64
        };
        let ends = ["FINISHED", "FAILED", "CANCELLED"]
            .map(|to| i64::try_from(of.iter().filter(|change| change.to == to && change.from != to).count()).unwrap());
        for (sum, n) in sums.iter_mut().zip(ends) {
            *sum += n;
        }
        json!({
            "timestamp": format!("{}+00:00", at.format("%Y-%m-%dT%H:%M:%S")),
            "executions_pending": mean(0), "executions_ready": mean(1), "executions_running": mean(2),
            "executions_active": mean(0) + mean(1) + mean(2),
            "executions_finished": ends[0], "executions_failed": ends[1], "executions_cancelled": ends[2],
            "cumulative_finished": sums[0], "cumulative_failed": sums[1], "cumulative_cancelled": sums[2],
        })
    };
    buckets.into_iter().map(row).collect()
}

#[tokio::test]
async fn gathered_numbers_and_totals_are_right_before_days_are_rolled_up_and_after() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let now = server.app.clock.now().with_nanosecond(0).unwrap();
    let changes = random_changes(&mut Random::new(4), now);
    insert(&server, &changes).await;
    for rolled_up in [false, true] {
        if rolled_up {
            while fold_statistics::fold(&server.app).await.unwrap() {}
            assert!(server.rows("status_hourly").await > 100);
        }
        let wire = |time: NaiveDateTime| time.format("%Y-%m-%dT%H:%M:%S").to_string();
        let (early, late) = (changes[40].at, changes[500].at);
        let ask = [
            (String::new(), NaiveDateTime::MIN, NaiveDateTime::MAX),
            ("&period=all".into(), NaiveDateTime::MIN, NaiveDateTime::MAX),
            ("&period=".into(), NaiveDateTime::MIN, NaiveDateTime::MAX),
            ("&period=last_day".into(), now - TimeDelta::days(1), NaiveDateTime::MAX),
            ("&period=last_month".into(), now - TimeDelta::days(30), NaiveDateTime::MAX),
            // Both ends are part of it; what is said in times counts before a period.
            (format!("&start_date={}&end_date={}", wire(early), wire(late)), early, late),
            (format!("&start_date={}&period=last_day", wire(early)), early, NaiveDateTime::MAX),
            (format!("&end_date={}Z", wire(early)), NaiveDateTime::MIN, early),
        ];
        for (query, from, to) in ask {
            let wanted: Vec<&Change> = changes.iter().filter(|c| c.at >= from && c.at <= to).collect();
            let list = admin.get(&format!("/api/v1/status?per_page=3{query}")).await.expect(200);
            assert_eq!(list["total"], json!(wanted.len()), "{query}");
            assert_eq!(list["data"].as_array().unwrap().len(), wanted.len().min(3));
            assert_eq!(list["data"][0]["timestamp"], json!(wire(wanted.last().unwrap().at)));
            let day = |time: NaiveDateTime| time.date().and_hms_opt(0, 0, 0).unwrap();
            let week = |time: NaiveDateTime| day(time.date().week(chrono::Weekday::Mon).first_day().into());
            let month = |time: NaiveDateTime| day(chrono::Datelike::with_day(&time, 1).unwrap());
            let hour = |time: NaiveDateTime| day(time) + TimeDelta::hours(time.hour().into());
            for (bucket, expected) in [
                ("hour", gathered(&wanted, hour)),
                ("DAY", gathered(&wanted, day)),
                ("week", gathered(&wanted, week)),
                ("month", gathered(&wanted, month)),
            ] {
                let path = format!("/api/v1/status?aggregate=1&group_by={bucket}{query}");
                let answer = admin.get(&path).await.expect(200);
                assert_eq!(answer["data"], expected, "{path}");
                let n = json!(expected.as_array().unwrap().len());
                assert_eq!((&answer["page"], &answer["per_page"], &answer["total"]), (&json!(1), &n, &n));
                let down = admin.get(&format!("{path}&sort=-timestamp")).await.data(200);
                let reversed: Vec<&Value> = expected.as_array().unwrap().iter().rev().collect();
                assert_eq!(down, json!(reversed), "{path}");
            }
        }
    }
}

#[tokio::test]
async fn a_run_leaves_a_row_a_change_with_the_counts_after_it() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let slug = admin.publish_built(&Package::echo("Counted")).await;
    let run = admin.finish(&slug, &json!({})).await;
    let answer = admin.get("/api/v1/status?sort=id").await.expect(200);
    assert_eq!((&answer["page"], &answer["per_page"], &answer["total"]), (&json!(1), &json!(100), &json!(3)));
    let rows = answer["data"].as_array().unwrap();
    let moves: Vec<Value> = rows.iter().map(|row| json!([row["status_from"], row["status_to"]])).collect();
    let expected = json!([["PENDING", "READY"], ["READY", "RUNNING"], ["RUNNING", "FINISHED"]]);
    assert_eq!(json!(moves), expected);
    assert_eq!(rows[2]["execution_id"], run["id"]);
    let keys: Vec<&str> = rows[2].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "execution_id",
            "executions_cancelled",
            "executions_failed",
            "executions_finished",
            "executions_pending",
            "executions_ready",
            "executions_running",
            "id",
            "status_from",
            "status_to",
            "timestamp"
        ]
    );
    assert_eq!((&rows[1]["executions_running"], &rows[2]["executions_finished"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn pages_and_sorts_are_read_in_both_styles_and_bad_words_are_refused() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let now = server.app.clock.now().with_nanosecond(0).unwrap();
    let change = |minutes: i64, pending: i64| Change {
        at: now - TimeDelta::minutes(minutes),
        counts: [pending, 0, 0],
        from: "PENDING",
        to: "READY",
    };
    insert(&server, &[change(3, 7), change(1, 9), change(2, 8)]).await;
    for (query, ids) in [
        ("", [2, 3, 1]),
        ("sort=-timestamp", [2, 3, 1]),
        ("sort=timestamp%20desc", [2, 3, 1]),
        ("sort=timestamp", [1, 3, 2]),
        ("sort=executions_pending", [1, 3, 2]),
        ("sort=-id", [3, 2, 1]),
        ("sort=bogus", [1, 2, 3]),
        ("page=0&per_page=99999", [2, 3, 1]),
        ("page=x&per_page=1", [2, 3, 1]),
    ] {
        let answer = admin.get(&format!("/api/v1/status?{query}")).await.expect(200);
        let got: Vec<i64> = answer["data"].as_array().unwrap().iter().map(|row| row["id"].as_i64().unwrap()).collect();
        assert_eq!(got, ids, "{query}");
    }
    let clamped = admin.get("/api/v1/status?per_page=99999").await.expect(200);
    assert_eq!((&clamped["per_page"], &clamped["total"]), (&json!(10_000), &json!(3)));
    let second = admin.get("/api/v1/status?page=2&per_page=1").await.expect(200);
    assert_eq!((&second["data"][0]["id"], &second["page"]), (&json!(3), &json!(2)));
    for (query, sentence) in [
        ("period=bogus", "Invalid period. Must be one of: last_day, last_week, last_month, last_year, all"),
        ("aggregate=true", "group_by parameter is required when aggregate=true"),
        ("aggregate=yes&group_by=", "group_by parameter is required when aggregate=true"),
        ("aggregate=true&group_by=year", "Invalid group_by. Must be one of: day, hour, month, week"),
        ("start_date=zz", r#"start_date is "zz"; it must be a date or time such as 2026-11-24T02:56:01"#),
        ("end_date=2026-13-01", r#"end_date is "2026-13-01"; it must be a date or time such as 2026-11-24T02:56:01"#),
    ] {
        admin.get(&format!("/api/v1/status?{query}")).await.refused(400, sentence);
    }
    for odd in [
        "start_date=9999-12-31T23:59:59.999999",
        "end_date=0001-01-01",
        "page=9223372036854775807",
        "end_date=9999-12-31T23:59:59.999999&aggregate=1&group_by=week",
    ] {
        admin.get(&format!("/api/v1/status?{odd}")).await.expect(200);
    }
}
