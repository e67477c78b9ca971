//! One death at one chosen moment: in the middle of a build, of a flood of lines, of a run; of the keeper; a polite stop;
//! a server that is frozen beyond its lease.

use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use trends_earth::engine::process::keeper;

use super::{COUNTING, ledger::Ledger, setting};
use crate::support::{
    Client, Options, Package, PackageIndex, Random, Server, keeper_of, processes_of, skip, source, until, wheel,
};

/// Both ways to hold a script that need no operator's word.
const RUNGS: [&str; 2] = ["bwrap", "namespaces"];

fn counting(lines: u32, pause_s: f64) -> serde_json::Value {
    json!({"lines": lines, "pause_s": pause_s})
}

fn texts(log: &[String], prefix: &str) -> Vec<String> {
    log.iter().filter_map(|line| line.strip_prefix(prefix)).map(str::to_owned).collect()
}

fn numbers(count: u32) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

/// The keepers of the builds that are under way.
fn build_keepers(server: &Server) -> Vec<Pid> {
    let folders = std::fs::read_dir(server.folder.join("builds")).unwrap().flatten();
    folders.filter_map(|folder| keeper_of(&folder.path())).collect()
}

/// Publishes a package while the index holds its files back, and comes back in the middle of the installation.
async fn installing(admin: &Client, index: &PackageIndex, package: &Package, file: &str) -> String {
    index.hold();
    let slug = admin.publish(package).await["slug"].as_str().unwrap().to_owned();
    index.asked_for(file, 1).await;
    slug
}

#[tokio::test]
async fn a_build_goes_on_while_the_server_is_away() {
    let index = PackageIndex::serve([wheel("greeting", "1.0", &[])]);
    let options = Options::default().set("PIP_INDEX_URL", format!("{}/simple", index.url)).set("TE_LEASE_S", 60);
    let mut server = Server::with(options).await;
    let admin = server.admin().await;
    let main = "import greeting\n\ndef run(params, logger):\n    return {'version': greeting.VERSION}\n";
    let package = Package::new("greets", main).requirements("greeting");
    let slug = installing(&admin, &index, &package, "greeting").await;
    let keepers = build_keepers(&server);
    server.kill();
    server.restart().await;
    let admin = server.moved(&admin);
    until("the build is taken up", async || server.log().matches("scripts run here").count() == 2).await;
    assert_eq!((build_keepers(&server), 1), (keepers.clone(), keepers.len()), "the unit is the same");
    index.let_go();
    let (status, log) = admin.built(&slug).await;
    assert_eq!(status, "SUCCESS", "{log:#?}");
    assert_eq!(log.iter().filter(|line| *line == "Build started.").count(), 1, "{log:#?}");
    assert_eq!(log.iter().filter(|line| line.starts_with("Installing 1 requirements")).count(), 1, "{log:#?}");
    assert_eq!(admin.finish(&slug, &json!({})).await["results"]["version"], "1.0");
}

#[tokio::test]
async fn a_run_that_is_cancelled_while_its_environment_is_made_again_ends_at_once_and_never_begins() {
    let index = PackageIndex::serve([wheel("greeting", "1.0", &[])]);
    let server = Server::with(Options::default().set("PIP_INDEX_URL", format!("{}/simple", index.url))).await;
    let admin = server.admin().await;
    let main = "import greeting\n\ndef run(params, logger):\n    return {'version': greeting.VERSION}\n";
    let package = Package::new("greets", main).requirements("greeting");
    let slug = admin.publish_built(&package).await;
    for environment in std::fs::read_dir(server.folder.join("envs")).unwrap() {
        trends_earth::engine::process::environment::remove_tree(&environment.unwrap().path()).unwrap();
    }
    until("the first build is over", async || build_keepers(&server).is_empty()).await;
    index.hold();
    let id = admin.run(&slug, &json!({})).await;
    until("the environment is made again", async || !build_keepers(&server).is_empty()).await;
    admin.post_empty(&format!("/api/v1/execution/{id}/cancel")).await.expect(202);
    let run = admin.ended(&id).await;
    assert_eq!((&run["status"], &run["failure"]["class"]), (&json!("CANCELLED"), &json!("cancelled")));
    assert_eq!(admin.log(&id).await, ["Cancellation requested by user", "The run was cancelled."]);
    until("the build is ended", async || build_keepers(&server).is_empty()).await;
    index.let_go();
    assert!(!server.unit(&id).is_dir());
    // The next run makes the environment and finishes.
    assert_eq!(admin.finish(&slug, &json!({})).await["results"]["version"], "1.0");
}

