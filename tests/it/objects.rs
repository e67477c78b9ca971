//! Objects in S3, against a real server of it: our keys and those of the existing server, and what happens when they are gone or
//! cannot be reached.

use std::{io::Read, path::Path, sync::atomic::Ordering};

use reqwest::Method;
use serde_json::json;

use crate::support::{Options, Package, PackageIndex, S3, Server, program, role_of_the_machine, until, wheel};

/// `trends-earth check` with the settings of a server.
async fn check(server: &Server) -> String {
    let mut command = program(false);
    command.args(["check", "--data-dir"]).arg(&server.folder).env_clear().envs(server.env());
    // The door of S3 is in this process.
    let said = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    String::from_utf8(said.stdout).unwrap()
}

fn unpacked(bytes: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut text).unwrap();
    text
}

/// What a machine keeps of scripts beside the objects.
fn forget(folder: &Path) {
    for name in ["versions", "envs"] {
        trends_earth::engine::process::environment::remove_tree(&folder.join(name)).unwrap();
        std::fs::create_dir(folder.join(name)).unwrap();
    }
}

#[tokio::test]
async fn archives_and_parameters_lie_in_s3_where_the_existing_server_looks_too() {
    let Some(s3) = S3::start("archives_and_parameters_lie_in_s3_where_the_existing_server_looks_too").await else {
        return;
    };
    let index = PackageIndex::serve([wheel("greeting", "1.0", &[])]);
    let options = Options::default().set("TE_COEXIST", "on").set("PIP_INDEX_URL", format!("{}/simple/", index.url));
    let options = options.set("AWS_ACCESS_KEY_ID", "key").set("AWS_SECRET_ACCESS_KEY", "secret-of-s3");
    let server = Server::with(s3.settings(options)).await;
    let admin = server.admin().await;

    // Ours by digest, theirs by name, the same bytes; nothing in the data folder.
    let archive = Package::new("Far Away", "def run(params, logger):\n    return params\n").pack();
    let script = admin.upload(Method::POST, "/api/v1/script", "x.tar.gz", archive.clone()).await.data(200);
    assert_eq!(admin.built("far-away").await.0, "SUCCESS");
    let id = script["id"].as_str().unwrap();
    let digest = admin.get("/api/v1/script/far-away/versions/1").await.data(200)["digest"].take();
    let ours = format!("api/scripts/scripts/{id}/{}.tar.gz", &digest.as_str().unwrap()["sha256:".len()..]);
    let theirs = "api/scripts/far-away.tar.gz";
    assert_eq!(s3.keys("scripts-of-all").await, [theirs, ours.as_str()]);
    assert_eq!(s3.get(&format!("scripts-of-all/{ours}")).await.as_ref(), Some(&archive));
    assert_eq!(s3.get(&format!("scripts-of-all/{theirs}")).await.as_ref(), Some(&archive));
    let objects: Vec<_> = server.files(&["objects"]).into_iter().filter(|path| path.is_file()).collect();
    assert_eq!(objects, Vec::<std::path::PathBuf>::new());

    // A download is the bytes themselves, with their length; parameters lie where its containers fetch them.
    let download = admin.get("/api/v1/script/far-away/download").await;
    assert_eq!((download.status, &download.bytes), (200, &archive));
    assert_eq!(download.headers["content-length"], archive.len().to_string().as_str());
    let run = admin.finish("far-away", &json!({"year": 2001})).await;
    assert_eq!(run["status"], "FINISHED", "{run}");
    let key = format!("params/{}.json.gz", run["id"].as_str().unwrap());
    assert_eq!(s3.keys("params-of-all").await, [key.as_str()]);
    let params = unpacked(&s3.get(&format!("params-of-all/{key}")).await.unwrap());
    assert_eq!(serde_json::from_str::<serde_json::Value>(&params).unwrap(), json!({"year": 2001}));

    // A script that the existing server has built: it has no version here, and its first run makes number 1, also on a
    // machine that never had its packages.
    let main = "import greeting\n\ndef run(params, logger):\n    return params\n";
    let archive = Package::new("Far Away", main).requirements("greeting\n").pack();
    s3.put(&format!("scripts-of-all/{theirs}"), archive.clone()).await;
    server.execute("DELETE FROM script_version").await;
    s3.delete(&format!("scripts-of-all/{ours}")).await;
    forget(&server.folder);
    assert_eq!(admin.get("/api/v1/script/far-away/download").await.bytes, archive);
    for year in [2002, 2003] {
        let run = admin.finish("far-away", &json!({"year": year})).await;
        assert_eq!(run["status"], "FINISHED", "{run}");
        assert_eq!((&run["script_version"], &run["results"]["year"]), (&json!(1), &json!(year)));
    }
    // Where runs are containers, its image would be looked for.
    assert_eq!(server.rows("script_version WHERE image = 'far-away:latest'").await, 1);
    let versions = admin.get("/api/v1/script/far-away/versions").await.data(200);
    assert_eq!(versions.as_array().unwrap().len(), 1);
    assert_eq!(versions[0]["current"], true);
    let digest = &versions[0]["digest"].as_str().unwrap()["sha256:".len()..];
    let ours = format!("api/scripts/scripts/{id}/{digest}.tar.gz");
    assert!(s3.get(&format!("scripts-of-all/{ours}")).await.is_some());

    // What is gone is said to be gone, counted, and a run that needs it fails with a sentence.
    let said = check(&server).await;
    let place = "S3, scripts-of-all/api/scripts and params-of-all/params";
    assert!(said.contains(&format!("ok    objects: {place}; archives and results: 1, none is missing")), "{said}");
    s3.delete(&format!("scripts-of-all/{ours}")).await;
    let said = check(&server).await;
    assert!(said.contains("FAILS objects: 1 of 1 archives and results are not in S3"), "{said}");
    assert!(!said.contains("secret-of-s3"));
    let sentence = "The archive of script far-away is not there any more; publish it again.";
    admin.get("/api/v1/script/far-away/download").await.refused(410, sentence);
    forget(&server.folder);
    server.may_log_errors();
    let run = admin.finish("far-away", &json!({})).await;
    assert_eq!((&run["status"], &run["failure"]["class"]), (&json!("FAILED"), &json!("infrastructure")));
    assert_eq!(run["failure"]["message"], "The files of the script are not there any more.");
}

