//! Two servers on one PostgreSQL database, each with a folder and units of its own.

use std::time::Duration;

use serde_json::json;
use trends_earth::engine::process::keeper;

use super::{COUNTING, ledger::Ledger};
use crate::support::{Client, Options, Package, Server, database_url, keeper_of, skip, until};

/// Two servers; the second one works only if it is asked to. `None` on SQLite.
async fn pair(test: &str, options: Options) -> Option<(Server, Server, Client)> {
    if database_url().is_none() {
        skip(test, "SQLite serves one machine");
        return None;
    }
    let first = Server::with(options.set("TE_OBJECTS_SHARED", true).set("TE_MAX_RUNS", 3)).await;
    let second = first.beside(Options::default()).await;
    let admin = first.admin().await;
    Some((first, second, admin))
}

/// Submits runs until either server has some; those of the first, and of the second.
async fn spread(admin: &Client, slug: &str, servers: [&Server; 2], ledger: &Ledger) -> [Vec<String>; 2] {
    let mut ids = Vec::new();
    for _ in 0..6 {
        let id = admin.run(slug, &json!({"lines": 120, "pause_s": 0.1})).await;
        ledger.accepted_run(&id);
        ids.push(id);
    }
    until("each run has a unit", async || {
        ids.iter().all(|id| servers.iter().any(|server| keeper_of(&server.unit(id)).is_some()))
    })
    .await;
    let own = servers.map(|server| ids.iter().filter(|id| server.unit(id).is_dir()).cloned().collect::<Vec<_>>());
    assert_eq!(own.each_ref().map(Vec::len), [3, 3], "each has as many as fit");
    own
}

#[tokio::test]
async fn two_servers_adopt_only_their_own_units() {
    let test = "two_servers_adopt_only_their_own_units";
    let Some((mut first, mut second, admin)) = pair(test, Options::default()).await else { return };
    let slug = admin.publish_built(&Package::new("counting", COUNTING)).await;
    let ledger = Ledger::new(0);
    let own = spread(&admin, &slug, [&first, &second], &ledger).await;
    // One is killed, the other asked to stop; the one that stays must touch neither's runs, however long its lease is over.
    first.kill();
    tokio::time::sleep(Duration::from_secs(5)).await;
    first.restart().await;
    assert!(second.stop().success());
    tokio::time::sleep(Duration::from_secs(5)).await;
    second.restart().await;
    ledger.until_all_jobs_are_done(&first).await;
    let admin = first.moved(&admin);
    for (server, ids) in [(&first, &own[0]), (&second, &own[1])] {
        for id in ids {
            let run = admin.get(&format!("/api/v1/execution/{id}")).await.data(200);
            assert_eq!(
                run["status"],
                "FINISHED",
                "{:#}",
                admin.get(&format!("/api/v1/execution/{id}/history")).await.json()
            );
            assert!(server.unit(id).is_dir());
        }
        for line in server.log().lines().filter(|line| line.contains("a run is taken over")) {
            assert!(ids.iter().any(|id| line.contains(id)), "not its own: {line}");
        }
    }
    ledger.check(&first).await;
}

#[tokio::test]
async fn runs_of_a_machine_that_is_lost_end_and_their_units_too() {
    let test = "runs_of_a_machine_that_is_lost_end_and_their_units_too";
    let Some((mut first, second, admin)) = pair(test, Options::default().set("TE_NODE_LOST_S", 4)).await else {
        return;
    };
    let slug = admin.publish_built(&Package::new("counting", COUNTING)).await;
    let own = spread(&admin, &slug, [&first, &second], &Ledger::new(0)).await;
    first.kill();
    let admin = second.moved(&admin);
    for id in &own[0] {
        let run = admin.ended(id).await;
        assert_eq!((&run["status"], &run["failure"]["class"]), (&json!("FAILED"), &json!("infrastructure")));
    }
    let units = || own[0].iter().filter(|id| keeper::is_alive(&first.unit(id))).count();
    assert_eq!(units(), 3, "nobody could reach them");
    first.restart().await;
    let units = || own[0].iter().filter(|id| keeper::is_alive(&first.unit(id))).count();
    until("the machine that came back ends what was given up", async || units() == 0).await;
    for id in &own[1] {
        assert_eq!(admin.ended(id).await["status"], "FINISHED");
    }
}
