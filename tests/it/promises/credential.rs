//! P4: a run's credential opens this run, on a fixed list of routes, from its dispatch until it has ended.

use reqwest::Method;
use serde_json::json;

use crate::support::{Options, Package, Server};

#[tokio::test]
async fn a_run_credential_opens_one_run_and_dies_with_it() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let script = admin.publish(&Package::echo("echo")).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let (own, other) = (admin.run("echo", &json!({"a": 1})).await, admin.run("echo", &json!({"b": 2})).await);
    assert!(server.sign_in_as_run(&own, "guess").await.is_none());
    server.lend(&own, 1, "secret of the run").await;
    assert!(server.sign_in_as_run(&own, "secret of the run ").await.is_none());
    assert!(server.sign_in_as_run(&other, "secret of the run").await.is_none());
    let run = server.sign_in_as_run(&own, "secret of the run").await.unwrap();

    // What it opens: its own execution without includes, its own reports, its own log.
    let (mine, theirs) = (format!("/api/v1/execution/{own}"), format!("/api/v1/execution/{other}"));
    let seen = run.get(&format!("{mine}?include=user,script,logs")).await.data(200);
    assert_eq!(seen["params"], json!({"a": 1}));
    assert!(seen.get("user").is_none() && seen.get("script").is_none() && seen.get("logs").is_none());
    run.patch(&mine, &json!({"status": "RUNNING"})).await.data(200);
    assert_eq!(run.patch(&mine, &json!({"progress": 40})).await.data(200)["progress"], 40);
    let line = json!({"text": "<b>half</b> way", "level": "WARN"});
    assert_eq!(run.post(&format!("{mine}/log"), &line).await.data(200)["text"], "<b>half</b> way");
    // Content that it could not mend is never refused.
    for odd in [json!({"status": "NONSENSE"}), json!({"progress": -5}), json!({})] {
        run.patch(&mine, &odd).await.data(200);
    }

    // What it does not open: another run, and every other route.
    for (method, path) in
        [(Method::GET, theirs.clone()), (Method::PATCH, theirs.clone()), (Method::POST, theirs.clone() + "/log")]
    {
        let request = run.request(method, &path).json(&json!({"status": "FAILED", "text": "x", "level": "INFO"}));
        run.send(request).await.refused(404, "Ticket Not Found");
    }
    let slug = script["slug"].as_str().unwrap();
    for (method, path) in [
        (Method::GET, "/api/v1/user/me".to_owned()),
        (Method::GET, "/api/v1/script".to_owned()),
        (Method::GET, format!("/api/v1/script/{slug}")),
        (Method::GET, format!("/api/v1/script/{slug}/download")),
        (Method::GET, format!("/api/v1/script/{slug}/log")),
        (Method::POST, format!("/api/v1/script/{slug}/run")),
        (Method::POST, format!("/api/v1/script/{slug}/publish")),
        (Method::DELETE, format!("/api/v1/script/{slug}")),
        (Method::GET, "/api/v1/execution".to_owned()),
        (Method::GET, "/api/v1/execution/user".to_owned()),
        (Method::GET, format!("{mine}/log")),
        (Method::GET, format!("{mine}/log/stream")),
        (Method::GET, format!("{mine}/history")),
        (Method::GET, format!("{mine}/download-results")),
        (Method::POST, format!("{mine}/cancel")),
        (Method::POST, "/auth/logout".to_owned()),
        (Method::POST, "/auth/logout-all".to_owned()),
    ] {
        let answer = run.send(run.request(method, &path)).await;
        assert_eq!(answer.expect(401)["error"], "invalid_token", "{path}");
    }

    // Words of an attempt that no longer counts are heard and change nothing.
    server.execute(&format!("UPDATE execution_run SET attempt = 2 WHERE execution_id = '{own}'")).await;
    assert_eq!(run.patch(&mine, &json!({"status": "FINISHED", "progress": 99})).await.data(200)["status"], "RUNNING");
    run.post(&format!("{mine}/log"), &json!({"text": "too late", "level": "INFO"})).await.data(200);
    assert_eq!(admin.log(&own).await, ["<b>half</b> way"]);
    server.execute(&format!("UPDATE execution_run SET attempt = 1 WHERE execution_id = '{own}'")).await;

    // After the end late words still get their 200, for ten minutes; then the credential is dead, whatever the token says.
    run.patch(&mine, &json!({"status": "FINISHED", "results": {"done": true}})).await.data(200);
    assert_eq!(run.patch(&mine, &json!({"status": "FAILED"})).await.data(200)["status"], "FINISHED");
    server
        .execute(&format!(
            "UPDATE execution_credential SET expires_at = '2026-01-01 00:00:00' WHERE execution_id = '{own}'"
        ))
        .await;
    assert_eq!(run.patch(&mine, &json!({"progress": 1})).await.expect(401)["error"], "token_expired");
    assert!(server.sign_in_as_run(&own, "secret of the run").await.is_none());
}

#[tokio::test]
async fn what_a_run_posts_counts_within_the_limit_of_its_log() {
    let options = Options::default().without_worker().set("TE_LOG_MAX_BYTES", 10_000);
    let server = Server::with(options).await;
    let admin = server.admin().await;
    admin.publish(&Package::echo("echo")).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let id = admin.run("echo", &json!({})).await;
    server.lend(&id, 1, "secret of the run").await;
    let run = server.sign_in_as_run(&id, "secret of the run").await.unwrap();
    let path = format!("/api/v1/execution/{id}/log");
    let text = "x".repeat(4_000);
    for _ in 0..5 {
        let line = run.post(&path, &json!({"text": text, "level": "INFO"})).await.data(200);
        assert_eq!(line["text"], json!(text));
    }
    let end = "The log has reached its limit of 10,000 bytes; later lines are not kept.";
    assert_eq!(admin.log(&id).await, [&text, &text, end]);
    // Administrators may still add what they have to say.
    admin.post(&path, &json!({"text": "seen", "level": "INFO"})).await.data(200);
    assert_eq!(admin.log(&id).await, [&text, &text, end, "seen"]);
}
