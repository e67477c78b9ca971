//! `demo`: the main job from nothing, with the public index and without, interrupted and taken up again.

use std::{
    net::TcpListener,
    process::{Command, Output},
    sync::OnceLock,
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value;
use trends_earth::store::Db;

use crate::support::{Place, skip};

/// A proxy at which nobody listens: it cuts the index off, and leaves the key of an environment as it is.
const NOBODY: (&str, &str) = ("HTTPS_PROXY", "http://127.0.0.1:9");

/// Whether the package index of this machine answers.
fn index_answers() -> bool {
    static ANSWERS: OnceLock<bool> = OnceLock::new();
    let ask = || {
        let words = ["-m", "pip", "index", "versions", "spyndex", "--timeout", "15", "--retries", "1"];
        Command::new("python3").args(words).output().is_ok_and(|output| output.status.success())
    };
    *ANSWERS.get_or_init(ask)
}

/// One value of each row of a query.
async fn column(place: &Place, query: &'static str) -> Vec<String> {
    let db = place.database().await;
    let values = match &db {
        Db::Sqlite { read, .. } => sqlx::query_scalar(query).fetch_all(read).await.unwrap(),
        Db::Postgres(pool) => sqlx::query_scalar(query).fetch_all(&**pool).await.unwrap(),
    };
    db.close().await;
    values
}

fn sh(script: &str) -> Output {
    let output = Command::new("sh").args(["-euc", script]).env("NO_PROXY", "127.0.0.1").output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    output
}

/// Nothing but text: no colours, no bars that are drawn anew.
#[track_caller]
fn is_plain(text: &str) {
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}

/// The lines below this one, as far as they are indented.
fn below<'a>(out: &'a str, title: &str) -> Vec<&'a str> {
    out.lines().skip_while(|line| *line != title).skip(1).take_while(|line| line.starts_with("  ")).collect()
}

#[tokio::test]
async fn it_does_the_main_job_from_nothing_and_again_without_the_index() {
    if !index_answers() {
        return skip("it_does_the_main_job_from_nothing_and_again_without_the_index", "no package index answers");
    }
    let place = Place::new().await;
    let said = place.on_data(&["demo", "--once"]).run().await;
    let out = said.ended(0);
    is_plain(out);
    let place_of = |text: &str| out.find(text).unwrap_or_else(|| panic!("{text:?} is not in: {out}"));
    let story = ["Account: admin@", "Build started.", "Build successful.", "Mean 0.46998", "The run is FINISHED."];
    assert!(story.map(place_of).is_sorted(), "{out}");
    let results = column(&place, "SELECT CAST(results AS TEXT) FROM execution WHERE status = 'FINISHED'").await;
    let mean = serde_json::from_str::<Value>(&results[0]).unwrap()["statistics"]["mean"].as_f64().unwrap();
    assert!((mean - 0.46998).abs() < 0.000_01, "{mean}");

    // The environment is there, so the index is not asked; the log of the first build is not told again.
    let said = place.on_data(&["demo", "--once"]).env(NOBODY.0, NOBODY.1).run().await;
    let out = said.ended(0);
    assert!(out.contains("Publishing vegetation-index again") && out.contains("The run is FINISHED."), "{out}");
    assert_eq!(out.matches("Build started.").count(), 1, "{out}");
    assert!(!out.contains("Collecting") && out.contains("demo.password"), "{out}");

    let mut demo = place.on_data(&["demo"]).env(NOBODY.0, NOBODY.1).start().await;
    demo.until("Press Ctrl-C to stop it.").await;
    let lines = below(&demo.out, "Do it yourself:");
    assert_eq!(lines.len(), 3, "{}", demo.out);
    let out = String::from_utf8(sh(&lines.join("\n")).stdout).unwrap();
    let (run, events) = out.split_once("retry: ").unwrap();
    let run: Value = serde_json::from_str(run.trim()).unwrap();
    assert_eq!(run["data"]["params"]["index"], "EVI");
    assert!(events.contains("Mean 0.46998") && events.contains("event: end"), "{events}");
    demo.signal(Signal::SIGINT);
    let said = demo.end().await;
    assert!(said.ended(0).contains("Everything is kept in"), "{}", said.out);
}

#[tokio::test]
async fn without_an_index_it_says_so_within_a_minute_and_runs_what_needs_none() {
    let place = Place::new().await;
    let taken = TcpListener::bind("127.0.0.1:3000");
    let said = place.on_data(&["demo", "--once"]).env(NOBODY.0, NOBODY.1).run().await;
    let out = said.ended(0);
    is_plain(out);
    assert!(out.contains("127.0.0.1:3000 is taken; the demo listens on 127.0.0.1:"), "{out}");
    let sentence = "does not answer. The example trend, which needs no package, runs instead.";
    assert!(out.contains(sentence) && out.contains("The run is FINISHED."), "{out}");
    assert!(out.contains("Mann-Kendall"), "{out}");
    assert!(said.took < Duration::from_secs(60), "{:?}", said.took);
    drop(taken);
}

#[tokio::test]
async fn interrupted_during_the_run_it_says_how_to_go_on_and_the_next_start_finishes_it() {
    let place = Place::new().await;
    const OPEN: &str = "SELECT CAST(id AS TEXT) FROM execution WHERE status <> 'FINISHED'";
    let mut open = Vec::new();
    // A signal that comes before the run is accepted, or when it has ended, is no failure, only no test.
    for _ in 0..10 {
        let mut demo = place.on_data(&["demo", "--once"]).env(NOBODY.0, NOBODY.1).start().await;
        demo.until("Running trend with").await;
        demo.signal(Signal::SIGINT);
        let said = demo.end().await;
        let out = said.ended(130);
        assert!(out.contains("Stopped. Nothing is lost:") && out.contains("start the demo again to go on."), "{out}");
        open = column(&place, OPEN).await;
        if !open.is_empty() {
            break;
        }
    }
    assert_eq!(open.len(), 1, "a run was interrupted");

    let said = place.on_data(&["demo", "--once"]).env(NOBODY.0, NOBODY.1).run().await;
    said.ended(0);
    assert_eq!(column(&place, OPEN).await, Vec::<String>::new());
}
