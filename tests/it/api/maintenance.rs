//! `/api/v1/admin/maintenance` and `/api/v1/admin/workers`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Package, Server, until};

async fn put(client: &Client, body: &Value) -> crate::support::Answer {
    client.send(client.request(Method::PUT, "/api/v1/admin/maintenance").json(body)).await
}

#[tokio::test]
async fn a_system_and_a_machine_at_rest_take_on_nothing_new_and_end_what_runs() {
    let server = Server::start().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let main = "import os, time\ndef run(params, logger):\n    logger.info('begun')\n    \
                while params.get('wait') and not os.path.exists('/work/../tmp/never') and params['wait'] > 0:\n        \
                time.sleep(0.05)\n        params['wait'] -= 1\n    return {}\n";
    let slug = admin.publish_built(&Package::new("Rests", main)).await;
    admin.post_empty(&format!("/api/v1/script/{slug}/publish")).await.expect(200);
    let begun = ada.run(&slug, &json!({"wait": 30})).await;
    ada.said(&begun, "begun").await;

    // One machine: it is told, and what is submitted waits.
    let workers = admin.get("/api/v1/admin/workers").await.data(200);
    assert_eq!((workers.as_array().unwrap().len(), &workers[0]["draining"]), (1, &json!(false)));
    let worker = format!("/api/v1/admin/workers/{}", workers[0]["id"].as_str().unwrap());
    admin.patch(&worker, &json!({"draining": "yes"})).await.refused(400, "draining must be true or false");
    let drained = admin.patch(&worker, &json!({"draining": true})).await.data(200);
    assert_eq!((&drained["draining"], &drained["id"]), (&json!(true), &workers[0]["id"]));
    let waits = ada.run(&slug, &json!({})).await;
    let queue = ada.get(&format!("/api/v1/execution/{waits}")).await.data(200)["queue"].take();
    assert_eq!(queue["reason"], "engine_unreachable");

    // The whole system: submits and uploads are refused, everything else goes on.
    put(&admin, &json!({"on": 1})).await.refused(400, "on must be true or false");
    assert_eq!(admin.get("/api/v1/admin/maintenance").await.data(200), Value::Null);
    let message = "Disks are exchanged until noon.";
    let on = put(&admin, &json!({"on": true, "message": message})).await.data(200);
    assert_eq!((&on["message"], on["begun_by"].is_string()), (&json!(message), true));
    put(&admin, &json!({"on": true, "message": message})).await.expect(200);
    let archive = Package::echo("Another").pack();
    let refused = [
        ada.post(&format!("/api/v1/script/{slug}/run"), &json!({})).await,
        ada.post_empty(&format!("/api/v1/execution/{begun}/rerun")).await,
        admin.upload(Method::POST, "/api/v1/script", "x.tar.gz", archive.clone()).await,
        admin.upload(Method::PATCH, &format!("/api/v1/script/{slug}"), "x.tar.gz", archive).await,
    ];
    for answer in refused {
        answer.refused(503, message);
        assert_eq!(answer.json()["error_code"], "maintenance");
        assert_eq!(answer.headers["retry-after"], "300");
    }
    admin.patch(&worker, &json!({"draining": false})).await.expect(200);
    // What ran has its end, and after it the worker, which hears that there is room, takes nothing.
    assert_eq!(ada.ended(&begun).await["status"], "FINISHED");
    let seen = async || admin.get("/api/v1/admin/workers").await.data(200)[0]["seen_at"].take();
    let before = seen().await;
    until("the worker has looked around", async || seen().await != before).await;
    let run = ada.get(&format!("/api/v1/execution/{waits}")).await.data(200);
    assert_eq!((&run["status"], &run["queue"]["reason"]), (&json!("PENDING"), &json!("maintenance")));
    assert_eq!(ada.get("/api/v1/script").await.data(200).as_array().unwrap().len(), 1);

    assert_eq!(put(&admin, &json!({"on": false})).await.data(200), Value::Null);
    assert_eq!(ada.ended(&waits).await["status"], "FINISHED");
    let acts = admin.get("/api/v1/admin/audit?filter=target_type='system'&sort=id").await.data(200);
    let acts: Vec<_> = acts.as_array().unwrap().iter().map(|act| act["action"].as_str().unwrap()).collect();
    assert_eq!(acts, ["maintenance.on", "maintenance.off"]);
}
