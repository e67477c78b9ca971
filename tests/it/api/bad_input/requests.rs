//! Requests that nobody should send, to every route: a 4xx in JSON with status and detail, never a 5xx, never HTML.

use reqwest::{Method, header::HeaderValue};
use serde_json::{Value, json};

use crate::support::{Client, Package, Server};

const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// Every route, with ids that exist (`{s}`, `{e}`), that do not, and that are none.
const ROUTES: [(&str, &str); 22] = [
    ("POST", "/auth"),
    ("POST", "/auth/refresh"),
    ("POST", "/auth/logout"),
    ("POST", "/auth/logout-all"),
    ("GET", "/api/v1/user/me"),
    ("GET", "/api/v1/script"),
    ("POST", "/api/v1/script"),
    ("GET", "/api/v1/script/{s}"),
    ("PATCH", "/api/v1/script/{s}"),
    ("POST", "/api/v1/script/{s}/publish"),
    ("POST", "/api/v1/script/{s}/unpublish"),
    ("GET", "/api/v1/script/{s}/download"),
    ("GET", "/api/v1/script/{s}/log"),
    ("POST", "/api/v1/script/{s}/run"),
    ("GET", "/api/v1/execution"),
    ("GET", "/api/v1/execution/user"),
    ("GET", "/api/v1/execution/{e}"),
    ("PATCH", "/api/v1/execution/{e}"),
    ("GET", "/api/v1/execution/{e}/log"),
    ("POST", "/api/v1/execution/{e}/log"),
    ("POST", "/api/v1/execution/{e}/cancel"),
    ("GET", "/api/v1/execution/{e}/history"),
];

const METHODS: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "BREW"];

struct House {
    server: Server,
    ada: Client,
    script: String,
    execution: String,
    sent: usize,
}

impl House {
    /// A plain user, his execution, and a script that he sees.
    async fn open() -> Self {
        let server = Server::api_only().await;
        let (admin, ada) = (server.admin().await, server.user("ada").await);
        let script = admin.publish(&Package::echo("Echo")).await["id"].as_str().unwrap().to_owned();
        admin.post_empty("/api/v1/script/echo/publish").await.expect(200);
        server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
        let execution = ada.run("echo", &json!({})).await;
        House { server, ada, script, execution, sent: 0 }
    }

    fn path(&self, route: &str) -> String {
        route.replace("{s}", &self.script).replace("{e}", &self.execution)
    }

    /// Sends a request and checks what every answer must be; its status.
    async fn send(&mut self, request: reqwest::RequestBuilder) -> (u16, Value) {
        self.sent += 1;
        let answer = self.ada.send(request).await;
        let text = String::from_utf8_lossy(&answer.bytes);
        assert!(answer.status < 500, "{}: {} {text}", answer.what, answer.status);
        let body = answer.json();
        let kind = answer.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("");
        if !answer.bytes.is_empty() {
            let file = ["application/gzip", "text/plain; charset=utf-8", "text/event-stream"].contains(&kind);
            assert!(kind == "application/json" && body != Value::Null || file, "{}: {kind} {text}", answer.what);
        }
        if answer.status >= 400 && !answer.bytes.is_empty() {
            assert!(body["detail"].is_string() || body["msg"].is_string(), "{}: {text}", answer.what);
            if body["detail"].is_string() {
                assert_eq!(body["status"], answer.status, "{}: {text}", answer.what);
            }
            for leak in ["SELECT", "INSERT", "sqlx", "panicked", "src/", "SQLITE", "at line 0"] {
                assert!(!text.contains(leak), "{}: {text}", answer.what);
            }
        }
        (answer.status, body)
    }

    async fn ends(&self, at_least: usize) {
        assert!(self.sent >= at_least, "{} requests", self.sent);
        self.server.anonymous().get("/api-health").await.expect(200);
        assert_eq!(self.server.rows("script").await, 1);
    }
}

#[tokio::test]
async fn every_method_on_every_route_is_answered_in_json() {
    let mut house = House::open().await;
    for (right, route) in ROUTES {
        let path = house.path(route);
        for method in METHODS {
            if method == right || (right == "GET" && method == "HEAD") {
                continue;
            }
            let request = house.ada.with_token(None).request(method.parse().unwrap(), &path);
            let (status, _) = house.send(request).await;
            let known = ROUTES.contains(&(method, route));
            assert!(
                matches!(status, 400 | 401 | 404 | 405 | 415) || status == 200 && method == "OPTIONS",
                "{method} {path}: {status}"
            );
            if !known && matches!(method, "PUT" | "BREW" | "TRACE") {
                assert_eq!(status, 405, "{method} {path}");
            }
        }
    }
    house.ends(150).await;
}

