//! From a folder to results, and what is refused on the way.

use serde_json::{Value, json};
use trends_earth::{cli::package, store::users::Role};

use super::Author;
use crate::support::{Options, Package, Server};

#[tokio::test]
async fn an_author_publishes_runs_and_gets_results_and_archive_back() {
    let server = Server::start().await;
    let ada = Author::signed_in(&server, "ada", &server.base).await;
    let folder = ada.folder(&Package::echo("My Echo"));
    let said = ada.client(&["publish", &folder, "--public"]).run().await;
    let out = said.ended(0);
    assert!(out.starts_with("Published my-echo\n") && out.ends_with("my-echo is public.\n"), "{out}");
    assert!(said.err.contains("The build is SUCCESS."), "{}", said.err);

    // A plain user may run it: the parameters of a file, and what is typed over them.
    let bob = Author::new(&server, "bob", Role::User).await;
    bob.sign_in(&server.base).await;
    let run =
        ["run", "my-echo", "--params", "-", "--follow", "n=12345678901234567890123", "text=two words", "list=[1,null]"];
    let said = bob.client(&run).input(r#"{"text": "hidden", "kept": 1.50}"#).run().await;
    let out = said.ended(0);
    assert!(out.contains("  INFO     hello\n"), "{out}");
    assert!(said.err.contains("The run is FINISHED."), "{}", said.err);
    let id = out.lines().next().unwrap();

    let said = bob.client(&["results", id]).run().await;
    let results: Value = serde_json::from_str(said.ended(0)).unwrap();
    let params = &results["params"];
    assert_eq!(
        (&params["text"], &params["list"], &params["kept"]),
        (&json!("two words"), &json!([1, null]), &json!(1.5))
    );
    assert!(said.out.contains("12345678901234567890123"), "{}", said.out);
    let file = bob.place.folder.join("results.json");
    bob.client(&["results", id, "-o", file.to_str().unwrap()]).run().await.ended(0);
    assert_eq!(serde_json::from_slice::<Value>(&std::fs::read(&file).unwrap()).unwrap(), results);

    let sent = package::pack(&package::folder(folder.as_ref()).unwrap()).unwrap();
    bob.client(&["download", "my-echo"]).run().await.ended(0);
    assert_eq!(std::fs::read(bob.place.folder.join("my-echo.tar.gz")).unwrap(), sent);
    let said = bob.client(&["download", "my-echo"]).run().await;
    said.ended(2);
    assert!(said.err.contains("my-echo.tar.gz is there already"), "{}", said.err);

    let said = bob.client(&["logs", id]).run().await;
    assert!(said.ended(0).contains("  INFO     hello\n"), "{}", said.out);
    let said = bob.client(&["logs", "my-echo"]).run().await;
    assert!(said.ended(0).contains("Build successful."), "{}", said.out);
    let said = bob.client(&["list"]).run().await;
    assert!(said.ended(0).starts_with("my-echo ") && said.out.contains("SUCCESS   public   My Echo"), "{}", said.out);
    let said = bob.client(&["status"]).run().await;
    assert!(said.ended(0).starts_with(&format!("{id}  FINISHED    100 %")), "{}", said.out);
    assert_eq!(bob.client(&["status", id]).run().await.ended(0), said.out);
}

#[tokio::test]
async fn publishing_again_makes_a_new_version_and_a_build_that_fails_says_why() {
    let server = Server::start().await;
    let ada = Author::signed_in(&server, "ada", &server.base).await;
    let package = Package::echo("Twice");
    ada.publish(&package).await;
    let again = package.clone().file("src/main.py", "def run(params, logger):\n    return 2\n");
    let said = ada.client(&["publish", &ada.folder(&again)]).run().await;
    let out = said.ended(0);
    assert!(out.starts_with("Published twice again\n"), "{out}");
    assert_eq!(out.matches("Build started.").count(), 1, "the first build is not told again: {out}");

    let broken = package.file("src/main.py", "def run(params, logger)\n");
    let said = ada.client(&["publish", &ada.folder(&broken), "--public"]).run().await;
    said.ended(1);
    assert!(said.err.contains("The build is FAIL: ") && said.err.contains("main.py"), "{}", said.err);
    assert!(said.err.contains("twice is not shown to others"), "{}", said.err);
    let script = server.admin().await.get("/api/v1/script/twice").await.data(200);
    assert_eq!(script["public"], false);
}

#[tokio::test]
async fn what_the_server_refuses_is_told_in_its_words() {
    let server = Server::api_only().await;
    let ada = Author::signed_in(&server, "ada", &server.base).await;
    let refused = async |author: &Author, words: &[&str], why: &str| {
        let said = author.client(words).run().await;
        said.ended(2);
        assert!(said.err.contains(why) && !said.err.contains("panicked"), "{}", said.err);
    };
    let id = "30000000-0000-4000-8000-000000000001";
    refused(&ada, &["run", "nothing"], "Script with id nothing does not exist").await;
    refused(&ada, &["run", "a b"], "Script with id a b does not exist").await;
    refused(&ada, &["run", "nothing", "n"], "\"n\" is no parameter; write key=value.").await;
    refused(&ada, &["run", "nothing", "--params", "-"], "the parameters must be a JSON object").await;
    refused(&ada, &["cancel", id], "Ticket Not Found").await;
    refused(&ada, &["results", id], "Ticket Not Found").await;
    refused(&ada, &["logs", id, "--follow"], &format!("Script with id {id} does not exist")).await;
    refused(&ada, &["publish", "."], "There is no configuration.json in .").await;
    refused(&ada, &["logs"], "Usage: trends-earth client logs").await;

    let package = Package::echo("Taken").with("cpu_limit", "much");
    refused(&ada, &["publish", &ada.folder(&package)], "cpu_limit in configuration.json is \"much\"").await;
    server.admin().await.publish(&Package::echo("Taken")).await;
    refused(&ada, &["publish", &ada.folder(&Package::echo("Taken"))], "There is a script taken of somebody else").await;
    let bob = Author::new(&server, "bob", Role::User).await;
    bob.sign_in(&server.base).await;
    let folder = bob.folder(&Package::echo("Mine"));
    refused(&bob, &["publish", &folder], "Only admins and superadmins can create scripts").await;
}

#[tokio::test]
async fn a_server_that_asks_to_wait_is_waited_for() {
    let options = Options::default().set("RATE_LIMITING_ENABLED", true).set("EXECUTION_RUN_LIMITS", "1 per 2 second");
    let server = Server::with(options).await;
    server.admin().await.publish_built(&Package::echo("Echo")).await;
    server.execute("UPDATE script SET public = TRUE").await;
    let bob = Author::new(&server, "bob", Role::User).await;
    bob.sign_in(&server.base).await;
    let mut waited = 0;
    for _ in 0..3 {
        let said = bob.client(&["run", "echo"]).run().await;
        said.ended(0);
        waited += said.err.matches("Rate limit exceeded. Please try again later. (waiting ").count();
    }
    assert!(waited > 0, "no call was limited");
}
