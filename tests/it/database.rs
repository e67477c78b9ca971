//! The database as a neighbour: its time is everybody's, it may be too busy, and it goes away and comes back.

use std::time::{Duration, Instant};

use chrono::{NaiveDateTime, TimeDelta, Utc};
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use trends_earth::clock::{self, Clock};

use crate::support::{Answer, Client, Options, Package, Postgres, Server, database_url, skip, until};

/// Says numbered lines, one a tenth of a second.
const COUNTING: &str = r#"
import time

def run(params, logger):
    for n in range(params["lines"]):
        logger.info("line %d" % n)
        time.sleep(0.1)
    return {"lines": params["lines"]}
"#;

/// Whether the suite runs on PostgreSQL; what is tested here is about nothing else.
fn on_postgres(test: &str) -> bool {
    if database_url().is_none() {
        skip(test, "SQLite lives and dies with the server");
    }
    database_url().is_some()
}

/// What time a server says it is.
async fn time(client: &Client) -> NaiveDateTime {
    let health = client.get("/api-health").await.expect(200);
    clock::parse(health["timestamp"].as_str().unwrap()).unwrap()
}

/// How far two times are apart, in milliseconds.
fn apart(a: NaiveDateTime, b: NaiveDateTime) -> i64 {
    (a - b).num_milliseconds().abs()
}

#[test]
fn the_clock_carries_on_what_a_database_said_and_never_goes_back() {
    let clock = Clock::new(0);
    assert!(apart(clock.now(), Utc::now().naive_utc()) < 1_000, "until then it is the machine's");
    let hour = 3_600_000_000;
    assert_eq!(clock.heard(Utc::now().timestamp_micros() + hour, Instant::now()), 0);
    let ahead = clock.now();
    assert!(apart(ahead, Utc::now().naive_utc() + TimeDelta::hours(1)) < 1_000);
    let back = clock.heard(Utc::now().timestamp_micros(), Instant::now());
    assert!((back + hour).abs() < 1_000_000, "{back}");
    let mut last = ahead;
    for _ in 0..1_000 {
        let now = clock.now();
        assert!(now >= last);
        last = now;
    }
    assert!(apart(last, ahead) < 1_000, "it waits until the database's has caught up");
    // A moment of this machine keeps its age.
    let age = clock.now() - clock.of_machine(Utc::now().timestamp_micros() as f64 / 1e6 - 5.0);
    assert!(apart(NaiveDateTime::default() + age, NaiveDateTime::default() + TimeDelta::seconds(5)) < 1_000);
    clock.advance(60);
    assert!(clock.now() >= last + TimeDelta::seconds(60));
}

#[tokio::test]
async fn servers_whose_machines_differ_by_a_minute_share_one_time() {
    if !on_postgres("servers_whose_machines_differ_by_a_minute_share_one_time") {
        return;
    }
    // One run fits into each, and a node that was not seen for ten seconds counts as lost.
    let options = Options::default().set("TE_OBJECTS_SHARED", true).set("TE_MAX_RUNS", 1).set("TE_NODE_LOST_S", 10);
    let first = Server::with(options).await;
    let second = first.beside(Options::default().set("TE_CLOCK_SKEW_S", -60)).await;
    let (here, there) = (first.admin().await, second.admin().await);
    let between = apart(time(&here).await, time(&there).await);
    assert!(between < 1_000, "{between} ms");
    for (client, server) in [(&here, &second), (&there, &first)] {
        server.moved(client).get("/api/v1/user/me").await.expect(200);
    }
    let slug = here.publish_built(&Package::new("counting", COUNTING)).await;
    let begun = Utc::now().naive_utc();
    let mut runs = Vec::new();
    for client in [&here, &there] {
        runs.push(client.run(&slug, &json!({"lines": 140})).await);
    }
    for id in &runs {
        let run = here.ended(id).await;
        assert_eq!(run["status"], "FINISHED", "{run:#}");
        for key in ["start_date", "end_date"] {
            let at = clock::parse(run[key].as_str().unwrap()).unwrap();
            assert!(at > begun - TimeDelta::seconds(5) && at < Utc::now().naive_utc() + TimeDelta::seconds(5));
        }
    }
    let units = [&first, &second].map(|server| runs.iter().filter(|id| server.unit(id).is_dir()).count());
    assert_eq!(units, [1, 1], "each had one, longer than the other would have waited for a lost node");
    for server in [&first, &second] {
        assert!(!server.log().contains("a run is taken over"), "no lease was lost");
    }
    drop(second);
}

