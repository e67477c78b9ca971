//! `GET /api/v1/status/cluster`, also `/status/swarm`.

use serde_json::json;
use trends_earth::store::users::Role;

use crate::support::{Options, Package, Server, until};

#[tokio::test]
async fn without_a_worker_nothing_is_known() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    for path in ["/api/v1/status/cluster", "/api/v1/status/swarm", "/api/v1/status/swarm/"] {
        let mut cluster = admin.get(path).await.data(200);
        let cached_at = cluster["cache_info"]["cached_at"].take();
        assert!(cached_at.as_str().unwrap().ends_with("+00:00"), "{cached_at}");
        let info = json!({"cached_at": null, "cache_ttl": 0, "cache_key": "docker_swarm_status", "source": "cache_unavailable"});
        assert_eq!(
            cluster,
            json!({"swarm_active": false, "total_nodes": 0, "total_managers": 0, "total_workers": 0, "nodes": [],
                "error": "Docker Swarm status unavailable - cache not accessible", "cache_info": info})
        );
    }
}

#[tokio::test]
async fn a_worker_says_what_its_machine_has_and_what_runs_hold_of_it() {
    let mut server = Server::start().await;
    let admin = server.admin().await;
    let seen = async || admin.get("/api/v1/status/cluster").await.data(200);
    until("a node is listed", async || seen().await["total_nodes"] == json!(1)).await;
    let cluster = seen().await;
    assert_eq!((&cluster["swarm_active"], &cluster["total_managers"]), (&json!(false), &json!(0)));
    assert_eq!(cluster["total_workers"], json!(1));
    assert_eq!(cluster["error"], json!("No Docker Swarm: runs are held by the engine of each node."));
    assert_eq!(cluster["cache_info"]["cache_ttl"], json!(300));
    assert_eq!(cluster["_performance"]["node_count"], json!(1));
    let node = &cluster["nodes"][0];
    let kept = std::fs::read_to_string(server.folder.join("node.id")).unwrap();
    assert_eq!(node["id"], json!(kept.trim()));
    assert_eq!((&node["role"], &node["state"]), (&json!("worker"), &json!("ready")));
    let cores = std::thread::available_parallelism().unwrap().get();
    assert_eq!(node["cpu_count"], json!(cores as f64));
    assert!(node["memory_gb"].as_f64().unwrap() > 0.1, "{node}");
    assert_eq!(node["running_tasks"], json!(0));
    let free = |node: &serde_json::Value| {
        let usage = &node["resource_usage"];
        let of = |key: &str| usage[key].as_i64().unwrap();
        (of("used_cpu_nanos"), of("available_cpu_nanos"), node["available_capacity"].as_i64().unwrap())
    };
    let all = i64::try_from(cores).unwrap() * 1_000_000_000;
    let (used, available, fits) = free(node);
    assert_eq!((used, available), (0, all));
    assert!(fits > 0 && fits <= all / 100_000_000, "{node}");

    // The next worker takes the run over, and says so at once.
    let waits = "import time\ndef run(params, logger):\n    logger.info('here')\n    time.sleep(3600)\n";
    let slug = admin.publish_built(&Package::new("Waits", waits).with("timeout_s", 7_200)).await;
    let run = admin.run(&slug, &json!({})).await;
    admin.said(&run, "here").await;
    server.restart().await;
    let admin = server.moved(&admin);
    let seen = async || admin.get("/api/v1/status/swarm").await.data(200)["nodes"][0].clone();
    until("the run is counted", async || seen().await["running_tasks"] == json!(1)).await;
    let (used, available, _) = free(&seen().await);
    assert_eq!((used, used + available), (100_000_000, all));
    admin.post_empty(&format!("/api/v1/execution/{run}/cancel")).await.expect(202);
    admin.ended(&run).await;

    // A server that stops says so; what was seen too long ago counts for nothing.
    let begun = seen().await["created_at"].clone();
    server.stop();
    assert_eq!(server.rows("engine_state WHERE CAST(snapshot AS TEXT) LIKE '%\"down\"%'").await, 1);
    server.restart().await;
    let admin = server.moved(&admin);
    let seen = async || admin.get("/api/v1/status/swarm").await.data(200)["nodes"][0].clone();
    until("the new worker has spoken", async || seen().await["created_at"] != begun).await;
    let old = (server.app.clock.now() - chrono::TimeDelta::seconds(301)).format("%Y-%m-%d %H:%M:%S");
    server.execute(&format!("UPDATE engine_state SET collected_at = '{old}'")).await;
    let known = admin.get("/api/v1/status/cluster").await.data(200);
    assert_eq!(known["cache_info"]["source"], json!("cache_unavailable"), "{known}");
}

#[tokio::test]
async fn only_the_role_opens_it_not_the_account_of_the_containers() {
    let options = Options::default().without_worker();
    let options = options.set("API_ENVIRONMENT_USER", "gef@example.org").set("TE_ENVIRONMENT_USER_SUPERADMIN", "true");
    let server = Server::with(options).await;
    let (gef, boss) = (server.user("gef").await, server.account("boss", Role::Admin).await);
    for path in ["/api/v1/status/cluster", "/api/v1/status/swarm"] {
        boss.get(path).await.expect(200);
        gef.get(path).await.refused(403, "Access denied. Admin privileges required.");
        server
            .user(&format!("u{}", path.len()))
            .await
            .get(path)
            .await
            .refused(403, "Access denied. Admin privileges required.");
    }
    // It is SUPERADMIN elsewhere.
    gef.get("/api/v1/stats/health").await.expect(200);
    gef.get("/api/v1/status").await.expect(200);
    server.execute(r#"UPDATE "user" SET role = 'ADMIN' WHERE email = 'gef@example.org'"#).await;
    gef.get("/api/v1/status/cluster").await.expect(200);
}
