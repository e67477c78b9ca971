//! `POST /auth/refresh`.

use serde_json::{Value, json};

use super::sign_in::refusal;
use crate::support::{Client, Server};

async fn session(user: &Client) -> Value {
    user.post("/auth", &json!({"email": user.email, "password": user.password})).await.expect(200)
}

#[tokio::test]
async fn a_refresh_token_can_be_used_again_and_again() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let session = session(&user).await;
    let refresh = json!({"refresh_token": session["refresh_token"]});
    for query in ["", "?legacy=false", "?rotate=false", "?rotate="] {
        let next = server.anonymous().post(&format!("/auth/refresh{query}"), &refresh).await.expect(200);
        assert_eq!(next["refresh_token"], session["refresh_token"], "{query}");
        assert_eq!((&next["expires_in"], &next["user_id"]), (&json!(3_600), &session["user_id"]));
        assert_ne!(next["access_token"], session["access_token"]);
        let caller = user.with_token(next["access_token"].as_str().map(str::to_owned));
        caller.get("/api/v1/user/me").await.expect(200);
    }
}

#[tokio::test]
async fn rotation_gives_a_new_refresh_token_and_ends_the_old_one() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let anonymous = server.anonymous();
    let mut token = session(&user).await["refresh_token"].take();
    for query in ["?rotate=true", "?rotate=1", "?rotate=YES&legacy=false"] {
        let path = format!("/auth/refresh{query}");
        let next = anonymous.post(&path, &json!({"refresh_token": token})).await.expect(200)["refresh_token"].take();
        assert_ne!(next, token);
        let old = anonymous.post("/auth/refresh", &json!({"refresh_token": token})).await;
        assert_eq!(old.expect(401), refusal(401, "Invalid or expired refresh token"));
        token = next;
    }
    anonymous.post("/auth/refresh", &json!({"refresh_token": token})).await.expect(200);
}

#[tokio::test]
async fn of_two_rotations_of_one_token_at_one_time_only_one_succeeds() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let anonymous = server.anonymous();
    let body = json!({"refresh_token": session(&user).await["refresh_token"]});
    let tries = (0..8).map(|_| anonymous.post("/auth/refresh?rotate=true", &body));
    let answers = futures::future::join_all(tries).await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(won, 1, "{:?}", answers.iter().map(|answer| answer.status).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_unknown_an_expired_and_an_ended_refresh_token_are_refused_alike() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let anonymous = server.anonymous();
    let (expired, ended) = (session(&user).await, session(&user).await);
    let token = |session: &Value| session["refresh_token"].as_str().unwrap().to_owned();
    let digest = trends_earth::auth::tokens::digest;
    let [a, b] = [digest(&token(&expired)), digest(&token(&ended))];
    server
        .execute(&format!("UPDATE refresh_tokens SET expires_at = '2020-01-01T00:00:00.000000' WHERE token = '{a}'"))
        .await;
    server.execute(&format!("UPDATE refresh_tokens SET is_revoked = TRUE WHERE token = '{b}'")).await;
    for token in [token(&expired), token(&ended), "x".repeat(43), "\u{0}".to_owned(), a] {
        for path in ["/auth/refresh", "/auth/refresh?rotate=true"] {
            let answer = anonymous.post(path, &json!({"refresh_token": token})).await;
            assert_eq!(answer.expect(401), refusal(401, "Invalid or expired refresh token"), "{token}");
        }
    }
}

#[tokio::test]
async fn a_missing_refresh_token_is_asked_for() {
    let server = Server::api_only().await;
    for body in [json!({}), json!(null), json!({"refresh_token": ""}), json!({"refresh_token": 5}), json!([])] {
        let answer = server.anonymous().post("/auth/refresh", &body).await;
        assert_eq!(answer.expect(400), refusal(400, "Refresh token is required"), "{body}");
    }
}

#[tokio::test]
async fn refresh_tokens_are_not_stored_in_clear_and_those_of_the_existing_server_work() {
    let server = Server::api_only().await;
    let user = server.user("ada").await;
    let session = session(&user).await;
    let token = session["refresh_token"].as_str().unwrap();
    assert_eq!(server.rows(&format!("refresh_tokens WHERE token = '{token}'")).await, 0);
    let digest = trends_earth::auth::tokens::digest(token);
    let theirs = "T".repeat(43);
    server.execute(&format!("UPDATE refresh_tokens SET token = '{theirs}' WHERE token = '{digest}'")).await;
    let next = server.anonymous().post("/auth/refresh", &json!({"refresh_token": theirs})).await.expect(200);
    assert_eq!(next["refresh_token"], theirs);
}