#[tokio::test]
async fn the_time_zone_of_the_database_changes_no_time() {
    if !on_postgres("the_time_zone_of_the_database_changes_no_time") {
        return;
    }
    let mut server = Server::with(Options::default().without_worker()).await;
    server
        .execute("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone TO ''America/Lima''', current_database()); END $$")
        .await;
    server.restart().await;
    let admin = server.admin().await;
    let now = || Utc::now().naive_utc();
    assert!(apart(time(&admin).await, now()) < 5_000);
    admin.publish(&Package::echo("Echo")).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let run = admin.run("echo", &json!({})).await;
    let run = admin.get(&format!("/api/v1/execution/{run}")).await.data(200);
    let begun = clock::parse(run["start_date"].as_str().unwrap()).unwrap();
    assert!(apart(begun, now()) < 60_000, "{begun}");
    let since = (now() - TimeDelta::minutes(5)).format("%Y-%m-%dT%H:%M:%S");
    let listed = admin.get(&format!("/api/v1/execution?filter=start_date>'{since}'&page=1")).await.expect(200);
    assert_eq!(listed["total"], 1, "{listed:#}");
}

#[tokio::test]
async fn a_pool_that_has_run_dry_is_told_in_less_than_a_second_and_a_slow_statement_in_its_time() {
    if !on_postgres("a_pool_that_has_run_dry_is_told_in_less_than_a_second_and_a_slow_statement_in_its_time") {
        return;
    }
    let options = Options::default().set("TE_DATABASE_CONNECTIONS", 4).set("TE_STATEMENT_TIMEOUT_S", 5);
    let server = Server::with(options.without_worker()).await;
    let admin = server.admin().await;
    let me = "/api/v1/user/me";
    admin.get(me).await.expect(200);
    let mut holder = server.app.db.begin().await.unwrap();
    trends_earth::within!(&mut holder, |on| {
        sqlx::query("LOCK TABLE \"user\" IN ACCESS EXCLUSIVE MODE").execute(on).await.map(drop)
    })
    .unwrap();
    // Two of the four are for statements that stand alone, as every request has one; they wait for the lock.
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let admin = admin.clone();
            tokio::spawn(async move { admin.get(me).await })
        })
        .collect();
    let held = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("two requests hold a connection each", async || server.rows(held).await == 2).await;
    for _ in 0..3 {
        let asked = Instant::now();
        let answer = admin.get(me).await;
        let took = asked.elapsed();
        answer.refused(503, "The server is overloaded; try again in a second.");
        refused(&answer, "overloaded", "1");
        println!("told to be overloaded after {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    let health = admin.get("/api-health").await.expect(200);
    assert_eq!(health["database"], "healthy", "it is busy, not away");
    for answer in futures::future::join_all(waiting).await {
        let answer = answer.unwrap();
        answer.refused(503, "The database was not done in time; try again soon.");
        refused(&answer, "overloaded", "1");
    }
    drop(holder);
    until("there is room again", async || admin.get(me).await.status == 200).await;
}

/// Checks that an answer is a 503 with this code, and when to come again.
#[track_caller]
fn refused(answer: &Answer, code: &str, retry_after: &str) {
    assert_eq!(answer.expect(503)["error_code"], code);
    assert_eq!(answer.headers["retry-after"], retry_after);
}

#[tokio::test]
async fn a_database_that_is_killed_and_comes_back_costs_no_run_and_no_line() {
    let test = "a_database_that_is_killed_and_comes_back_costs_no_run_and_no_line";
    if !on_postgres(test) {
        return;
    }
    let Some(mut postgres) = Postgres::start(test).await else { return };
    let options = Options { postgres: Some(postgres.url.clone()), ..Options::default() };
    let server = Server::with(options.set("TE_CLOCK_SKEW_S", 3_600)).await;
    // It is away for longer than a lease: the job is given up and taken again.
    server.may_log_errors();
    let admin = server.admin().await;
    let slug = admin.publish_built(&Package::new("counting", COUNTING)).await;
    let run = admin.run(&slug, &json!({"lines": 80})).await;
    admin.said(&run, "line 5").await;
    let (path, submit) = (format!("/api/v1/execution/{run}"), format!("/api/v1/script/{slug}/run"));
    let says = async |word: &str| {
        let begun = Instant::now();
        until(word, async || admin.get("/api-health").await.expect(200)["database"] == word).await;
        begun.elapsed()
    };
    postgres.go_away();
    let refusals = async {
        let (away, mut longest) = (Instant::now(), Duration::ZERO);
        while away.elapsed() < Duration::from_secs(6) {
            for request in [admin.request(Method::GET, &path), admin.request(Method::POST, &submit).json(&json!({}))] {
                let asked = Instant::now();
                refused(&admin.send(request).await, "database_unavailable", "5");
                longest = longest.max(asked.elapsed());
            }
        }
        longest
    };
    let (longest, gone) = tokio::join!(refusals, says("unhealthy"));
    assert!(apart(time(&admin).await, Utc::now().naive_utc()) < 1_000, "its time goes on");
    postgres.come_back().await;
    let back = says("healthy").await;
    println!("refused within {longest:?}; known to be away after {gone:?}, to be back after {back:?}");
    for (took, most_s) in [(longest, 2), (gone, 3), (back, 3)] {
        assert!(took < Duration::from_secs(most_s), "{longest:?} {gone:?} {back:?}");
    }
    admin.get(&path).await.expect(200);
    let ended = admin.ended(&run).await;
    assert_eq!(ended["status"], "FINISHED", "{ended:#}");
    let said: Vec<String> = admin.log(&run).await.into_iter().filter(|line| line.starts_with("line ")).collect();
    assert_eq!(said, (0..80).map(|n| format!("line {n}")).collect::<Vec<_>>());
    let history = admin.get(&format!("{path}/history")).await.data(200);
    let moves: Vec<&Value> = history.as_array().unwrap().iter().map(|change| &change["status_to"]).collect();
    assert_eq!(moves, ["PENDING", "READY", "RUNNING", "FINISHED"]);
    assert_eq!(server.rows("execution").await, 1, "what was refused is not there");
    assert_eq!(server.rows("job WHERE state IN ('waiting', 'running')").await, 0);
    assert_eq!(admin.finish(&slug, &json!({"lines": 1})).await["status"], "FINISHED");
    assert!(!server.log().contains("a request failed"), "nothing was answered 500");
    drop(server);
}

#[tokio::test]
async fn a_database_that_stands_still_keeps_nobody_waiting_and_goes_on_as_if_nothing_had_been() {
    let test = "a_database_that_stands_still_keeps_nobody_waiting_and_goes_on_as_if_nothing_had_been";
    if !on_postgres(test) {
        return;
    }
    let Some(postgres) = Postgres::start(test).await else { return };
    let options = Options { postgres: Some(postgres.url.clone()), ..Options::default() };
    let server = Server::with(options).await;
    // What the worker asks for meanwhile waits, or is told late.
    server.may_log_errors();
    let admin = server.admin().await;
    let slug = admin.publish_built(&Package::new("counting", COUNTING)).await;
    let run = admin.run(&slug, &json!({"lines": 40})).await;
    admin.said(&run, "line 2").await;
    postgres.signal(Signal::SIGSTOP);
    let asked = Instant::now();
    let path = format!("/api/v1/execution/{run}");
    let waiting = (0..20).map(|_| admin.get(&path));
    for answer in futures::future::join_all(waiting).await {
        assert_eq!(answer.expect(503)["status"], 503);
        assert!(answer.headers.contains_key("retry-after"));
    }
    let took = asked.elapsed();
    until("it is known to stand still", async || admin.get("/api-health").await.expect(200)["database"] == "unhealthy")
        .await;
    postgres.signal(Signal::SIGCONT);
    println!("nobody waited longer than {took:?}");
    assert!(took < Duration::from_secs(8), "{took:?}");
    until("it answers again", async || admin.get(&path).await.status == 200).await;
    let ended = admin.ended(&run).await;
    assert_eq!(ended["status"], "FINISHED", "{ended:#}");
    let said = admin.log(&run).await.into_iter().filter(|line| line.starts_with("line ")).count();
    assert_eq!(said, 40, "each line once");
    drop(server);
}
