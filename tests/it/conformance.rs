//! What every engine has to do: the same cases against sandboxes of this machine, containers of a Docker daemon and services
//! of a Swarm. `tests/docker/` starts the daemons; where there is none, the test says so.

mod arena;
mod containers;
mod environments;

use std::time::Duration;

use arena::Arena;
use serde_json::{Value, json};

use crate::support::{Client, Package, skip, until};

/// One script that does what a case asks of it.
const MAIN: &str = r#"
import os, sys, time

class UserInputError(ValueError):
    pass

def run(params, logger):
    do = params["do"]
    if do == "finish":
        print("printed")
        for n in range(5):
            logger.info("line %d", n)
        logger.send_progress(40)
        return {"n": params["n"], "uid": os.getuid(), "nan": float("nan")}
    if do == "fail":
        raise ValueError("no such tile")
    if do == "blame":
        raise UserInputError("The data begin in 2000.")
    if do == "exit":
        os._exit(3)
    if do == "eat":
        held = []
        while True:
            held.append(bytearray(os.urandom(1 << 20)))
    if do == "tick":
        logger.info("begun")
        for n in range(params["ticks"]):
            logger.info("tick %d", n)
            time.sleep(0.1)
        return {}
    if do == "tell":
        print("printed", os.environ["UNIT_TOKEN"], flush=True)
        logger.info("told %s", os.environ["UNIT_TOKEN"])
        time.sleep(600)
    if do == "look":
        import look
        return look.look(params)
"#;

/// What is granted to the script for a while.
const SECRET: &str = "a word that nobody else may read";

