//! What the containers of a run must not be able to do, and must not be told.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::{Value, json};
use trends_earth::{
    engine::{Limits, Network, Room, Run},
    store::Id,
};

use super::arena::{Arena, Kind};
use crate::support::{Client, Package, token, until};

pub async fn keep_their_promises(arena: &Arena, admin: &Client, unit: &str) {
    let hosts: Vec<Value> = arena.own_addresses().into_iter().map(|(host, port)| json!([host, port])).collect();
    let run = admin.finish(unit, &json!({"do": "look", "hosts": hosts})).await;
    assert_eq!(run["status"], "FINISHED", "{run}");
    let seen = &run["results"];
    assert_eq!(seen["capabilities"], 0, "{seen}");
    // Daemons before 24 do not know the setting for services; without capabilities and as nobody there is nothing to gain.
    assert!(arena.kind == Kind::Swarm || seen["privileges"] == json!(["1"]), "{seen}");
    let writes = json!({"/etc/x": false, "/usr/x": false, "/script/x": false, "/work/x": true, "/tmp/x": true});
    assert_eq!(seen["writes"], writes);
    for (place, reached) in seen["reaches"].as_object().unwrap() {
        assert_eq!(*reached, json!(false), "{place} is reached without the gate");
    }
    let gate = &seen["gate"];
    for way in ["private", "metadata", "loopback", "public", "plain"] {
        assert!(gate[way].as_str().unwrap().contains(" 403 "), "{way}: {gate}");
    }
    assert!(gate["api"].as_str().unwrap().contains(" 200 "), "{gate}");

    // Neither the script nor who may look at the engine is told a secret of the server.
    let told = arena.inspect_all().await + &seen["env"].to_string();
    for secret in [token::SECRET, &admin.password] {
        assert!(!told.contains(secret), "a secret of the server is told");
    }
}

/// A node is cut off while it has a run: that is lost, and what its container still says when the node is back changes nothing.
pub async fn are_lost_with_their_node(arena: &Arena, admin: &Client, unit: &str) {
    let (id, node) = loop {
        let id = admin.run(unit, &json!({"do": "tick", "ticks": 10_000})).await;
        admin.said(&id, "tick 2").await;
        let node = arena.node_of(&id);
        if node != "node1" {
            break (id, node);
        }
        admin.post_empty(&format!("/api/v1/execution/{id}/cancel")).await.expect(202);
        admin.ended(&id).await;
    };
    arena.cut(&node);
    let run = admin.ended(&id).await;
    assert_eq!((&run["status"], &run["failure"]["class"]), (&json!("FAILED"), &json!("infrastructure")), "{run}");
    let lines = admin.log(&id).await;
    arena.mend(&node);
    until("its container is gone", async || arena.containers_on(&node, &id).is_empty()).await;
    assert_eq!(admin.log(&id).await.len(), lines.len(), "late words are heard and not kept");
    assert_eq!(admin.get(&format!("/api/v1/execution/{id}")).await.data(200)["status"], "FAILED");
}

/// Each script on the engine that its environment asks for; the script of the sandboxes.
pub async fn serve_beside_sandboxes(admin: &Client, unit: &str) -> String {
    let near = Package::echo("Near").with("environment", "near");
    let near = admin.publish_built(&near).await;
    let (job, nothing) = (json!({"do": "finish", "n": 1}), json!({}));
    let (far, here) = tokio::join!(admin.finish(unit, &job), admin.finish(&near, &nothing));
    for (run, engine) in [(far, "docker"), (here, "process")] {
        assert_eq!(run["status"], "FINISHED", "{run}");
        assert_eq!(engine_of(admin, &run).await, engine);
    }
    let cluster = admin.get("/api/v1/status/cluster").await.data(200);
    assert_eq!((&cluster["swarm_active"], &cluster["total_nodes"]), (&json!(false), &json!(2)), "{cluster}");
    let nodes = cluster["nodes"].as_array().unwrap();
    assert_ne!(nodes[0]["id"], nodes[1]["id"], "a daemon is a machine of its own, wherever it is");
    near
}

/// By TLS, to who has a key.
pub async fn are_reached_by_tls(arena: &Arena) {
    assert_eq!(arena.by_tls(true).await.unwrap(), arena.engine().await.scope());
    assert!(arena.by_tls(false).await.is_err());
}

