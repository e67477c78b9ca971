//! What the containers of a run must not be able to do, and must not be told.

use serde_json::{Value, json};

use super::arena::{Arena, Kind};
use crate::support::{Client, token};

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
