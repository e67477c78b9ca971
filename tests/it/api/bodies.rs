//! Heads and bodies that come slowly, not at all, or too many at one time.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use futures::StreamExt;
use reqwest::Method;
use serde_json::json;

use crate::support::{Client, Options, PATIENCE, Package, Server, gzip, until};

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

/// How long the server keeps a connection on which these pieces come, a while apart; `None` if it is kept.
fn kept_for(base: &str, pieces: &[&str], rest: Duration) -> Option<Duration> {
    let mut connection = TcpStream::connect(base.trim_start_matches("http://")).unwrap();
    connection.set_read_timeout(Some(rest)).unwrap();
    let begun = Instant::now();
    for piece in pieces {
        let sent = connection.write_all(piece.as_bytes());
        let mut byte = [0];
        match connection.read(&mut byte) {
            Ok(0) => return Some(begun.elapsed()),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return Some(begun.elapsed()),
            Ok(_) => panic!("something is answered"),
        }
        if sent.is_err() {
            return Some(begun.elapsed());
        }
    }
    None
}

#[tokio::test]
async fn a_client_that_sends_its_head_slowly_or_not_at_all_is_cut_off_and_streams_go_on() {
    let server = Server::with(Options::default().without_worker().set("TE_SILENCE_S", 1)).await;
    let admin = server.admin().await;
    admin.publish(&Package::echo("Echo")).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let id = admin.run("echo", &json!({})).await;
    let stream = admin.request(Method::GET, &format!("/api/v1/execution/{id}/log/stream")).send().await.unwrap();
    assert_eq!(stream.status(), 200);

    let base = server.base.clone();
    let (silent, slow) = tokio::task::spawn_blocking(move || {
        let silent = kept_for(&base, &[""], Duration::from_secs(60));
        let slow: Vec<&str> =
            ["GET /ping HTTP/1.1\r\n"].into_iter().chain(std::iter::repeat_n("X: y\r\n", 200)).collect();
        (silent, kept_for(&base, &slow, Duration::from_millis(200)))
    })
    .await
    .unwrap();
    for kept in [silent, slow] {
        assert!(kept.is_some_and(|kept| kept >= Duration::from_millis(900)), "{kept:?}");
    }

    // Meanwhile nothing was said on the stream; what is said now still comes over the same connection.
    let line = json!({"text": "after a silence", "level": "INFO"});
    admin.post(&format!("/api/v1/execution/{id}/log"), &line).await.expect(200);
    let mut said = String::new();
    let mut bytes = stream.bytes_stream();
    while !said.contains("after a silence") {
        let chunk = tokio::time::timeout(PATIENCE, bytes.next()).await.expect("the line comes");
        said += &String::from_utf8_lossy(&chunk.expect("the stream goes on").unwrap());
    }
}

const LOG: &str = "/api/v1/execution/00000000-0000-4000-8000-000000000000/log";

#[tokio::test]
async fn bodies_are_bounded_all_together_and_the_room_is_given_back() {
    let room = 1 << 20;
    let server = Server::with(Options::default().without_worker().set("TE_MAX_BODIES_BYTES", room)).await;
    let ada = server.user("ada").await;
    let long = |bytes: usize| json!({"text": "t", "level": "INFO", "x": "x".repeat(bytes)}).to_string();
    let refused = |answer: crate::support::Answer| {
        answer.refused(503, "The server is overloaded; try again in a second.");
        assert_eq!(
            (&answer.json()["error_code"], &answer.headers["retry-after"]),
            (&json!("overloaded"), &"1".parse().unwrap())
        );
    };
    refused(ada.post_raw(LOG, "application/json", long(room)).await);
    // What is unpacked counts as well.
    let packed = ada.request(Method::POST, LOG).header("Content-Type", "application/json");
    refused(ada.send(packed.header("Content-Encoding", "gzip").body(gzip(long(room).as_bytes()))).await);
    for _ in 0..4 {
        ada.post_raw(LOG, "application/json", long(room / 2)).await.expect(403);
    }
    // One that is under way holds what has come of it, whatever it says that will come.
    let mut connection = TcpStream::connect(server.base.trim_start_matches("http://")).unwrap();
    let token = ada.token.clone().unwrap();
    write!(
        connection,
        "POST {LOG} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    )
    .unwrap();
    write!(connection, "Content-Length: 40000000\r\n\r\n{}", " ".repeat(room * 3 / 4)).unwrap();
    let tried = async |caller: &Client| caller.post_raw(LOG, "application/json", long(room / 2)).await;
    until("the room is taken", async || tried(&ada).await.status == 503).await;
    ada.post_raw(LOG, "application/json", long(room / 8)).await.expect(403);
    drop(connection);
    until("the room is free again", async || tried(&ada).await.status == 403).await;
}

#[tokio::test]
async fn whoever_needs_no_token_may_send_little() {
    let server = Server::api_only().await;
    let caller = server.anonymous();
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(70_000));
    let form = format!("x={}", "x".repeat(70_000));
    for (method, path) in [
        (Method::POST, "/auth"),
        (Method::POST, "/auth/refresh"),
        (Method::POST, "/api/v1/user"),
        (Method::POST, "/api/v1/user/reset-password"),
        (Method::POST, "/api/v1/oauth/token"),
        (Method::POST, "/reset-password"),
        (Method::POST, "/unsubscribe"),
    ] {
        let page = path.ends_with("password") && !path.contains("api") || path == "/unsubscribe";
        let (kind, body) =
            if page { ("application/x-www-form-urlencoded", &form) } else { ("application/json", &long) };
        let whole = caller.request(method.clone(), path).header("Content-Type", kind).body(body.clone());
        caller.send(whole).await.refused(413, "Request too large");
        // Without a length it is counted as it comes.
        let pieces = futures::stream::iter([Ok::<_, std::io::Error>(body.clone())]);
        let pieces = caller.request(method, path).header("Content-Type", kind).body(reqwest::Body::wrap_stream(pieces));
        caller.send(pieces).await.refused(413, "Request too large");
    }
}