#[tokio::test]
async fn every_route_survives_odd_bodies() {
    let mut house = House::open().await;
    let deep = "[".repeat(50_000);
    let long = format!("{{\"{}\":1}}", "k".repeat(100_000));
    let bodies: [(&str, &[u8]); 16] = [
        ("application/json", b""),
        ("application/json", b"{"),
        ("application/json", b"\xff\xfe\x00"),
        ("application/json", b"[1,2,3]"),
        ("application/json", b"\"text\""),
        ("application/json", b"NaN"),
        ("application/json", b"{\"a\":1}{\"b\":2}"),
        ("application/json", b"{\"status\":{\"a\":[]},\"progress\":\"x\",\"text\":{},\"level\":[],\"email\":{},\"password\":[],\"refresh_token\":{}}"),
        ("application/json", b"{\"status\":\"\\u0000\",\"text\":\"\\u0000\",\"level\":\"\\ud800\",\"email\":\"\\u0000\",\"password\":\"\\u0000\",\"refresh_token\":\"\\u0000\"}"),
        ("application/json", deep.as_bytes()),
        ("application/json", long.as_bytes()),
        ("application/json; charset=utf-16", b"{\"a\":1}"),
        ("text/html", b"<html></html>"),
        ("application/x-www-form-urlencoded", b"a=1&b=%FF"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x.tar.gz\"\r\n\r\nx"),
        ("multipart/form-data; boundary=", b"--\r\n\r\n"),
    ];
    for (method, route) in ROUTES {
        // They end the session that the rest needs.
        if route.starts_with("/auth/logout") {
            continue;
        }
        let path = house.path(route);
        for (kind, body) in bodies {
            let request = house.ada.request(method.parse().unwrap(), &path).header("content-type", kind);
            house.send(request.body(body.to_vec())).await;
        }
    }
    house.ends(300).await;
}

#[tokio::test]
async fn every_route_survives_odd_headers() {
    let mut house = House::open().await;
    let bytes = |text: &[u8]| HeaderValue::from_bytes(text).unwrap();
    let headers = [
        ("authorization", bytes(b"Bearer \xff\xfe")),
        ("authorization", bytes(b"Bearer ")),
        ("authorization", bytes(b"Basic YTpi")),
        ("authorization", bytes(&[b"Bearer ".to_vec(), vec![b'x'; 8_000]].concat())),
        ("content-type", bytes(b"\xff/\xfe")),
        ("content-type", bytes(b"application/json; charset=\"")),
        ("content-encoding", bytes(b"gzip, gzip")),
        ("content-encoding", bytes(b"\xff")),
        ("x-te-client", bytes(b"type=qgis_plugin; os=\xd0\x9b\xff")),
        ("x-te-script-version", bytes(b"\xff")),
        ("x-te-script-version", bytes(b"1e9")),
        ("last-event-id", bytes(b"\xff")),
        ("accept", bytes(b"text/html, */*;q=0")),
        ("accept-encoding", bytes(b"\xff, gzip;q=x")),
        ("origin", bytes(b"null")),
        ("if-none-match", bytes(b"\xff")),
        ("range", bytes(b"bytes=5-1")),
        ("x-request-id", bytes(&[b'x'; 5_000])),
        ("x-http-method-override", bytes(b"DELETE")),
    ];
    for (method, route) in ROUTES {
        if route.starts_with("/auth/logout") {
            continue;
        }
        let path = house.path(route);
        for (name, value) in &headers {
            let mut request = house.ada.request(method.parse().unwrap(), &path).body("{}");
            if *name == "authorization" {
                request = house.ada.with_token(None).request(method.parse().unwrap(), &path).body("{}");
            }
            house.send(request.header(*name, value)).await;
        }
    }
    house.ends(300).await;
}