#[tokio::test]
async fn a_build_whose_keeper_is_killed_begins_anew() {
    let index = PackageIndex::serve([source("homemade", "0.1", "")]);
    let server = Server::with(Options::default().set("PIP_INDEX_URL", format!("{}/simple", index.url))).await;
    let admin = server.admin().await;
    let package = Package::echo("made at home").requirements("homemade");
    let slug = installing(&admin, &index, &package, "homemade").await;
    kill(build_keepers(&server)[0], Signal::SIGKILL).unwrap();
    index.let_go();
    let (status, log) = admin.built(&slug).await;
    assert_eq!(status, "SUCCESS", "{log:#?}");
    assert!(log.contains(&"The build was interrupted and begins anew.".to_owned()), "{log:#?}");
    let left: Vec<_> = std::fs::read_dir(server.folder.join("envs")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "one environment and nothing half made: {left:?}");
}

#[tokio::test]
async fn a_run_whose_keeper_is_killed_fails_within_seconds() {
    for rung in RUNGS {
        let server = Server::with(Options::default().set("TE_SANDBOX", rung)).await;
        if !server.has_sandbox().await {
            skip("a_run_whose_keeper_is_killed_fails_within_seconds", &format!("{rung} does not work here"));
            continue;
        }
        let admin = server.admin().await;
        let slug = admin.publish_built(&Package::new("counting", COUNTING)).await;
        let id = admin.run(&slug, &counting(1_000, 0.1)).await;
        admin.said(&id, "line 3").await;
        assert!(!processes_of(&id).is_empty());
        kill(keeper_of(&server.unit(&id)).unwrap(), Signal::SIGKILL).unwrap();
        let killed = Instant::now();
        let run = admin.ended(&id).await;
        assert!(killed.elapsed() < Duration::from_secs(15), "{:?}", killed.elapsed());
        assert_eq!((&run["status"], &run["failure"]["class"]), (&json!("FAILED"), &json!("infrastructure")));
        let log = admin.log(&id).await;
        assert_eq!(log.last().unwrap(), run["failure"]["message"].as_str().unwrap());
        let lines = texts(&log, "line ");
        assert_eq!(lines, numbers(u32::try_from(lines.len()).unwrap()));
        until("no process of the run is left", async || processes_of(&id).is_empty()).await;
        server.may_log_errors();
    }
}

#[tokio::test]
async fn a_flood_of_lines_is_stored_once_over_kills() {
    let lines = 12_000;
    let mut server = Server::start().await;
    let mut admin = server.admin().await;
    let slug = admin.publish_built(&Package::new("counting", COUNTING).with("timeout_s", 300)).await;
    let id = admin.run(&slug, &counting(lines, 0.0002)).await;
    for part in 1..=4 {
        admin.said(&id, &format!("line {}", lines / 6 * part)).await;
        server.kill();
        server.restart().await;
        admin = server.moved(&admin);
    }
    let run = admin.ended(&id).await;
    assert_eq!(run["status"], "FINISHED");
    let log = admin.log(&id).await;
    assert_eq!(texts(&log, "started "), [run["results"]["token"].as_str().unwrap()]);
    assert!(texts(&log, "line ") == numbers(lines), "each line once and in order");
}

#[tokio::test]
async fn a_run_that_ends_while_the_server_is_away_is_told_at_the_next_start() {
    let mut server = Server::with(Options::default().set("TE_LEASE_S", 600).set("TE_HEARTBEAT_S", 5)).await;
    let admin = server.admin().await;
    let slug = admin.publish_built(&Package::new("counting", COUNTING)).await;
    let good = admin.run(&slug, &counting(20, 0.05)).await;
    let bad = admin.run(&slug, &json!({"lines": 20, "pause_s": "none"})).await;
    admin.ended(&bad).await;
    admin.said(&good, "line 2").await;
    server.kill();
    until("the unit has ended", async || !keeper::is_alive(&server.unit(&good))).await;
    server.restart().await;
    let admin = server.moved(&admin);
    let run = admin.ended(&good).await;
    assert_eq!((&run["status"], &run["progress"]), (&json!("FINISHED"), &json!(100)));
    let log = admin.log(&good).await;
    assert_eq!(texts(&log, "line "), numbers(20));
    assert_eq!(texts(&log, "started "), [run["results"]["token"].as_str().unwrap()]);
}