#[tokio::test]
async fn an_s3_that_is_away_for_a_while_costs_no_run_and_no_results() {
    let Some(s3) = S3::start("an_s3_that_is_away_for_a_while_costs_no_run_and_no_results").await else { return };
    // No keys, but the role of the machine, whose keys end and are renewed.
    let (metadata, asked) = role_of_the_machine().await;
    let options = Options::default().set("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata);
    let server = Server::with(s3.settings(options)).await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let main = "def run(params, logger):\n    return {'text': 'x' * params['size']}\n";
    let slug = admin.publish_built(&Package::new("Large", main)).await;
    admin.post_empty(&format!("/api/v1/script/{slug}/publish")).await.expect(200);

    // A run whose files lie far away waits for them; who asks by HTTP hears so at once.
    forget(&server.folder);
    s3.shut(true);
    let id = ada.run(&slug, &json!({"size": 2_000_000})).await;
    until("the run waits", async || server.log().contains("something failed; it is tried again")).await;
    let away = admin.get(&format!("/api/v1/script/{slug}/download")).await;
    away.refused(503, "The store of archives and results does not answer; try again soon.");
    assert_eq!(
        (away.json()["error_code"].as_str(), &away.headers["retry-after"]),
        (Some("objects_unavailable"), &"5".parse().unwrap())
    );
    s3.shut(false);

    // Large results lie there too, and come back as they are.
    let run = ada.ended(&id).await;
    assert_eq!((&run["status"], run["results"]["text"].as_str().map(str::len)), (&json!("FINISHED"), Some(2_000_000)));
    let keys = s3.keys("params-of-all").await;
    assert!(keys.len() == 1 && keys[0].starts_with(&format!("params/results/{id}/")), "{keys:?}");
    let download = ada.get(&format!("/api/v1/execution/{id}/download-results")).await;
    assert_eq!(download.expect(200), run["results"]);
    s3.delete(&format!("params-of-all/{}", keys[0])).await;
    let sentence = format!("The results of execution {id} are not there any more; run it again.");
    ada.get(&format!("/api/v1/execution/{id}/download-results")).await.refused(410, &sentence);

    // What belonged to a script goes with it.
    let id = ada.finish(&slug, &json!({"size": 2_000_000})).await["id"].take();
    assert_eq!(s3.keys("params-of-all").await.len(), 1, "{id}");
    admin.delete(&format!("/api/v1/script/{slug}")).await.expect(200);
    assert_eq!(s3.keys("params-of-all").await, Vec::<String>::new());
    assert_eq!(s3.keys("scripts-of-all").await, Vec::<String>::new());
    assert!(asked.load(Ordering::Relaxed) > 1, "keys that end are asked for again");
}
