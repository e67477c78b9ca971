//! Web pages that call from elsewhere, and OPTIONS.

use reqwest::Method;

use crate::support::{Answer, Client, Options, Server};

const ORIGINS: &str = "https://ui.example.org, \"https://app.example.org\"";

async fn open() -> (Server, Client) {
    let server = Server::with(Options::default().without_worker().set("CORS_ORIGINS", ORIGINS)).await;
    let caller = server.anonymous();
    (server, caller)
}

fn told(answer: &Answer) -> Option<&str> {
    let vary =
        answer.headers.get_all("vary").iter().any(|vary| vary.to_str().unwrap().to_lowercase().contains("origin"));
    assert!(vary, "{}: {:?}", answer.what, answer.headers);
    answer.headers.get("access-control-allow-origin").map(|origin| origin.to_str().unwrap())
}

#[tokio::test]
async fn a_known_origin_is_named_an_unknown_one_is_not_and_none_is_the_first_of_the_settings() {
    let (_server, caller) = open().await;
    for (method, path) in
        [(Method::GET, "/ping"), (Method::OPTIONS, "/ping"), (Method::GET, "/nothing"), (Method::POST, "/auth")]
    {
        for (origin, expected) in [
            ("https://ui.example.org", Some("https://ui.example.org")),
            ("https://evil.example.org", None),
            ("null", None),
            ("", Some("https://app.example.org")),
        ] {
            let mut request = caller.request(method.clone(), path);
            if !origin.is_empty() {
                request = request.header("Origin", origin);
            }
            assert_eq!(told(&caller.send(request).await), expected, "{method} {path} {origin}");
        }
    }
}

#[tokio::test]
async fn a_browser_is_told_what_it_may_send() {
    let (_server, caller) = open().await;
    let request = caller.request(Method::OPTIONS, "/api/v1/script").header("Origin", "https://ui.example.org");
    let request = request.header("Access-Control-Request-Method", "POST");
    let answer = caller.send(request.header("Access-Control-Request-Headers", "authorization")).await;
    assert_eq!((answer.status, told(&answer)), (200, Some("https://ui.example.org")));
    let headers = answer.headers["access-control-allow-headers"].to_str().unwrap();
    assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
    assert!(answer.headers["access-control-allow-methods"].to_str().unwrap().contains("PATCH"));
    assert!(!answer.headers.contains_key("access-control-allow-credentials"));
}

#[tokio::test]
async fn options_names_the_methods_of_a_route_to_anybody() {
    let (_server, caller) = open().await;
    for (path, allowed) in [
        ("/auth", "OPTIONS, POST"),
        ("/ping", "GET, HEAD, OPTIONS"),
        ("/api/v1/script", "GET, HEAD, OPTIONS, POST"),
        ("/api/v1/script/", "GET, HEAD, OPTIONS, POST"),
        ("/api/v1/script/x", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("/swagger.json", "GET, HEAD, OPTIONS"),
    ] {
        let answer = caller.send(caller.request(Method::OPTIONS, path)).await;
        assert_eq!((answer.status, answer.bytes.len()), (200, 0), "{path}");
        assert_eq!(answer.headers["allow"], allowed, "{path}");
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/html"), "{path}");
    }
    for path in ["/nothing", "/auth/", "/api/v1/nothing"] {
        caller.send(caller.request(Method::OPTIONS, path)).await.refused(404, "Not Found");
    }
}