#[tokio::test]
async fn every_route_survives_odd_paths_and_queries() {
    let mut house = House::open().await;
    let words = [
        NOBODY,
        "x",
        "0",
        "null",
        "%00",
        "%ff%fe",
        "%2e%2e%2f%2e%2e",
        "..%5c..",
        "'%20OR%201=1--",
        "%F0%9F%8C%8D",
        "%D0%9B",
        "a%2Fb",
        "{}",
        "%25s",
        "urn:uuid:00000000-0000-4000-8000-000000000000",
        "user",
        "export",
    ];
    let long = "x".repeat(3_000);
    for (method, route) in ROUTES {
        if !route.contains('{') {
            continue;
        }
        for word in words.into_iter().chain([long.as_str()]) {
            let path = route.replace("{s}", word).replace("{e}", word);
            let request = house.ada.request(method.parse().unwrap(), &path).json(&json!({"progress": 1}));
            let (status, _) = house.send(request).await;
            assert!(
                (400..500).contains(&status) || path.starts_with("/api/v1/execution/user"),
                "{method} {path}: {status}"
            );
        }
    }
    let queries = [
        "page=-1&per_page=-1",
        "page=x&per_page=%00",
        "page=1e9&per_page=0x10",
        "page=9223372036854775807&per_page=9223372036854775807",
        "include=%00,logs,,,%ff&exclude=%00",
        "status=%00",
        "status=RUNNING%27",
        "updated_at=%00",
        "updated_at=9999-99-99",
        "updated_at=-262144-01-01",
        "updated_at=%2B262142-12-31",
        "updated_at=0000-00-00T00:00:00",
        "updated_at=0001-01-01",
        "script_id=%00&user_id=%ff",
        "start=0001-01-01T00:00:00-23:59",
        "start=9999-12-31T23:59:59.999999999-23:59",
        "start=%2B262142-12-31T23:59:59",
        "last-id=-9223372036854775808",
        "last-id=9223372036854775807",
        "last-id=9223372036854775808",
        "&&&===&%&%zz=1",
        "filter=((((&sort=%00",
        "a[]=1&a[b]=2&__proto__=x",
    ];
    for (method, route) in ROUTES {
        if method != "GET" && !route.ends_with("/run") {
            continue;
        }
        for query in queries {
            let path = format!("{}?{query}", house.path(route));
            let request = house.ada.request(method.parse().unwrap(), &path);
            house.send(request).await;
        }
    }
    for path in [
        "//",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v2/script",
        "/%00",
        "/%ff",
        "/auth/",
        "/auth//",
        "//auth",
        "/api/v1//script",
        "/favicon.ico",
        "/.env",
        "/api/v1/script/x/y/z",
        "/api/v1/execution/x/y/z",
    ] {
        for method in [Method::GET, Method::POST] {
            let request = house.ada.request(method, path);
            let (status, _) = house.send(request).await;
            assert!((200..500).contains(&status), "{path}");
        }
    }
    house.ends(400).await;
}

#[tokio::test]
async fn what_is_not_http_at_all_is_answered_or_closed_and_the_server_lives() {
    use std::io::{Read, Write};
    let house = House::open().await;
    let address = house.server.base.trim_start_matches("http://").to_owned();
    let host = "Host: x\r\nConnection: close\r\n";
    let lines: Vec<Vec<u8>> = vec![
        b"\r\n\r\n".to_vec(),
        b"hello\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        format!("GET /{} HTTP/1.1\r\n{host}\r\n", "x".repeat(100_000)).into_bytes(),
        format!("GET / HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(500)).into_bytes(),
        format!("GET /api-health HTTP/1.1\r\n{host}X: {}\r\n\r\n", "y".repeat(1_000_000)).into_bytes(),
        format!("POST /auth HTTP/1.1\r\n{host}Content-Length: -5\r\n\r\n{{}}").into_bytes(),
        format!("POST /auth HTTP/1.1\r\n{host}Content-Length: 99999999999999999999\r\n\r\n{{}}").into_bytes(),
        format!("POST /auth HTTP/1.1\r\n{host}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}").into_bytes(),
        format!(
            "POST /auth HTTP/1.1\r\n{host}Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\nzz\r\n"
        )
        .into_bytes(),
        format!("POST /auth HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{{")
            .into_bytes(),
    ];
    tokio::task::spawn_blocking(move || {
        for line in lines {
            let mut stream = std::net::TcpStream::connect(&address).unwrap();
            // The server may close before it has read all.
            let _ = stream.write_all(&line);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let text = String::from_utf8_lossy(&answer);
            assert!(!text.starts_with("HTTP/1.1 5") && !text.contains("<html"), "{text}");
        }
    })
    .await
    .unwrap();
    house.ends(0).await;
}