fn script() -> Package {
    Package::new("Unit", MAIN)
        .file("src/look.py", include_str!("conformance/look.py"))
        .with("memory_limit", 134_217_728)
        .with("cpu_limit", 1_000_000_000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_engine_conforms() {
    conforms(Arena::process().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_conforms() {
    match Arena::docker().await {
        Ok(arena) => conforms(arena).await,
        Err(why) => skip("docker_conforms", &why),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swarm_conforms() {
    match Arena::swarm().await {
        Ok(arena) => conforms(arena).await,
        Err(why) => skip("a_swarm_conforms", &why),
    }
}

async fn conforms(mut arena: Arena) {
    if !arena.works().await {
        return skip("the_process_engine_conforms", "no sandbox works here");
    }
    let admin = arena.server.admin().await;
    let unit = admin.publish_built(&script()).await;
    let brief = Package::new("Brief", MAIN).with("timeout_s", 3).with("memory_limit", 134_217_728);
    let brief = admin.publish_built(&brief).await;
    tokio::join!(
        many_finish(&arena, &admin, &unit),
        each_end_says_why(&admin, &unit),
        time_runs_out(&admin, &brief),
        a_cancel_ends_the_unit(&arena, &admin, &unit),
        a_cancel_before_the_start_starts_nothing(&arena, &admin, &unit),
        a_unit_that_is_gone_is_lost(&arena, &admin, &unit),
    );
    a_failed_build_leaves_nothing(&arena, &admin).await;
    a_secret_is_told_to_its_run_alone(&arena, &admin, &unit).await;
    if arena.has_containers() {
        tokio::join!(
            containers::keep_their_promises(&arena, &admin, &unit),
            containers::are_started_once(&arena, &admin, &unit),
        );
    }
    if arena.kind == arena::Kind::Swarm {
        containers::are_lost_with_their_node(&arena, &admin, &unit).await;
    }
    let mut near = None;
    if arena.kind == arena::Kind::Docker {
        near = Some(containers::serve_beside_sandboxes(&admin, &unit).await);
        containers::are_reached_by_tls(&arena).await;
        environments::are_built_and_run_as_they_are(&arena, &admin).await;
        environments::of_the_existing_server_run_at_once(&arena, &admin).await;
        environments::go_with_their_script(&arena, &admin).await;
        containers::go_on_while_their_daemon_is_away(&arena, &admin, &unit).await;
    }
    if arena.has_containers() {
        nothing_is_known_of_a_stranger(&arena).await;
    }
    // From the next start on.
    arena.server.set("TE_ENGINE_FOR", "near=docker");
    a_worker_that_dies_loses_nothing(&mut arena, &unit).await;
    if let Some(near) = near {
        containers::take_what_sandboxes_had(&arena, &near).await;
    }
    arena.leaves_nothing().await;
}

/// Side by side: lines in order and once, progress, the result, what was printed.
async fn many_finish(arena: &Arena, admin: &Client, unit: &str) {
    let runs = (0..arena.many).map(|n| async move {
        let run = admin.finish(unit, &json!({"do": "finish", "n": n})).await;
        assert_eq!((&run["status"], &run["progress"]), (&json!("FINISHED"), &json!(100)), "{run}");
        assert_eq!((&run["results"]["n"], &run["results"]["nan"]), (&json!(n), &Value::Null));
        assert_ne!(run["results"]["uid"], 0, "not as root");
        let id = run["id"].as_str().unwrap();
        let lines: Vec<String> = (0..5).map(|n| format!("line {n}")).collect();
        assert_eq!(admin.log(id).await, lines);
        let path = format!("/api/v1/execution/{id}/docker-logs");
        until("what it printed is kept", async || admin.get(&path).await.json()["data"][0]["text"] == "printed").await;
    });
    futures::future::join_all(runs).await;
}

async fn each_end_says_why(admin: &Client, unit: &str) {
    let ends = [
        ("fail", "script_error", "ValueError: no such tile"),
        ("blame", "user_input", "The data begin in 2000."),
        ("exit", "script_error", "exit code 3"),
        ("eat", "out_of_memory", "134,217,728 bytes of memory"),
    ];
    let cases = ends.map(|(what, class, says)| async move {
        let run = admin.finish(unit, &json!({"do": what})).await;
        assert_eq!((&run["status"], &run["failure"]["class"]), (&json!("FAILED"), &json!(class)), "{what}: {run}");
        let message = run["failure"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{what}: {message}");
        assert_eq!(admin.log(run["id"].as_str().unwrap()).await.last().unwrap(), message);
    });
    futures::future::join_all(cases).await;
}

async fn time_runs_out(admin: &Client, brief: &str) {
    let run = admin.finish(brief, &json!({"do": "tick", "ticks": 10_000})).await;
    assert_eq!((&run["status"], &run["failure"]["class"]), (&json!("FAILED"), &json!("timeout")), "{run}");
    assert!(run["failure"]["message"].as_str().unwrap().contains("limit of 3 seconds"), "{run}");
}

async fn a_cancel_ends_the_unit(arena: &Arena, admin: &Client, unit: &str) {
    let id = admin.run(unit, &json!({"do": "tick", "ticks": 10_000})).await;
    admin.said(&id, "tick 2").await;
    assert_eq!(admin.post_empty(&format!("/api/v1/execution/{id}/cancel")).await.status, 202);
    let run = admin.ended(&id).await;
    assert_eq!((&run["status"], &run["failure"]["class"]), (&json!("CANCELLED"), &json!("cancelled")), "{run}");
    arena.unit_is_gone(&id).await;
}

async fn a_cancel_before_the_start_starts_nothing(arena: &Arena, admin: &Client, unit: &str) {
    let path = format!("/api/v1/script/{unit}/publish");
    admin.post_empty(&path).await.data(200);
    let ada = arena.server.user("ada").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(ada.run(unit, &json!({"do": "tick", "ticks": 10_000})).await);
    }
    let waits = ada.run(unit, &json!({"do": "tick", "ticks": 10_000})).await;
    for id in std::iter::once(&waits).chain(&held) {
        assert_eq!(ada.post_empty(&format!("/api/v1/execution/{id}/cancel")).await.status, 202);
    }
    let run = ada.ended(&waits).await;
    assert_eq!(run["status"], "CANCELLED", "{run}");
    assert!(!ada.log(&waits).await.contains(&"begun".to_owned()), "it never began");
    for id in held {
        assert_eq!(ada.ended(&id).await["status"], "CANCELLED");
        arena.unit_is_gone(&id).await;
    }
}

async fn a_unit_that_is_gone_is_lost(arena: &Arena, admin: &Client, unit: &str) {
    let id = admin.run(unit, &json!({"do": "tick", "ticks": 10_000})).await;
    admin.said(&id, "tick 2").await;
    arena.destroy(&id).await;
    let run = admin.ended(&id).await;
    assert_eq!((&run["status"], &run["failure"]["class"]), (&json!("FAILED"), &json!("infrastructure")), "{run}");
}

async fn a_failed_build_leaves_nothing(arena: &Arena, admin: &Client) {
    let before = arena.nameless_images().await;
    let slug = admin.publish(&Package::new("Broken", "def run(:\n")).await["slug"].as_str().unwrap().to_owned();
    let (status, log) = admin.built(&slug).await;
    assert_eq!(status, "FAIL", "{log:#?}");
    assert!(log.iter().any(|line| line.to_lowercase().contains("invalid syntax")), "{log:#?}");
    assert_eq!(arena.nameless_images().await, before);
}

/// It stands in the run's environment, and nowhere where it could be read.
async fn a_secret_is_told_to_its_run_alone(arena: &Arena, admin: &Client, unit: &str) {
    admin.grant(unit, "UNIT_TOKEN", SECRET).await;
    let id = admin.run(unit, &json!({"do": "tell"})).await;
    admin.said(&id, "told ***").await;
    if arena.has_containers() {
        assert!(!arena.inspect_all().await.contains(SECRET), "whoever looks at the engine is told a secret");
    }
    admin.post_empty(&format!("/api/v1/execution/{id}/cancel")).await.expect(202);
    assert_eq!(admin.ended(&id).await["status"], "CANCELLED");
    let path = format!("/api/v1/execution/{id}/docker-logs");
    until("what it printed is kept", async || admin.get(&path).await.json()["data"][0]["text"] == "printed ***").await;
    admin.delete(&format!("/api/v1/script/{unit}/secrets/UNIT_TOKEN")).await.data(200);
}

/// A unit that this engine never had.
async fn nothing_is_known_of_a_stranger(arena: &Arena) {
    use trends_earth::{engine::Unit, store::Id};
    let engine = arena.engine().await;
    for unit in [Unit::Execution(Id::random()), Unit::Build(Id::random())] {
        assert_eq!(engine.find(unit).await.unwrap(), None);
        engine.stop(unit).await.unwrap();
        engine.forget(unit).await.unwrap();
        assert_eq!(engine.output(unit).await.unwrap(), None);
    }
}

/// Killed in the middle of two runs; they go on, one of them to its end, before there is a worker again.
async fn a_worker_that_dies_loses_nothing(arena: &mut Arena, unit: &str) {
    let admin = arena.server.admin().await;
    let short = admin.run(unit, &json!({"do": "tick", "ticks": 15})).await;
    let long = admin.run(unit, &json!({"do": "tick", "ticks": 60})).await;
    admin.said(&short, "tick 1").await;
    admin.said(&long, "tick 1").await;
    arena.server.kill();
    let begun = arena.begun(&long).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    arena.server.restart().await;
    let admin = arena.server.moved(&admin);
    for (id, ticks) in [(short, 15), (long.clone(), 60)] {
        let run = admin.ended(&id).await;
        assert_eq!(run["status"], "FINISHED", "{run}");
        let expected: Vec<String> =
            std::iter::once("begun".to_owned()).chain((0..ticks).map(|n| format!("tick {n}"))).collect();
        assert_eq!(admin.log(&id).await, expected, "each line once, in order");
        let path = format!("/api/v1/execution/{id}/history");
        let history = admin.get(&path).await.data(200);
        let starts = history.as_array().unwrap().iter().filter(|event| event["cause"] == "dispatched").count();
        assert_eq!(starts, 1, "{history}");
    }
    drop(begun);
}
