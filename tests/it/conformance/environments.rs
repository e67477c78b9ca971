//! Images of the existing Environment, which report by themselves: built here, and built by the existing server before.

use std::{collections::BTreeSet, time::Duration};

use serde_json::json;
use trends_earth::store;

use super::arena::Arena;
use crate::support::{Client, Package};

const MAIN: &str = "import os\n\ndef run(params, logger):\n    logger.info('told ' + os.environ['UNIT_TOKEN'])\n    return \
                    {'token': os.environ['UNIT_TOKEN'], 'key': os.environ['AWS_ACCESS_KEY_ID'], 'uid': os.getuid()}\n";

/// What is secret comes as variables there; what the server itself says in one comes first.
pub async fn are_built_and_run_as_they_are(arena: &Arena, admin: &Client) {
    let old = Package::new("Old", MAIN).with("environment", "reported");
    let old = admin.publish_built(&old).await;
    for (name, value) in [("UNIT_TOKEN", "a secret that it may read"), ("AWS_ACCESS_KEY_ID", "a key of its own")] {
        admin.grant(&old, name, value).await;
    }
    let run = admin.finish(&old, &json!({})).await;
    assert_eq!(run["status"], "FINISHED", "{run}");
    let id = run["id"].as_str().unwrap();
    let seen = &run["results"];
    assert_eq!((&seen["token"], &seen["key"]), (&json!("a secret that it may read"), &json!(id)), "{run}");
    assert_ne!(seen["uid"], 0, "not as root");
    assert_eq!(admin.log(id).await, ["told ***"]);
    assert!(arena.registry_has(&old, "latest").await, "the existing server finds it too");
}

/// Number 1 of a script that the existing server has built runs from its image, without a build.
pub async fn of_the_existing_server_run_at_once(arena: &Arena, admin: &Client) {
    let slug = admin.publish_built(&Package::new("Inherited", MAIN).with("environment", "reported")).await;
    arena.push_as_the_existing_server(&slug);
    arena
        .server
        .execute(&format!("UPDATE script_version SET image = '{slug}:latest' WHERE image LIKE '%/{slug}:%'"))
        .await;
    for year in [2001, 2002] {
        let run = admin.finish(&slug, &json!({"year": year})).await;
        assert_eq!(run["status"], "FINISHED", "{run}");
        assert_eq!(run["results"], json!({"built by": "the existing server", "year": year}), "{run}");
        assert_eq!(admin.log(run["id"].as_str().unwrap()).await, Vec::<String>::new());
        let pinned = format!("script_version WHERE image LIKE '%/{slug}:latest@sha256:%'");
        assert_eq!(arena.server.rows(&pinned).await, 1);
    }
}

/// Their tags are deleted; those of other scripts stay.
pub async fn go_with_their_script(arena: &Arena, admin: &Client) {
    let mut slugs = Vec::new();
    for name in ["Passing", "Lasting"] {
        slugs.push(admin.publish_built(&Package::new(name, MAIN).with("environment", "reported")).await);
    }
    let engine = arena.engine().await;
    let sweep = async || {
        let images = store::script_versions::images(&arena.server.app.db).await.unwrap();
        let needed: BTreeSet<String> = images.iter().map(|image| image.split('@').next().unwrap().to_owned()).collect();
        engine.keep_images(&needed, Duration::ZERO).await.unwrap();
    };
    sweep().await;
    assert!(arena.registry_has(&slugs[0], "latest").await, "it is needed");
    admin.delete(&format!("/api/v1/script/{}", slugs[0])).await.expect(200);
    sweep().await;
    assert!(!arena.registry_has(&slugs[0], "latest").await, "nobody can run it any more");
    assert!(!arena.images().contains(&slugs[0]));
    assert!(arena.registry_has(&slugs[1], "latest").await && arena.images().contains(&slugs[1]));
}
