//! `POST /auth`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Options, Server, gzip, token};

/// The body of a refused sign-in: each client reads another key.
pub fn refusal(status: u16, text: &str) -> Value {
    json!({"status": status, "detail": text, "msg": text, "message": text})
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn the_right_password_opens_a_session_whose_token_is_the_existing_server_s() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let me = user.get("/api/v1/user/me").await.data(200);
    let body = json!({"email": user.email, "password": user.password});
    let session = server.anonymous().post("/auth", &body).await.expect(200);
    assert_eq!(keys(&session), ["access_token", "expires_in", "refresh_token", "user_id"]);
    assert_eq!((&session["expires_in"], &session["user_id"]), (&json!(3_600), &me["id"]));
    assert_eq!(session["refresh_token"].as_str().unwrap().len(), 43);
    let (header, claims) = token::read(session["access_token"].as_str().unwrap());
    assert_eq!(header, json!({"alg": "HS256", "typ": "JWT"}));
    assert_eq!(keys(&claims), ["csrf", "exp", "fresh", "iat", "jti", "nbf", "sub", "type"]);
    assert_eq!((&claims["type"], &claims["fresh"], &claims["sub"]), (&json!("access"), &json!(false), &me["id"]));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3_600);
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_are_answered_alike() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let long = "x".repeat(60_000);
    for (email, password) in [
        (user.email.as_str(), "User!Passw0rd#13"),
        (user.email.as_str(), "user!passw0rd#12"),
        (user.email.as_str(), long.as_str()),
        ("nobody@example.org", user.password.as_str()),
        ("no address", "x"),
        ("ada@example.org\u{0}x", user.password.as_str()),
        ("' OR 1=1 --", "' OR 1=1 --"),
        ("execution-00000000-0000-4000-8000-000000000000", "x"),
    ] {
        let answer = server.anonymous().post("/auth", &json!({"email": email, "password": password})).await;
        assert_eq!(answer.expect(401), refusal(401, "Bad username or password"), "{email}");
    }
}

#[tokio::test]
async fn what_is_missing_empty_or_no_text_is_asked_for() {
    let server = Server::api_only().await;
    for body in [
        json!({}),
        json!(null),
        json!([]),
        json!({"email": "a@example.org"}),
        json!({"password": "x"}),
        json!({"email": "", "password": "x"}),
        json!({"email": "a@example.org", "password": ""}),
        json!({"email": null, "password": null}),
        json!({"email": 5, "password": "x"}),
        json!({"email": "a@example.org", "password": 12345678}),
        json!({"email": ["a@example.org"], "password": {"a": 1}}),
        json!({"email": true, "password": false}),
    ] {
        let answer = server.anonymous().post("/auth", &body).await;
        assert_eq!(answer.expect(400), refusal(400, "Email and password are required"), "{body}");
    }
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused_with_a_sentence() {
    let server = Server::api_only().await;
    let anonymous = server.anonymous();
    for body in [&b"{"[..], b"{\"email\": \"a\",}", b"email=a&password=b", b"\xff\xfe"] {
        let answer = anonymous.post_raw("/auth", "application/json", body.to_vec()).await.expect(400);
        assert_eq!(answer["error_code"], "invalid_json", "{body:?}");
        let detail = answer["detail"].as_str().unwrap();
        assert!(detail.starts_with("The body is not valid JSON: "), "{detail}");
    }
    for body in ["[1]", "5", "\"text\"", "true"] {
        let answer = anonymous.post_raw("/auth", "application/json", body).await;
        answer.refused(400, "The body must be a JSON object, for example {\"key\": \"value\"}");
    }
}

#[tokio::test]
async fn another_content_type_is_refused_and_json_in_any_spelling_is_taken() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let anonymous = server.anonymous();
    let body = json!({"email": user.email, "password": user.password}).to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "json"] {
        let answer = anonymous.post_raw("/auth", kind, body.clone()).await;
        answer.refused(415, "Send a JSON object, with the header Content-Type: application/json");
        assert_eq!(answer.json()["error_code"], "unsupported_media_type");
    }
    let bare = anonymous.send(anonymous.request(Method::POST, "/auth").body(body.clone())).await;
    bare.refused(415, "Send a JSON object, with the header Content-Type: application/json");
    anonymous
        .post_empty("/auth")
        .await
        .refused(415, "Send a JSON object, with the header Content-Type: application/json");
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"] {
        anonymous.post_raw("/auth", kind, body.clone()).await.expect(200);
    }
}