/// Settings have changed, and what no container was made for gets its image with its first run, which says so.
pub async fn take_what_sandboxes_had(arena: &Arena, near: &str) {
    let admin = arena.server.admin().await;
    for first in [true, false] {
        let run = admin.finish(near, &json!({})).await;
        assert_eq!(run["status"], "FINISHED", "{run}");
        assert_eq!(engine_of(&admin, &run).await, "docker");
        let log = admin.log(run["id"].as_str().unwrap()).await;
        let says = log.iter().any(|line| line.contains("never built for the engine docker"));
        assert_eq!(says, first, "{log:#?}");
    }
}

async fn engine_of(admin: &Client, run: &Value) -> String {
    let history = admin.get(&format!("/api/v1/execution/{}/history", run["id"].as_str().unwrap())).await.data(200);
    let dispatched = history.as_array().unwrap().iter().find(|event| event["cause"] == "dispatched").unwrap();
    let place = dispatched["message"].as_str().unwrap().strip_prefix("attempt 1 on ").unwrap();
    place.split(':').next().unwrap().to_owned()
}

/// What runs goes on and is heard; what is to start, to end or to be built waits for it.
pub async fn go_on_while_their_daemon_is_away(arena: &Arena, admin: &Client, unit: &str) {
    let ticks = json!({"do": "tick", "ticks": 60});
    let (long, unwanted) = tokio::join!(admin.run(unit, &ticks), admin.run(unit, &ticks));
    admin.said(&long, "tick 2").await;
    admin.said(&unwanted, "tick 2").await;
    let wire = arena.wire.as_ref().unwrap();
    wire.cut();
    let waits = admin.run(unit, &json!({"do": "finish", "n": 7})).await;
    admin.post_empty(&format!("/api/v1/execution/{unwanted}/cancel")).await.expect(202);
    let slug = admin.publish(&Package::echo("Patient")).await["slug"].as_str().unwrap().to_owned();
    until("the server has noticed", async || arena.server.log().contains("a unit could not be told to end")).await;
    admin.said(&long, "tick 30").await;
    wire.mend();
    let ends = tokio::join!(admin.ended(&long), admin.ended(&waits), admin.ended(&unwanted), admin.built(&slug));
    assert_eq!((&ends.0["status"], &ends.1["status"]), (&json!("FINISHED"), &json!("FINISHED")), "{ends:?}");
    assert_eq!((&ends.2["status"], ends.3.0.as_str()), (&json!("CANCELLED"), "SUCCESS"), "{ends:?}");
    assert_eq!(admin.log(&long).await.len(), 61, "each line once");
    let lines: Vec<String> = (0..5).map(|n| format!("line {n}")).collect();
    assert_eq!(admin.log(&waits).await, lines, "started once");
}

/// A worker that does not know whether its word was heard says it again.
pub async fn are_started_once(arena: &Arena, admin: &Client, unit: &str) {
    let id = admin.run(unit, &json!({"do": "tick", "ticks": 10_000})).await;
    admin.said(&id, "tick 1").await;
    let first = arena.begun(&id).await;
    let nothing = || SecretString::from(String::new());
    let run = Run {
        execution: Id::parse(&id).unwrap(),
        script_id: Id::random(),
        attempt: 1,
        script: arena.server.folder.clone(),
        made: Some("it is there already".into()),
        params: "{}".into(),
        limits: Limits {
            cpu_nanos: 1_000_000_000,
            memory_bytes: 64 << 20,
            timeout_s: 60,
            max_processes: 64,
            max_file_bytes: 1 << 20,
            scratch_bytes: 1 << 20,
            network: Network::None,
        },
        reservation: Room::of_this_machine(),
        uses_gee: false,
        secrets: BTreeMap::new(),
        credential: nothing(),
        objects_secret: nothing(),
    };
    arena.engine().await.start(&run).await.unwrap();
    admin.said(&id, "tick 20").await;
    assert_eq!(arena.begun(&id).await, first);
    assert_eq!(admin.log(&id).await.iter().filter(|line| *line == "begun").count(), 1);
    admin.post_empty(&format!("/api/v1/execution/{id}/cancel")).await.expect(202);
    assert_eq!(admin.ended(&id).await["status"], "CANCELLED");
}
