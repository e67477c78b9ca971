//! What every request passes, whichever route it asks for.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use reqwest::{Method, redirect::Policy};

use crate::support::{Client, Options, Server};

/// Sends a head and a body in pieces, with a rest before each, and reads what is answered.
fn send_slowly(base: &str, head: &str, pieces: &[&str], rest: Duration) -> String {
    let mut connection = TcpStream::connect(base.trim_start_matches("http://")).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    connection.write_all(head.as_bytes()).unwrap();
    for piece in pieces {
        std::thread::sleep(rest);
        connection.write_all(piece.as_bytes()).unwrap();
    }
    let mut said = String::new();
    connection.read_to_string(&mut said).unwrap();
    said
}

const HEAD: &str = "POST /auth HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\n";

#[tokio::test]
async fn a_body_may_come_slowly_but_a_silent_client_is_sent_away() {
    let server = Server::with(Options::default().without_worker().set("TE_SILENCE_S", 2)).await;
    let base = server.base.clone();
    let (slow, silent) = tokio::task::spawn_blocking(move || {
        let slow = send_slowly(&base, HEAD, &["{", " ", " ", " ", " ", "}"], Duration::from_millis(700));
        (slow, send_slowly(&base, HEAD, &["{"], Duration::ZERO))
    })
    .await
    .unwrap();
    assert!(slow.starts_with("HTTP/1.1 400 ") && slow.contains("Email and password are required"), "{slow}");
    assert!(silent.starts_with("HTTP/1.1 408 "), "{silent}");
    assert!(silent.contains("Nothing came of the body for 2 seconds; send the request again."), "{silent}");
    assert!(silent.contains("connection: close"), "{silent}");
}

#[tokio::test]
async fn a_slash_at_the_end_is_taken_where_the_existing_server_takes_it() {
    let server = Server::api_only().await;
    let caller = server.anonymous();
    for path in ["/api/v1/user/me/", "/api/v1/oauth/clients/", "/api/v1/script/?page=1"] {
        assert!([200, 401].contains(&caller.get(path).await.status), "{path}");
    }
    for path in
        ["/ping/", "/auth/", "/api-health/", "/swagger.json/", "/api/v1/rate-limit/status/", "/api/v1/unsubscribe/"]
    {
        caller.get(path).await.refused(404, "Not Found");
    }
}

#[tokio::test]
async fn slashes_that_are_doubled_lead_to_the_same_server() {
    let server = Server::api_only().await;
    let http = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
    let caller = Client { http, ..server.anonymous() };
    for (path, place) in [
        ("/api/v1//script?page=1", "/api/v1/script?page=1"),
        ("//example.org/ping", "/example.org/ping"),
        ("/api/v1/script//", "/api/v1/script/"),
    ] {
        let answer = caller.get(path).await;
        assert_eq!((answer.status, answer.bytes.len()), (308, 0), "{path}");
        assert_eq!(answer.headers["location"].to_str().unwrap(), place);
        assert!(answer.headers.contains_key("x-content-type-options"));
    }
    caller.get("/nothing/here").await.refused(404, "Not Found");
}

#[tokio::test]
async fn a_request_id_of_a_client_is_kept_if_it_is_short_and_readable() {
    let server = Server::api_only().await;
    let caller = server.anonymous();
    let id = async |sent: &str| {
        let answer = caller.send(caller.request(Method::GET, "/ping").header("X-Request-Id", sent)).await;
        answer.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id("run-7/a").await, "run-7/a");
    for bad in ["a".repeat(129), "with blank".into(), "é".into()] {
        assert_eq!(id(&bad).await.len(), 36, "{bad}");
    }
}

#[tokio::test]
async fn https_is_asked_for_where_a_trusted_proxy_says_that_the_client_came_by_it() {
    for (proxies, there) in [(1, true), (0, false)] {
        let server = Server::with(Options::default().without_worker().set("TRUSTED_PROXY_COUNT", proxies)).await;
        let caller = server.anonymous();
        let answer = caller.send(caller.request(Method::GET, "/ping").header("X-Forwarded-Proto", "https")).await;
        assert_eq!(answer.headers.contains_key("strict-transport-security"), there);
        assert!(!caller.get("/ping").await.headers.contains_key("strict-transport-security"));
    }
}
