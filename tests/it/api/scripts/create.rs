//! `POST /api/v1/script`.

use reqwest::{Method, multipart};
use serde_json::json;
use trends_earth::store::users::Role;

use crate::support::{Package, Server};

const SCRIPT: &str = "/api/v1/script";

#[tokio::test]
async fn a_published_script_is_answered_whole_with_200_and_then_built() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let me = admin.get("/api/v1/user/me").await.data(200);
    let package = Package::echo("Straße's  Script 1,000_2").with("cpu_limit", 250_000_000);
    let script = admin.publish(&package).await;
    let (id, at) = (script["id"].clone(), script["created_at"].clone());
    let mut expected = json!({"cpu_limit": 250_000_000, "cpu_reservation": 100_000_000, "created_at": at, "description": "",
        "id": id, "memory_limit": 1_000_000_000, "memory_reservation": 100_000_000, "name": "Straße's  Script 1,000_2",
        "public": false, "slug": "strasse-s-script-1000-2", "status": "PENDING", "updated_at": at, "user_id": me["id"],
        "uses_gee": false});
    assert_eq!(script, expected);
    assert!(chrono::NaiveDateTime::parse_from_str(at.as_str().unwrap(), "%Y-%m-%dT%H:%M:%S%.f").is_ok(), "{at}");
    let (status, log) = admin.built("strasse-s-script-1000-2").await;
    assert_eq!(status, "SUCCESS", "{log:#?}");
    expected["status"] = json!("SUCCESS");
    assert_eq!(admin.get(&format!("{SCRIPT}/strasse-s-script-1000-2")).await.data(200), expected);
}

#[tokio::test]
async fn only_administrators_publish_but_the_form_is_looked_at_first() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let good = Package::echo("Mine").pack();
    user.upload(Method::POST, SCRIPT, "script.tar.gz", good.clone())
        .await
        .refused(403, "Only admins and superadmins can create scripts");
    user.post(SCRIPT, &json!({})).await.refused(400, "File Required");
    user.upload(Method::POST, SCRIPT, "script.zip", good.clone()).await.refused(400, "File must be a .tar.gz archive");
    server.anonymous().upload(Method::POST, SCRIPT, "script.tar.gz", good.clone()).await.expect(401);
    let admin = server.account("grace", Role::Admin).await;
    admin.upload(Method::POST, SCRIPT, "script.tar.gz", good).await.expect(200);
}

#[tokio::test]
async fn the_part_of_the_form_must_be_there_with_a_usable_file_name() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let send = |form: multipart::Form| admin.send(admin.request(Method::POST, SCRIPT).multipart(form));
    send(multipart::Form::new().text("name", "x")).await.refused(400, "File Required");
    send(multipart::Form::new().text("file", "no file")).await.refused(400, "File Required");
    admin.post_empty(SCRIPT).await.refused(400, "File Required");
    admin.post_raw(SCRIPT, "application/gzip", Package::echo("x").pack()).await.refused(400, "File Required");
    admin.post_raw(SCRIPT, "multipart/form-data", "x").await.refused(400, "File Required");
    for (name, sentence) in [
        ("", "File must be a .tar.gz archive"),
        ("script.tgz", "File must be a .tar.gz archive"),
        ("<b>.tar.gz", "Invalid characters in filename"),
        ("a/b.tar.gz", "Invalid File"),
    ] {
        admin.upload(Method::POST, SCRIPT, name, b"x".to_vec()).await.refused(400, sentence);
    }
    for name in ["sdg 15.3.1.tar.gz", "my.script.tar.gz", "日本.tar.gz"] {
        let package = Package::echo(&format!("Named {}", name.len()));
        admin.upload(Method::POST, SCRIPT, name, package.pack()).await.expect(200);
    }
    assert_eq!(server.rows("script").await, 3);
}

#[tokio::test]
async fn other_parts_of_the_form_are_passed_over() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let part = multipart::Part::bytes(Package::echo("Second Part").pack()).file_name("x.tar.gz");
    let form = multipart::Form::new().text("note", "hello").part("file", part).text("later", "ignored");
    let script = admin.send(admin.request(Method::POST, SCRIPT).multipart(form)).await.data(200);
    assert_eq!(script["slug"], "second-part");
}

#[tokio::test]
async fn a_slug_is_taken_once_also_by_eight_uploads_at_one_time() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let archive = Package::echo("One Name").pack();
    let tries = (0..8).map(|_| admin.upload(Method::POST, SCRIPT, "x.tar.gz", archive.clone()));
    let answers = futures::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        answer.refused(400, "Script with name One Name generates an existing script slug");
        assert_eq!(answer.json()["error_code"], "slug_taken");
    }
    let same = admin.upload(Method::POST, SCRIPT, "x.tar.gz", Package::echo("one  NAME").pack()).await;
    same.refused(400, "Script with name one  NAME generates an existing script slug");
    assert_eq!((server.rows("script").await, server.rows("job").await), (1, 1));
    let archives: Vec<_> = server.files(&["objects"]).into_iter().filter(|path| path.is_file()).collect();
    assert_eq!(archives.len(), 1, "{archives:?}");
}

#[tokio::test]
async fn a_superadmin_may_say_the_id_which_is_taken_once_and_nobody_else_may() {
    let server = Server::api_only().await;
    let superadmin = server.admin().await;
    let admin = server.account("ada", Role::Admin).await;
    let user = server.user("bob").await;
    const ID: &str = "d022047b-1234-4000-8000-00000000000a";
    let with_id = |id: &str| format!("{SCRIPT}?id={id}");
    let archive = |name: &str| Package::echo(name).pack();
    for (caller, sentence) in [
        (&user, "Only admins and superadmins can create scripts"),
        (&admin, "Only superadmins can choose the id of a script"),
    ] {
        caller.upload(Method::POST, &with_id(ID), "x.tar.gz", archive("Known")).await.refused(403, sentence);
    }
    for bad in ["known", "", "d022047b-1234-4000-8000"] {
        let answer = superadmin.upload(Method::POST, &with_id(bad), "x.tar.gz", archive("Known")).await;
        assert!(answer.expect(400)["detail"].as_str().unwrap().starts_with(&format!("id is \"{bad}\"; it must be")));
    }
    assert_eq!(server.rows("script").await, 0);
    let upper = ID.to_uppercase();
    let script = superadmin.upload(Method::POST, &with_id(&upper), "x.tar.gz", archive("Known")).await.data(200);
    assert_eq!((&script["id"], &script["slug"]), (&json!(ID), &json!("known")));
    let taken = format!("There is a script with id {ID} already");
    superadmin.upload(Method::POST, &with_id(ID), "x.tar.gz", archive("Other")).await.refused(400, &taken);
    let tries = (0..4).map(|n| {
        let (path, archive) = (with_id("d022047b-1234-4000-8000-00000000000b"), archive(&format!("Other {n}")));
        let superadmin = &superadmin;
        async move { superadmin.upload(Method::POST, &path, "x.tar.gz", archive).await.status }
    });
    let mut answers = futures::future::join_all(tries).await;
    answers.sort_unstable();
    assert_eq!(answers, [200, 400, 400, 400]);
}
