//! `serve --rehearse`: on a copy of a live database all is answered and written, and nobody outside notices.

use std::net::TcpListener;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    mail,
    support::{Client, Options, Package, Place, Server, until},
};

/// Somewhere outside, and whether anybody came.
struct Outside(TcpListener);

impl Outside {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Outside(listener)
    }

    fn at(&self, scheme: &str) -> String {
        format!("{scheme}://{}", self.0.local_addr().unwrap())
    }

    fn was_called(&self) -> bool {
        self.0.accept().is_ok()
    }
}

/// Settings by which a live server reaches others.
fn reaching(outside: &Outside) -> Options {
    Options::default()
        .set("TE_COEXIST", "on")
        .set("TE_SMTP_URL", outside.at("smtp"))
        .set("REDIS_URL", outside.at("redis"))
        .set("RATE_LIMITING_ENABLED", "true")
        .set("TE_WEBHOOK_ALLOW_PRIVATE", "true")
}

/// Starts a run that is to call somebody.
async fn run(client: &Client, slug: &str, callback: &str) -> Value {
    let request = client.request(Method::POST, &format!("/api/v1/script/{slug}/run")).json(&json!({"a": 1}));
    client.send(request.header("X-TE-Callback-URL", callback)).await.data(200)
}

/// A server on the folder and the database that another one has left.
async fn on_what_is_left(live: &Server, options: Options) -> Server {
    let url = live.env().get("DATABASE_URL").cloned();
    let options = url.into_iter().fold(options, |options, url| options.set("DATABASE_URL", url));
    Server::on(&live.folder, options).await
}