#[tokio::test]
async fn a_gzipped_body_is_read_and_one_that_is_only_called_so_too() {
    let server = Server::with(Options::default().without_worker().set("MAX_DECOMPRESSED_REQUEST_SIZE", 10_000)).await;
    let user = server.user("ada").await;
    let anonymous = server.anonymous();
    let send = |body: Vec<u8>| {
        let request = anonymous.request(Method::POST, "/auth");
        let request = request.header("content-type", "application/json").header("content-encoding", "gzip");
        anonymous.send(request.body(body))
    };
    let body = json!({"email": user.email, "password": user.password}).to_string().into_bytes();
    send(gzip(&body)).await.expect(200);
    send(body.clone()).await.expect(200);
    let padded = [body.as_slice(), &b" ".repeat(10_000)].concat();
    send(gzip(&padded)).await.refused(413, "Decompressed request body too large");
    let answer = send(gzip(&body)[..40].to_vec()).await;
    assert_eq!(answer.expect(400)["error_code"], "invalid_json");
}

#[tokio::test]
async fn a_bad_token_on_a_public_route_counts_as_none() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let body = json!({"email": user.email, "password": user.password});
    let old = token::sign(&json!({"sub": "x", "exp": 1}), token::SECRET);
    for bad in ["null", "undefined", "", "a.b.c", &old] {
        let caller = user.with_token(bad.to_owned());
        let session = caller.post("/auth", &body).await.expect(200);
        caller.post("/auth/refresh", &json!({"refresh_token": session["refresh_token"]})).await.expect(200);
        caller.get("/api-health").await.expect(200);
        caller.get("/ping").await.expect(200);
        caller.get("/swagger.json").await.expect(200);
    }
}

#[tokio::test]
async fn an_address_is_found_in_any_case_unless_two_accounts_could_be_meant() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let body = |email: &str| json!({"email": email, "password": user.password});
    let id = server.anonymous().post("/auth", &body("ADA@Example.ORG")).await.expect(200)["user_id"].take();
    assert_eq!(id, user.get("/api/v1/user/me").await.data(200)["id"]);
    // The existing server keeps addresses as they were typed in its early years.
    let other = server.user("grace").await;
    server.execute("UPDATE \"user\" SET email = 'Ada@example.org' WHERE email = 'grace@example.org'").await;
    let exact = server.anonymous().post("/auth", &body("Ada@example.org")).await.expect(200);
    assert_eq!(exact["user_id"], other.get("/api/v1/user/me").await.data(200)["id"]);
    let either = server.anonymous().post("/auth", &body("ADA@example.org")).await;
    assert_eq!(either.expect(401), refusal(401, "Bad username or password"));
}

#[tokio::test]
async fn a_sign_in_is_noted_in_the_profile() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let before = user.get("/api/v1/user/me").await.data(200);
    server.sign_in(&user.email, &user.password).await;
    let after = user.get("/api/v1/user/me").await.data(200);
    assert!(after["last_login_at"].as_str() > before["last_login_at"].as_str(), "{before}{after}");
    assert!(!after["last_login_at"].as_str().unwrap().ends_with('Z'), "times are naive");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_under_every_key_that_clients_read() {
    let server = Server::api_only().await;
    let caller = server.anonymous();
    for path in ["/auth", "/auth/refresh"] {
        for (kind, body, status, code) in [
            ("application/json", "{", 400, "invalid_json"),
            ("application/json", "[1]", 400, "invalid_json"),
            ("text/plain", "{}", 415, "unsupported_media_type"),
        ] {
            let said = caller.post_raw(path, kind, body).await.expect(status);
            assert!(said["detail"].is_string(), "{said}");
            assert_eq!((&said["msg"], &said["message"]), (&said["detail"], &said["detail"]));
            assert_eq!((&said["status"], &said["error_code"]), (&json!(status), &json!(code)));
        }
    }
}
