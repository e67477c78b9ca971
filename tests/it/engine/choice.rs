//! Each script runs on the engine that its environment or its kind asks for, and waits where nobody has that engine.

use std::collections::BTreeMap;

use serde_json::json;
use trends_earth::config::{
    Config, Flags,
    engines::EngineSetting::{Docker, Process, Swarm},
};

use crate::support::{Options, Package, Server, until};

fn read(settings: &[(&str, &str)]) -> Result<Config, String> {
    let env: BTreeMap<String, String> = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Config::read(&Flags::default(), env).map_err(|errors| errors.to_string())
}

#[test]
fn an_environment_says_more_than_a_kind_and_a_kind_more_than_the_rest() {
    let engines =
        read(&[("TE_ENGINE", "process, docker"), ("TE_ENGINE_FOR", "batch=swarm, old=docker")]).unwrap().engines;
    assert_eq!(engines.here, [Process, Docker]);
    assert_eq!(engines.wanted(Some("old"), "batch"), Some(Docker));
    assert_eq!(engines.wanted(Some("new"), "batch"), Some(Swarm));
    assert_eq!(engines.wanted(None, "gee"), None);
    // What no rule names goes to the first.
    assert!(engines.takes(Process, None) && !engines.takes(Docker, None));
    assert!(engines.takes(Docker, Some(Docker)) && !engines.takes(Process, Some(Docker)));
    let engines = read(&[("TE_ENGINE_FOR", "*=docker")]).unwrap().engines;
    assert_eq!((engines.here.as_slice(), engines.wanted(Some("new"), "gee")), ([Process].as_slice(), Some(Docker)));
    let refused = read(&[("TE_ENGINE", "process,lambda"), ("TE_ENGINE_FOR", "gee=cloud,gee")]).unwrap_err();
    for part in ["TE_ENGINE holds \"lambda\"", "TE_ENGINE_FOR holds \"gee=cloud\"", "TE_ENGINE_FOR holds \"gee\";"] {
        assert!(refused.contains(part), "{refused}");
    }
}

#[tokio::test]
async fn a_script_waits_for_its_engine_and_others_pass_it() {
    let options = Options::default().set("TE_ENGINE_FOR", "elsewhere=swarm,batch=docker");
    let server = Server::with(options).await;
    let admin = server.admin().await;
    let far = Package::echo("Far").with("environment", "elsewhere");
    let far = admin.publish(&far).await["slug"].as_str().unwrap().to_owned();
    let batch = Package::echo("Batch").with("compute_type", "batch");
    let batch = admin.publish(&batch).await["slug"].as_str().unwrap().to_owned();
    // As if others had built them.
    until("both are uploaded", async || server.rows("job WHERE kind = 'build_script'").await == 2).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    server.execute("UPDATE script SET status = 'SUCCESS'").await;
    for (slug, engine) in [(far, "swarm"), (batch, "docker")] {
        let id = admin.run(&slug, &json!({})).await;
        let queue = admin.get(&format!("/api/v1/execution/{id}")).await.data(200)["queue"].take();
        let message =
            format!("No worker with the engine {engine} is there at present; the run starts when one is back.");
        assert_eq!((&queue["reason"], &queue["message"]), (&json!("engine_unreachable"), &json!(message)), "{queue}");
    }
    if server.has_sandbox().await {
        let near = admin.publish_built(&Package::echo("Near")).await;
        assert_eq!(admin.finish(&near, &json!({})).await["status"], "FINISHED");
    }
    assert_eq!(server.rows("job WHERE state = 'waiting'").await, 4, "two builds and two runs wait for others");
    assert_eq!(server.rows("execution WHERE status = 'PENDING'").await, 2);
}
