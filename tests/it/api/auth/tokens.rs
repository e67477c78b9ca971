//! What a token must be: every other one is 401 with the sentence that clients branch on.

use serde_json::{Value, json};
use trends_earth::store::Id;

use crate::support::{Answer, Server, token};

/// A route that asks for a token.
const PRIVATE: &str = "/api/v1/user/me";

#[track_caller]
fn is_401(answer: &Answer, detail: &str, error: &str) {
    let body = answer.expect(401);
    assert_eq!(body, json!({"status": 401, "detail": detail, "error": error}), "{}", answer.what);
}

#[track_caller]
fn is_invalid(answer: &Answer) {
    is_401(answer, "Invalid token", "invalid_token");
}

/// Claims of a good token of this user, with some of them changed; `null` takes one away.
fn claims(server: &Server, sub: &Value, changes: Value) -> Value {
    let now = server.app.clock.now().and_utc().timestamp();
    let mut claims = json!({"fresh": false, "iat": now, "nbf": now, "exp": now + 3_600, "jti": Id::random().to_string(),
        "type": "access", "csrf": Id::random().to_string(), "sub": sub});
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(key)),
            value => claims[key] = value.clone(),
        }
    }
    claims
}

#[tokio::test]
async fn a_private_route_asks_for_a_token() {
    let server = Server::api_only().await;
    let anonymous = server.anonymous();
    is_401(&anonymous.get(PRIVATE).await, "Authorization token required", "authorization_required");
    let token = server.user("ada").await.token.unwrap();
    for header in [
        format!("bearer {token}"),
        format!("Basic {token}"),
        format!("Token {token}"),
        format!("Bearer{token}"),
        token.clone(),
        format!("Bearer {token}, Bearer {token}"),
    ] {
        let request = anonymous.request(reqwest::Method::GET, PRIVATE).header("authorization", &header);
        is_401(&anonymous.send(request).await, "Authorization token required", "authorization_required");
    }
    for path in [format!("{PRIVATE}?token={token}"), format!("/api/v1/script?token={token}")] {
        is_401(&anonymous.get(&path).await, "Authorization token required", "authorization_required");
    }
}

#[tokio::test]
async fn the_one_bearer_item_of_the_header_counts_whatever_stands_around_it() {
    let server = Server::api_only().await;
    let anonymous = server.anonymous();
    let token = server.user("ada").await.token.unwrap();
    for header in [format!("Bearer   {token}"), format!("Basic x, Bearer {token}"), format!("Bearer {token} ")] {
        let request = anonymous.request(reqwest::Method::GET, PRIVATE).header("authorization", &header);
        anonymous.send(request).await.expect(200);
    }
}

#[tokio::test]
async fn what_is_no_token_of_this_installation_is_invalid() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let good = user.token.clone().unwrap();
    let (header, read) = token::read(&good);
    let (signed, _) = good.rsplit_once('.').unwrap();
    let with = |alg: &str| json!({"alg": alg, "typ": "JWT"});
    for bad in [
        "null".to_owned(),
        "undefined".to_owned(),
        "a.b.c".to_owned(),
        "..".to_owned(),
        format!("{signed}."),
        format!("{signed}.AAAA"),
        format!("{good}x"),
        token::sign(&read, "another secret, as long as the right one"),
        token::sign(&read, ""),
        token::unsigned(&with("none"), &read),
        token::unsigned(&with("None"), &read),
        token::unsigned(&header, &read),
        format!("{}{}", token::unsigned(&with("HS512"), &read), good.rsplit_once('.').unwrap().1),
        format!("{}{}", token::unsigned(&with("RS256"), &read), good.rsplit_once('.').unwrap().1),
        format!("{good} {good}"),
        "x".repeat(5_000),
        String::new(),
    ] {
        is_invalid(&user.with_token(bad).get(PRIVATE).await);
    }
}

#[tokio::test]
async fn a_token_of_the_existing_server_is_taken_and_one_with_wrong_claims_is_not() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let id = user.get(PRIVATE).await.data(200)["id"].clone();
    let now = server.app.clock.now().and_utc().timestamp();
    let signed = |changes: Value| user.with_token(token::sign(&claims(&server, &id, changes), token::SECRET));
    for changes in [json!({}), json!({"type": null}), json!({"csrf": null, "fresh": null, "nbf": null})] {
        signed(changes).get(PRIVATE).await.expect(200);
    }
    for changes in [
        json!({"jti": null}),
        json!({"jti": ""}),
        json!({"jti": 5}),
        json!({"exp": null}),
        json!({"exp": "tomorrow"}),
        json!({"iat": null}),
        json!({"sub": null}),
        json!({"sub": 5}),
        json!({"sub": "ada@example.org"}),
        json!({"type": "refresh"}),
        json!({"type": "run"}),
        json!({"nbf": now + 1_000}),
        json!({"iat": now + 1_000}),
        json!({"purpose": "unsubscribe"}),
    ] {
        let answer = signed(changes.clone()).get(PRIVATE).await;
        assert_eq!(answer.status, 401, "{changes}");
        is_invalid(&answer);
    }
}

#[tokio::test]
async fn an_expired_token_says_that_it_has_expired() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let id = user.get(PRIVATE).await.data(200)["id"].clone();
    let now = server.app.clock.now().and_utc().timestamp();
    for exp in [now - 1, now - 100_000, 0, -5] {
        let expired = token::sign(&claims(&server, &id, json!({"exp": exp, "iat": 0, "nbf": 0})), token::SECRET);
        is_401(&user.with_token(expired).get(PRIVATE).await, "Token has expired", "token_expired");
    }
}

#[tokio::test]
async fn a_good_token_of_nobody_names_whom_it_could_not_load() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let nobody = "00000000-0000-4000-8000-000000000000";
    let token = token::sign(&claims(&server, &json!(nobody), json!({})), token::SECRET);
    let body = user.with_token(token).get(PRIVATE).await.expect(401);
    assert_eq!(body["msg"], format!("Error loading the user {nobody}"));
    let id = user.get(PRIVATE).await.data(200)["id"].clone();
    server.execute("DELETE FROM refresh_tokens").await;
    server.execute("DELETE FROM \"user\" WHERE email = 'ada@example.org'").await;
    let body = user.get(PRIVATE).await.expect(401);
    assert_eq!(body["msg"], format!("Error loading the user {}", id.as_str().unwrap()));
}

#[tokio::test]
async fn the_role_is_the_account_s_and_not_the_token_s() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let script = "/api/v1/script/x";
    user.delete(script).await.refused(403, "Forbidden");
    let id = user.get(PRIVATE).await.data(200)["id"].clone();
    let boasting = token::sign(&claims(&server, &id, json!({"role": "SUPERADMIN"})), token::SECRET);
    user.with_token(boasting).delete(script).await.refused(403, "Forbidden");
    server.execute("UPDATE \"user\" SET role = 'ADMIN' WHERE email = 'ada@example.org'").await;
    user.delete(script).await.refused(404, "Script with id x does not exist");
}
