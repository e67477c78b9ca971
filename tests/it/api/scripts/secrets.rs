//! `/api/v1/script/<s>/secrets…`: granted by administrators, given to runs, read by nobody.

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::{Answer, Client, Package, Server};

const SECRET: &str = "s3cret \"of\"\nthe bucket";

async fn grant(client: &Client, name: &str, value: &Value) -> Answer {
    let path = format!("/api/v1/script/keeps/secrets/{name}");
    client.send(client.request(Method::PUT, &path).json(&json!({"value": value}))).await
}

#[tokio::test]
async fn a_secret_goes_into_runs_of_its_script_and_is_read_nowhere() {
    let server = Server::start().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let main = "import hashlib, json, os\ndef run(params, logger):\n    key = os.environ.get('BUCKET_KEY', '')\n    \
                logger.info('it is ' + key)\n    logger.info('as JSON ' + json.dumps({'key': key}))\n    print('printed', key)\n    \
                if params.get('fail'):\n        raise ValueError('refused ' + key)\n    \
                return {'sum': hashlib.sha256(key.encode()).hexdigest(), 'tiny': os.environ.get('TINY')}\n";
    admin.publish_built(&Package::new("Keeps", main)).await;
    admin.publish_built(&Package::new("Other", main)).await;
    admin.post_empty("/api/v1/script/keeps/publish").await.expect(200);

    // Only its name is ever shown; names that a run has already are refused.
    let granted = grant(&admin, "BUCKET_KEY", &json!("an older one")).await.data(200);
    assert_eq!((&granted["name"], granted["granted_by"].is_string()), (&json!("BUCKET_KEY"), true));
    grant(&admin, "BUCKET_KEY", &json!(SECRET)).await.expect(200);
    grant(&admin, "TINY", &json!("ab")).await.expect(200);
    let list = admin.get("/api/v1/script/keeps/secrets").await.data(200);
    let names: Vec<_> = list.as_array().unwrap().iter().map(|secret| secret["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["BUCKET_KEY", "TINY"]);
    let keys: Vec<_> = list[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["created_at", "granted_by", "name"]);
    for name in
        ["PATH", "PYTHONPATH", "LD_PRELOAD", "HTTPS_PROXY", "TE_SCRIPT", "EXECUTION_ID", "PARAMS_S3_BUCKET", "ENV"]
    {
        let sentence = format!("{name} is a variable that runs have already; choose another name");
        grant(&admin, name, &json!("value")).await.refused(400, &sentence);
    }
    for name in ["bucket", "1ST", "A-B", "%C3%84"] {
        let answer = grant(&admin, name, &json!("value")).await;
        assert!(answer.expect(400)["detail"].as_str().unwrap().starts_with("The name of a secret is one"), "{name}");
    }
    for value in [json!(null), json!(7), json!(""), json!("a\0b"), json!("x".repeat(40_000))] {
        grant(&admin, "KEY", &value).await.expect(400);
    }

    // A run has it, and says it to nobody: not in its log, what it printed, its failure, its folder.
    let run = ada.finish("keeps", &json!({})).await;
    let sum = Sha256::digest(SECRET).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((&run["status"], &run["results"]), (&json!("FINISHED"), &json!({"sum": sum, "tiny": "ab"})));
    let id = run["id"].as_str().unwrap();
    let log = ada.log(id).await;
    assert!(log.contains(&"it is ***".to_owned()) && log.contains(&r#"as JSON {"key": "***"}"#.to_owned()), "{log:?}");
    let printed = admin.get(&format!("/api/v1/execution/{id}/docker-logs")).await.data(200);
    assert!(printed.as_array().unwrap().iter().any(|line| line["text"] == "printed ***"), "{printed}");
    let failed = ada.finish("keeps", &json!({"fail": true})).await;
    assert_eq!(failed["status"], "FAILED");
    assert!(failed["failure"]["message"].as_str().unwrap().contains("refused ***"), "{failed}");
    let shown = failed.to_string() + &ada.log(failed["id"].as_str().unwrap()).await.join("\n");
    assert!(!shown.contains("the bucket"), "{shown}");
    for name in ["spec.json", "secrets.json"] {
        let text = std::fs::read_to_string(server.unit(id).join(name)).unwrap_or_default();
        assert!(!text.contains("the bucket"), "{name}: {text}");
    }
    assert!(!server.log().contains("the bucket"));
    let empty = Sha256::digest("").iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(admin.finish("other", &json!({})).await["results"], json!({"sum": empty, "tiny": null}));

    // What a container says by HTTP is kept free of it too.
    server.lend(id, 1, "of the run").await;
    let container = server.sign_in_as_run(id, "of the run").await.unwrap();
    let line = json!({"text": format!("sent {SECRET}"), "level": "INFO"});
    container.post(&format!("/api/v1/execution/{id}/log"), &line).await.expect(200);
    assert_eq!(ada.log(id).await.last().unwrap(), "sent ***");
    // Who may not speak is refused in the same way whether he has guessed it or not.
    for guess in [SECRET, "a guess of no worth"] {
        let long = json!({"text": guess.repeat(10_000), "level": "INFO"});
        ada.post(&format!("/api/v1/execution/{id}/log"), &long).await.refused(400, "Log text too long");
    }

    // New code for a script with secrets comes from administrators only: it could send them anywhere.
    server.execute("UPDATE script SET user_id = (SELECT id FROM \"user\" WHERE email = 'ada@example.org')").await;
    let archive = Package::echo("Keeps").pack();
    let upload = async || ada.upload(Method::PATCH, "/api/v1/script/keeps", "x.tar.gz", archive.clone()).await;
    let sentence = "This script holds secrets; only administrators may change the version that runs";
    upload().await.refused(403, sentence);
    ada.post_empty("/api/v1/script/keeps/versions/1/activate").await.refused(403, sentence);

    // One that was sealed for another place, or with another key, is given to nobody.
    server.execute("UPDATE script_secret SET name = 'RENAMED' WHERE name = 'TINY'").await;
    server.may_log_errors();
    let run = ada.finish("keeps", &json!({})).await;
    assert_eq!(run["failure"]["class"], "infrastructure");
    assert_eq!(
        run["failure"]["message"],
        "The script's secret RENAMED cannot be read with this server's key; an administrator has to grant it again."
    );

    let delete = async |name: &str| admin.delete(&format!("/api/v1/script/keeps/secrets/{name}")).await;
    delete("RENAMED").await.expect(200);
    delete("RENAMED").await.refused(404, "Script keeps has no secret of this name");
    assert_eq!(delete("BUCKET_KEY").await.data(200), json!([]));
    upload().await.expect(200);
    let acts = admin.get("/api/v1/admin/audit?filter=action like 'script.secret%25'&sort=id").await.data(200);
    let acts: Vec<_> =
        acts.as_array().unwrap().iter().map(|act| (act["action"].as_str().unwrap(), &act["detail"])).collect();
    let name = |name: &str| json!({"name": name});
    let (bucket, tiny, renamed) = (name("BUCKET_KEY"), name("TINY"), name("RENAMED"));
    let (granted, deleted) = ("script.secret_granted", "script.secret_deleted");
    let all = [(granted, &bucket), (granted, &bucket), (granted, &tiny), (deleted, &renamed), (deleted, &bucket)];
    assert_eq!(acts, all);
    grant(&admin, "LAST", &json!("goes with the script")).await.expect(200);
    admin.delete("/api/v1/script/keeps").await.expect(200);
    assert_eq!(server.rows("script_secret").await, 0);
}