#[tokio::test]
async fn a_server_that_is_asked_to_stop_leaves_runs_alone() {
    // Only a lease that is given back can be taken up before these ten minutes.
    let mut server = Server::with(Options::default().set("TE_LEASE_S", 600).set("TE_HEARTBEAT_S", 5)).await;
    let admin = server.admin().await;
    let slug = admin.publish_built(&Package::new("counting", COUNTING)).await;
    let id = admin.run(&slug, &counting(120, 0.1)).await;
    admin.said(&id, "line 3").await;
    let listening = tokio::spawn({
        let (admin, id) = (admin.clone(), id.clone());
        async move { admin.request(reqwest::Method::GET, &format!("/api/v1/execution/{id}/log/stream")).send().await }
    });
    let stream = listening.await.unwrap().unwrap();
    let (asked, pid) = (Instant::now(), keeper_of(&server.unit(&id)).unwrap());
    assert!(server.stop().success());
    assert!(asked.elapsed() < Duration::from_secs(10), "an open stream does not hold it back: {:?}", asked.elapsed());
    drop(stream);
    assert_eq!(keeper_of(&server.unit(&id)), Some(pid), "the unit goes on");
    server.restart().await;
    let started = Instant::now();
    until("the run is taken up", async || server.log().contains("a run is taken over")).await;
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    let admin = server.moved(&admin);
    let run = admin.ended(&id).await;
    assert_eq!(run["status"], "FINISHED");
    let log = admin.log(&id).await;
    assert_eq!(texts(&log, "line "), numbers(120));
    assert_eq!(texts(&log, "started "), [run["results"]["token"].as_str().unwrap()]);
}

#[tokio::test]
async fn a_server_that_is_frozen_beyond_its_lease_loses_and_doubles_nothing() {
    let seed = setting("TE_TEST_SEED", uuid::Uuid::new_v4().as_u128() as u64);
    let mut random = Random::new(seed);
    let server =
        Server::with(Options::default().set("TE_LEASE_S", 3).set("TE_HEARTBEAT_S", 1).set("TE_MAX_RUNS", 6)).await;
    let admin = server.admin().await;
    let slug = admin.publish_built(&Package::new("counting", COUNTING)).await;
    let ledger = Ledger::new(seed);
    for _ in 0..5 {
        for _ in 0..3 {
            ledger.accepted_run(&admin.run(&slug, &counting(20 + random.below(40) as u32, 0.05)).await);
        }
        ledger.accepted_script(
            admin.publish(&Package::echo(&format!("frozen {}", random.below(1 << 40)))).await["slug"].as_str().unwrap(),
        );
        tokio::time::sleep(Duration::from_millis(random.below(1_200))).await;
        server.signal(Signal::SIGSTOP);
        ledger.killed();
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        server.signal(Signal::SIGCONT);
    }
    ledger.until_all_jobs_are_done(&server).await;
    ledger.check(&server).await;
}

#[tokio::test]
async fn what_was_left_half_made_is_swept_at_the_next_start() {
    let mut server = Server::start().await;
    if !server.has_sandbox().await {
        return;
    }
    server.kill();
    let hidden = || format!(".{}", uuid::Uuid::new_v4());
    let [old_run, old_version, young, other] =
        [("runs", hidden()), ("versions", hidden()), ("runs", hidden()), ("builds", ".kept".to_owned())]
            .map(|(parent, name)| server.folder.join(parent).join(name));
    for folder in [&old_run, &old_version, &young, &other] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("file"), "half").unwrap();
        if folder != &young {
            let before = std::time::SystemTime::now() - Duration::from_secs(7200);
            std::fs::File::open(folder).unwrap().set_modified(before).unwrap();
        }
    }
    server.restart().await;
    until("the old ones are gone", async || !old_run.exists() && !old_version.exists()).await;
    assert!(young.exists() && other.exists(), "somebody else may be making it, or it is nothing of ours");
}
