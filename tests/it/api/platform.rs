//! What every request passes, whichever route it asks for.

use reqwest::{Method, redirect::Policy};
use serde_json::json;

use crate::support::{Client, Options, Package, Server};

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
async fn head_is_answered_as_get_is_but_without_a_body() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let script = admin.publish(&Package::echo("Echo")).await["id"].as_str().unwrap().to_owned();
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let execution = admin.run("echo", &json!({})).await;
    let document = admin.get("/swagger.json").await.expect(200);
    let mut seen = 0;
    for (route, methods) in document["paths"].as_object().unwrap() {
        // A GET starts a run too, and a stream has no end here.
        if !methods.as_object().unwrap().contains_key("get") || route.ends_with("/run") || route.ends_with("/stream") {
            continue;
        }
        let path = route.replace("{script}", &script).replace("{execution}", &execution);
        let (get, head) = (admin.get(&path).await, admin.send(admin.request(Method::HEAD, &path)).await);
        assert_eq!((head.status, head.bytes.len()), (get.status, 0), "{path}");
        assert_eq!(head.headers.get("content-type"), get.headers.get("content-type"), "{path}");
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}

#[tokio::test]
async fn answers_are_packed_as_the_caller_likes_best_and_small_ones_not() {
    let server = Server::api_only().await;
    let caller = server.anonymous();
    let packed = async |path: &str, accepted: &str| {
        let answer = caller.send(caller.request(Method::GET, path).header("Accept-Encoding", accepted)).await;
        let vary = answer.headers.get_all("vary").iter().any(|vary| vary.to_str().unwrap().contains("accept-encoding"));
        assert!(vary || path == "/ping", "{path}");
        answer.headers.get("content-encoding").map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    };
    for (accepted, expected) in [
        ("gzip, deflate, br, zstd", "zstd"),
        ("deflate, gzip, br", "br"),
        ("deflate, gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip;q=1, zstd;q=0.5", "gzip"),
        ("compress", ""),
        ("", ""),
    ] {
        assert_eq!(packed("/swagger.json", accepted).await, expected, "{accepted}");
    }
    assert_eq!(packed("/ping", "gzip").await, "");
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
