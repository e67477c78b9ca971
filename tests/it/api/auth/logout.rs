//! `POST /auth/logout` and `/auth/logout-all`.

use serde_json::{Value, json};

use crate::support::{Answer, Client, Server};

#[track_caller]
fn is_revoked(answer: &Answer) {
    assert_eq!(
        answer.expect(401),
        json!({"status": 401, "detail": "Token has been revoked", "error": "token_revoked"}),
        "{}",
        answer.what
    );
}

async fn session(user: &Client) -> (Client, Value) {
    let session = user.post("/auth", &json!({"email": user.email, "password": user.password})).await.expect(200);
    (user.with_token(session["access_token"].as_str().map(str::to_owned)), session["refresh_token"].clone())
}

#[tokio::test]
async fn a_logout_needs_no_body_and_ends_this_access_token_alone() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let (other, refresh) = session(&user).await;
    let answer = user.post_empty("/auth/logout").await;
    assert_eq!(answer.expect(200), json!({"msg": "Successfully logged out"}));
    is_revoked(&user.get("/api/v1/user/me").await);
    is_revoked(&user.post_empty("/auth/logout").await);
    other.get("/api/v1/user/me").await.expect(200);
    server.anonymous().post("/auth/refresh", &json!({"refresh_token": refresh})).await.expect(200);
}

#[tokio::test]
async fn a_logout_ends_the_refresh_token_that_it_names() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let (caller, refresh) = session(&user).await;
    let body = json!({"refresh_token": refresh});
    let answer = caller.post("/auth/logout", &body).await;
    assert_eq!(answer.expect(200), json!({"msg": "Successfully logged out"}));
    is_revoked(&caller.get("/api/v1/user/me").await);
    server.anonymous().post("/auth/refresh", &body).await.expect(401);
}

#[tokio::test]
async fn a_logout_does_not_end_somebody_else_s_refresh_token() {
    let server = Server::api_only().await;
    let (ada, grace) = (server.user("ada").await, server.user("grace").await);
    let (_, refresh) = session(&grace).await;
    ada.post("/auth/logout", &json!({"refresh_token": refresh})).await.expect(200);
    server.anonymous().post("/auth/refresh", &json!({"refresh_token": refresh})).await.expect(200);
}

#[tokio::test]
async fn whatever_the_body_is_a_logout_succeeds() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    for (kind, body) in [
        ("application/json", "{"),
        ("application/json", ""),
        ("application/json", "[1]"),
        ("application/json", "null"),
        ("application/json", r#"{"refresh_token": 5}"#),
        ("application/json", r#"{"refresh_token": "unknown"}"#),
        ("application/json", r#"{"refresh_token": null}"#),
        ("text/plain", "bye"),
        ("application/x-www-form-urlencoded", "refresh_token=x"),
    ] {
        let (caller, _) = session(&user).await;
        let answer = caller.post_raw("/auth/logout", kind, body).await;
        assert_eq!(answer.expect(200), json!({"msg": "Successfully logged out"}), "{kind} {body}");
        is_revoked(&caller.get("/api/v1/user/me").await);
    }
}

#[tokio::test]
async fn logging_out_everywhere_ends_access_tokens_too_and_a_new_sign_in_works_at_once() {
    let server = Server::api_only().await;
    let (user, stranger) = (server.user("ada").await, server.user("grace").await);
    let (second, refresh) = session(&user).await;
    let answer = second.post_empty("/auth/logout-all").await;
    assert_eq!(answer.expect(200), json!({"msg": "Successfully logged out from 2 devices"}));
    is_revoked(&user.get("/api/v1/user/me").await);
    is_revoked(&second.get("/api/v1/user/me").await);
    is_revoked(&second.post_empty("/auth/logout-all").await);
    server.anonymous().post("/auth/refresh", &json!({"refresh_token": refresh})).await.expect(401);
    stranger.get("/api/v1/user/me").await.expect(200);
    let (again, refresh) = session(&user).await;
    again.get("/api/v1/user/me").await.expect(200);
    server.anonymous().post("/auth/refresh", &json!({"refresh_token": refresh})).await.expect(200);
}

#[tokio::test]
async fn logging_out_everywhere_counts_only_sessions_that_lived() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let (second, refresh) = session(&user).await;
    second.post("/auth/logout", &json!({"refresh_token": refresh})).await.expect(200);
    let answer = user.post_empty("/auth/logout-all").await;
    assert_eq!(answer.expect(200), json!({"msg": "Successfully logged out from 1 devices"}));
}
