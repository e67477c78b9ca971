//! Connections that a client keeps: an answer never ends one that a next request may be sent on.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::support::Server;

/// Sends a request whose body nobody wants, in two pieces, and asks something else on the same connection.
fn ask_twice(base: &str, head: &str) -> String {
    let mut connection = TcpStream::connect(base.trim_start_matches("http://")).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let body = "{\"status\":\"RUNNING\"}";
    write!(connection, "{head} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n", body.len()).unwrap();
    write!(connection, "Content-Type: application/json\r\n\r\n").unwrap();
    // The server has the head alone for a while, as with any client that sends the body in a packet of its own.
    std::thread::sleep(Duration::from_millis(200));
    write!(connection, "{body}GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut said = String::new();
    connection.read_to_string(&mut said).unwrap();
    said
}

#[tokio::test]
async fn a_refused_request_leaves_its_connection_usable() {
    let server = Server::api_only().await;
    for (head, status) in [
        ("PATCH /api/v1/execution/20000000-0000-4000-8000-000000000001", 401),
        ("POST /api/v1/nothing/here", 404),
        ("POST /ping", 405),
    ] {
        let base = server.base.clone();
        let said = tokio::task::spawn_blocking(move || ask_twice(&base, head)).await.unwrap();
        assert!(said.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {said}");
        assert!(said.contains("\"pong\""), "{head}: {said}");
    }
}
