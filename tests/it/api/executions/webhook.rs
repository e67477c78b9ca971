//! `X-TE-Callback-URL`: who is called when a run has ended.

use std::time::Duration;

use aws_lc_rs::hmac;
use axum::{Router, extract::State, http::HeaderMap, routing::post};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::support::{Answer, Client, Options, Package, Server, until};

type Call = (HeaderMap, String);

/// A place that is called; its first answers are failures.
async fn place(failures: usize) -> (String, UnboundedReceiver<Call>) {
    let (tell, told) = unbounded_channel();
    let left = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(failures));
    type Shared = (UnboundedSender<Call>, std::sync::Arc<std::sync::atomic::AtomicUsize>);
    let called = async |State((tell, left)): State<Shared>, headers: HeaderMap, body: String| {
        tell.send((headers, body)).unwrap();
        let fails = left.fetch_update(std::sync::atomic::Ordering::SeqCst, std::sync::atomic::Ordering::SeqCst, |n| {
            n.checked_sub(1)
        });
        if fails.is_ok() { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::NO_CONTENT }
    };
    let elsewhere = async || (StatusCode::FOUND, [("location", "/done")]);
    let router = Router::new().route("/done", post(called)).route("/moved", post(elsewhere)).with_state((tell, left));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, told)
}

async fn submit(who: &Client, url: &str) -> Answer {
    let request = who.request(Method::POST, "/api/v1/script/echo/run").header("x-te-callback-url", url);
    who.send(request.json(&json!({"a": 1}))).await
}

async fn with_script(options: Options) -> (Server, Client, Client) {
    let server = Server::with(options).await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    admin.publish(&Package::echo("Echo")).await;
    admin.post_empty("/api/v1/script/echo/publish").await.expect(200);
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    (server, admin, ada)
}

#[tokio::test]
async fn the_address_is_called_once_with_the_end_of_the_run_and_a_proof_and_again_if_it_fails() {
    let options = Options::default().set("TE_WEBHOOK_ALLOW_PRIVATE", true).set("TE_SANDBOX", "none");
    let (server, admin, ada) = with_script(options).await;
    let (url, mut calls) = place(1).await;
    let run = submit(&ada, &format!("{url}/done")).await.data(200);
    let path = format!("/api/v1/execution/{}", run["id"].as_str().unwrap());
    admin.patch(&path, &json!({"status": "FAILED", "results": {"x": 1}})).await.expect(200);
    let (headers, body) = calls.recv().await.unwrap();
    let told: Value = serde_json::from_str(&body).unwrap();
    let mut shown = ada.get(&path).await.data(200);
    for left_out in ["params", "results"] {
        shown.as_object_mut().unwrap().remove(left_out);
    }
    assert_eq!((&told["event"], &told["data"]), (&json!("execution.finished"), &shown));
    assert_eq!(told["data"]["failure"]["class"], "script_error");

    let secret = ada.get("/api/v1/user/me/webhook-secret").await.data(200)["secret"].as_str().unwrap().to_owned();
    let signature = headers["x-te-signature"].to_str().unwrap();
    let (second, proof) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let expected = hmac::sign(&key, format!("{second}.{body}").as_bytes());
    assert_eq!(proof, trends_earth::auth::tokens::hex(expected.as_ref()));
    assert_ne!(admin.get("/api/v1/user/me/webhook-secret").await.data(200)["secret"], json!(secret));

    // The first call failed; a minute later it is made again, with the same id, and then never more.
    server.execute("UPDATE job SET run_at = '2026-01-01 00:00:00' WHERE kind = 'send_webhook'").await;
    let (_, again) = calls.recv().await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&again).unwrap()["id"], told["id"]);
    admin.patch(&path, &json!({"status": "FAILED"})).await.expect(200);
    assert!(tokio::time::timeout(Duration::from_secs(2), calls.recv()).await.is_err());
    assert_eq!(
        server.rows("webhook_delivery WHERE delivered_at IS NOT NULL AND last_status = 204 AND attempts = 2").await,
        1
    );

    // A redirect is not followed.
    let run = submit(&ada, &format!("{url}/moved")).await.data(200);
    admin
        .patch(&format!("/api/v1/execution/{}", run["id"].as_str().unwrap()), &json!({"status": "FINISHED"}))
        .await
        .expect(200);
    until("the redirect is answered", async || server.rows("webhook_delivery WHERE last_status = 302").await == 1)
        .await;
    assert!(calls.try_recv().is_err());
}

#[tokio::test]
async fn addresses_that_lead_inside_are_refused_or_not_called() {
    let (server, admin, ada) = with_script(Options::default()).await;
    for (url, why) in [
        ("nonsense", "is no address such as https://example.org/done"),
        ("http://example.org/", "must begin with https://"),
        ("ftp://example.org/", "must begin with https://"),
        ("https://me:secret@example.org/", "must not hold a user name or a password"),
        ("https://127.0.0.1/", "must not lead to a private address"),
        ("https://[::ffff:10.0.0.1]/", "must not lead to a private address"),
        ("https://169.254.169.254/latest", "must not lead to a private address"),
        ("https://0x7f000001/", "must not lead to a private address"),
    ] {
        submit(&ada, url).await.refused(400, &format!("X-TE-Callback-URL {why}"));
    }
    assert_eq!(server.rows("execution").await, 0);
    // A name that leads inside is found out when it is called.
    let (inside, mut calls) = place(0).await;
    let port = inside.rsplit(':').next().unwrap();
    let run = submit(&ada, &format!("https://localhost:{port}/done")).await.data(200);
    admin
        .patch(&format!("/api/v1/execution/{}", run["id"].as_str().unwrap()), &json!({"status": "FINISHED"}))
        .await
        .expect(200);
    let tried = "webhook_delivery WHERE attempts = 1 AND last_status IS NULL";
    until("the name is looked up", async || server.rows(tried).await == 1).await;
    assert!(calls.try_recv().is_err());
}
