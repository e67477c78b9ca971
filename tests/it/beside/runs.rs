//! Scripts and runs: whose a run is, who may end it, and what the periodic work of either server touches.

use serde_json::{Value, json};

use super::{PASSWORD, They, is_filled_like, taken_over};
use crate::support::{Options, Package, Server, until};

const MAIN: &str = r#"
import time

def run(params, logger):
    logger.info("begun")
    time.sleep(params.get("seconds", 0))
    return {"text": "x" * params.get("length", 0)}
"#;

/// Runs of the existing server: of the recorded database, and one that waits for its queue processor.
const THEIRS: &str = "CAST(id AS TEXT) LIKE '20000000-%'";
const QUEUED: &str = "20000000-0000-4000-8000-0000000000aa";

/// What is there of them: rows, logs, changes of status.
async fn theirs(they: &They) -> [Vec<Value>; 3] {
    [
        they.see(&format!("SELECT * FROM execution WHERE {THEIRS} ORDER BY id")).await,
        they.see("SELECT * FROM execution_log WHERE CAST(execution_id AS TEXT) LIKE '20000000-%' ORDER BY id").await,
        they.see("SELECT * FROM status_log WHERE execution_id LIKE '20000000-%' ORDER BY id").await,
    ]
}

#[tokio::test]
async fn runs_of_one_server_are_read_and_ended_on_the_other_and_periodic_work_touches_its_own_only() {
    let test = "runs_of_one_server_are_read_and_ended_on_the_other_and_periodic_work_touches_its_own_only";
    let Some(options) = taken_over(test) else { return };
    let options = options.set("TE_LOGS_DAYS", 1).set("TE_RESULTS_DAYS", 1).set("TE_OBJECTS_SHARED", "true");
    let first = Server::with(options.without_worker()).await;
    let they = They::on(&first);
    they.run(&format!(
        "INSERT INTO execution (id, start_date, status, progress, params, results, script_id, user_id, queued_at)
         VALUES ('{QUEUED}', now() AT TIME ZONE 'UTC', 'PENDING', 0, '{{}}', '{{}}', '10000000-0000-4000-8000-000000000001',
             '00000000-0000-4000-8000-000000000004', now() AT TIME ZONE 'UTC')"
    ))
    .await;
    they.run(
        "INSERT INTO job (id, kind, state, run_at, created_at, finished_at)
         VALUES (gen_random_uuid(), 'send_mail', 'done', '2026-01-01', '2026-01-01', '2026-01-01')",
    )
    .await;
    let before = theirs(&they).await;
    let server = first.beside(Options::default()).await;
    if !server.has_sandbox().await {
        return;
    }
    until("the worker has swept", async || {
        they.see("SELECT id FROM job WHERE finished_at < '2026-02-01'").await.is_empty()
    })
    .await;

    // A script and a run of ours, as they read them.
    let admin = server.sign_in("admin1@example.com", PASSWORD).await;
    let ada = server.sign_in("user1@example.com", PASSWORD).await;
    let slug = admin.publish_built(&Package::new("Both", MAIN)).await;
    admin.post_empty(&format!("/api/v1/script/{slug}/publish")).await.expect(200);
    let script = |slug: &str| format!("SELECT * FROM script WHERE slug = '{slug}'");
    let ours = they.one(&script(&slug)).await;
    is_filled_like(&ours, &they.one(&script("land-productivity")).await);
    assert_eq!((&ours["status"], &ours["compute_type"]), (&json!("SUCCESS"), &json!("gee")));
    let run = ada.run(&slug, &json!({"length": 1_200_000})).await;
    ada.ended(&run).await;
    let row = |id: &str| {
        format!(
            "SELECT status, progress, params, queued_at, dispatched_at >= start_date AND end_date >= dispatched_at AS in_order,
                 length(results ->> 'text') AS length FROM execution WHERE id = '{id}'"
        )
    };
    assert_eq!(
        they.one(&row(&run)).await,
        json!({"status": "FINISHED", "progress": 100, "params": {"length": 1_200_000}, "queued_at": null, "in_order": true, "length": 1_200_000})
    );
    let changes = they
        .see(&format!(
            "SELECT status_from, status_to, executions_pending FROM status_log WHERE execution_id = '{run}' ORDER BY id"
        ))
        .await;
    let words: Vec<[&str; 2]> =
        changes.iter().map(|c| [c["status_from"].as_str().unwrap(), c["status_to"].as_str().unwrap()]).collect();
    assert_eq!(words, [["PENDING", "READY"], ["READY", "RUNNING"], ["RUNNING", "FINISHED"]]);
    assert!(changes.iter().all(|change| change["executions_pending"].is_i64()), "{changes:?}");
    let levels = they.see(&format!("SELECT DISTINCT level FROM execution_log WHERE execution_id = '{run}'")).await;
    assert!(levels.iter().all(|line| ["INFO", "DEBUG", "WARNING", "ERROR"].contains(&line["level"].as_str().unwrap())));

    // Ada has two runs of theirs under way: her third slot is taken here, and the next run waits for it.
    let long = ada.run(&slug, &json!({"seconds": 600})).await;
    ada.said(&long, "begun").await;
    let next = ada.run(&slug, &json!({"seconds": 601})).await;
    let waits = ada.get(&format!("/api/v1/execution/{next}")).await.data(200);
    assert_eq!((&waits["status"], &waits["queue"]["reason"]), (&json!("PENDING"), &json!("user_limit")), "{waits:#}");
    assert!(waits["queued_at"].is_string());
    // Their queue processor asks for queued_at, which ours leave empty.
    let queue = they.see("SELECT id FROM execution WHERE status = 'PENDING' AND queued_at IS NOT NULL").await;
    assert_eq!(queue, [json!({"id": QUEUED})]);
    // Their monitor and their sweep ask whose a run is no more than that: with them this would be ended, soon and in three days.
    let monitor = "SELECT e.id FROM execution e JOIN script s ON s.id = e.script_id
        WHERE e.status IN ('READY', 'RUNNING') AND s.compute_type <> 'batch' AND e.start_date > now() AT TIME ZONE 'UTC' - interval '1 day'
            AND e.dispatched_at < now() AT TIME ZONE 'UTC' + interval '4 minutes' - interval '180 seconds'";
    assert_eq!(they.see(monitor).await, [json!({"id": long})]);
    let sweep = "SELECT e.id FROM execution e JOIN execution_run r ON r.execution_id = e.id
        WHERE e.status NOT IN ('FINISHED', 'FAILED') AND e.start_date < now() AT TIME ZONE 'UTC' + interval '4 days' - interval '3 days'";
    assert_eq!(they.see(sweep).await.len(), 2);

    // Suppose that it is: what they have ended has ended, our worker stops the unit, and the slot is free.
    they.run(&format!(
        "UPDATE execution SET status = 'FAILED', end_date = now() AT TIME ZONE 'UTC', progress = 100, results = '{{\"by\": 1}}' WHERE id = '{long}'"
    ))
    .await;
    let ended = they.one(&format!("SELECT * FROM execution WHERE id = '{long}'")).await;
    ada.said(&next, "begun").await;
    server.unit_is_gone(&long).await;
    until("its job is done", async || {
        they.see(&format!("SELECT id FROM job WHERE subject_id = '{long}' AND state = 'running'")).await.is_empty()
    })
    .await;
    assert_eq!(they.one(&format!("SELECT * FROM execution WHERE id = '{long}'")).await, ended);
    // A cancel by their web is carried out here: they have no unit to stop.
    they.run(&format!("UPDATE execution SET status = 'CANCELLING' WHERE id = '{next}'")).await;
    assert_eq!(ada.ended(&next).await["status"], "CANCELLED");
    let row = they.one(&format!("SELECT progress, end_date FROM execution WHERE id = '{next}'")).await;
    assert!(row["progress"] == 100 && row["end_date"].is_string(), "{row}");

    // All that while nothing of theirs was started, judged or swept.
    assert_eq!(theirs(&they).await, before);
    assert!(they.see("SELECT id FROM job WHERE CAST(subject_id AS TEXT) LIKE '20000000-%'").await.is_empty());
    // Their containers report here, and their runs are cancelled here when somebody asks.
    let container = server.sign_in("gef@gef.com", "EnvUser1!secret").await;
    let path = |n: u32| format!("/api/v1/execution/20000000-0000-4000-8000-0000000000{n:02}");
    container.patch(&path(3), &json!({"status": "FINISHED", "results": {"a": 1}})).await.expect(200);
    admin.post_empty(&format!("{}/cancel", path(10))).await.expect(202);
    until("it is cancelled", async || admin.get(&path(10)).await.data(200)["status"] == "CANCELLED").await;
    let rows = they
        .see(&format!("SELECT results, progress, end_date IS NOT NULL AS ended FROM execution WHERE {THEIRS} AND right(CAST(id AS TEXT), 2) IN ('03', '10') ORDER BY id"))
        .await;
    let expected = |results: Value| json!({"results": results, "progress": 100, "ended": true});
    assert_eq!(rows, [expected(json!({"a": 1})), expected(json!({}))]);

    // They delete a person in their order, with all that is ours of her.
    for (table, column) in [
        ("status_log", "execution_id IN (SELECT CAST(id AS TEXT) FROM execution WHERE user_id"),
        ("execution_log", "execution_id IN (SELECT id FROM execution WHERE user_id"),
        ("execution", "id IN (SELECT id FROM execution WHERE user_id"),
        ("password_reset_token", "id IN (SELECT id FROM password_reset_token WHERE user_id"),
        ("refresh_tokens", "id IN (SELECT id FROM refresh_tokens WHERE user_id"),
        ("\"user\"", "id IN (SELECT id FROM \"user\" WHERE id"),
    ] {
        they.run(&format!("DELETE FROM {table} WHERE {column} = '00000000-0000-4000-8000-000000000003')")).await;
    }
    assert!(
        they.see(&format!("SELECT 1 FROM execution_run WHERE execution_id IN ('{run}', '{long}', '{next}')"))
            .await
            .is_empty()
    );
    ada.get("/api/v1/user/me").await.expect(401);
    drop(server);
}