#[tokio::test]
async fn a_rehearsal_answers_and_writes_and_nobody_outside_notices_then_or_later() {
    let outside = Outside::new();
    // The live system, as it was when it was copied: a letter, a call, a run and a build wait, a session is over.
    let mut live = Server::with(Options::default().without_worker().set("TE_WEBHOOK_ALLOW_PRIVATE", "true")).await;
    let admin = live.admin().await;
    live.anonymous().post("/api/v1/user", &json!({"email": "ada@example.org", "name": "Ada"})).await.data(200);
    let slug = admin.publish(&Package::echo("Echo")).await["slug"].as_str().unwrap().to_owned();
    live.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    run(&admin, &slug, &outside.at("http")).await;
    admin.publish(&Package::echo("Waits")).await;
    live.execute("UPDATE refresh_tokens SET expires_at = '2020-01-01 00:00:00'").await;
    live.stop();
    let jobs = live.rows("job").await;

    let mut rehearsal = on_what_is_left(&live, reaching(&outside).set("TE_REHEARSE", "true")).await;
    let caller = rehearsal.anonymous();
    assert_eq!(caller.get("/api-health").await.expect(200)["rehearsal"], true);
    let admin = rehearsal.admin().await;
    for (method, path, status) in [
        (Method::GET, "/api/v1/user/me", 200),
        (Method::GET, "/api/v1/nothing", 404),
        (Method::POST, "/api/v1/user/me", 405),
        (Method::OPTIONS, "/auth", 200),
    ] {
        let answer = admin.send(admin.request(method, path)).await;
        assert_eq!((answer.status, answer.headers["x-te-rehearsal"].to_str().unwrap()), (status, "true"), "{path}");
    }
    let said = std::fs::read_to_string(rehearsal.folder.join("server.out")).unwrap();
    assert!(said.contains("This is a rehearsal: nothing is started, sent, called or deleted."), "{said}");

    // Runs and builds are accepted and wait; a run that ends tells nobody.
    let waits = run(&admin, &slug, &outside.at("http")).await;
    assert_eq!(
        (&waits["status"], &waits["queue"]["reason"], &waits["queue"]["message"]),
        (
            &json!("PENDING"),
            &json!("maintenance"),
            &json!("This is a rehearsal on a copy of the database; no run is started in it.")
        ),
        "{waits:#}"
    );
    assert_eq!(admin.publish(&Package::echo("New")).await["status"], "PENDING");
    let path = format!("/api/v1/execution/{}", waits["id"].as_str().unwrap());
    assert_eq!(admin.patch(&path, &json!({"status": "FINISHED"})).await.data(200)["status"], "FINISHED");
    // A person registers, forgets the password, sets one by a link, signs in, out, and leaves.
    caller.post("/api/v1/user", &json!({"email": "bob@example.org", "name": "Bob"})).await.data(200);
    admin.post("/email", &json!({"recipients": ["x@example.org"], "subject": "s", "html": "h"})).await.expect(200);
    let bob = rehearsal.user("eve").await;
    bob.post_empty("/auth/logout").await.expect(200);
    bob.get("/api/v1/user/me").await.expect(401);
    let bob = rehearsal.sign_in(&bob.email, &bob.password).await;
    bob.delete("/api/v1/user/me").await.expect(200);
    let kept = rehearsal.files(&["objects"]);
    admin.delete("/api/v1/script/waits").await.expect(200);
    admin.get("/api/v1/script/waits").await.expect(404);
    assert_eq!(rehearsal.files(&["objects"]), kept, "the archive of a deleted script may be the live system's");
    assert!(rehearsal.stop().success());

    // Of all this nothing was sent, called or swept, and what would do it later was not put down.
    assert!(!outside.was_called());
    assert_eq!(
        live.rows("mail_outbox WHERE sent_at IS NULL AND attempts = 0").await,
        4,
        "ada, bob, x, the end of the run"
    );
    assert_eq!(live.rows("mail_outbox WHERE next_at IS NOT NULL").await, 1, "ada's waits as it did");
    assert_eq!((live.rows("webhook_delivery").await, live.rows("job WHERE attempts > 0").await), (0, 0));
    assert_eq!(live.rows("job").await, jobs + 2, "the run and the build that were asked for");
    let over = "refresh_tokens WHERE expires_at < '2021-01-01 00:00:00'";
    assert_eq!(live.rows(over).await, 1);

    // Whoever serves this copy in earnest sends what waited before, and no letter of the rehearsal.
    live.execute("DELETE FROM job WHERE kind <> 'send_mail'").await;
    live.execute("UPDATE execution SET status = 'CANCELLED', end_date = start_date WHERE status = 'PENDING'").await;
    let earnest = on_what_is_left(&live, Options::default()).await;
    assert!(earnest.anonymous().get("/api-health").await.expect(200).get("rehearsal").is_none());
    until("the letter is sent", async || live.rows("mail_outbox WHERE sent_at IS NOT NULL").await == 1).await;
    until("what is over is swept", async || live.rows(over).await == 0).await;
    let letters = mail::files(&earnest);
    assert!(letters.len() == 1 && letters[0].contains("To: ada@example.org"), "{letters:?}");
    assert_eq!(live.rows("job WHERE state = 'waiting'").await, 0);
    drop(earnest);
}

#[tokio::test]
async fn what_would_start_something_refuses_to_rehearse_and_check_says_that_it_is_one() {
    let place = Place::new().await;
    let rehearsing = |words: &[&str]| place.on_data(words).env("TE_REHEARSE", "1");
    rehearsing(&["demo", "--once"]).run().await.failed("A rehearsal starts nothing");
    place.on_data(&["migrate"]).run().await.ended(0);
    if place.is_postgres() {
        let worker = rehearsing(&["worker"]).env("TE_OBJECTS_SHARED", "true");
        worker.run().await.failed("A rehearsal has no workers");
    }
    let said =
        rehearsing(&["check"]).env("TE_SMTP_URL", "smtp://127.0.0.1:9").env("TE_PYTHON", "/none").run().await.out;
    assert!(said.contains("ok    rehearsal: nothing is started, sent, called or deleted\n"), "{said}");
    assert!(said.contains("ok    mail: this is a rehearsal: letters are written into the outbox"), "{said}");
    // The flag is the setting.
    let mut serving = place.on_data(&["serve", "--rehearse", "--listen", "127.0.0.1:0"]).start().await;
    serving.until("This is a rehearsal").await;
    serving.signal(nix::sys::signal::Signal::SIGTERM);
    serving.end().await.ended(0);
}
