//! Failed sign-ins: known and unknown addresses fail and lock alike.

use serde_json::{Value, json};

use super::sign_in::refusal;
use crate::support::{Options, Server};

async fn attempt(server: &Server, email: &str, password: &str) -> Value {
    server.anonymous().post("/auth", &json!({"email": email, "password": password})).await.expect(401)
}

fn locked(message: &str, minutes: Option<i64>) -> Value {
    json!({"error_code": "account_locked", "message": message, "minutes_remaining": minutes, "requires_password_reset": minutes.is_none()})
}

const BAD: &str = "Bad username or password";

#[tokio::test]
async fn an_account_locks_in_steps_and_an_address_that_nobody_has_does_too() {
    let server = Server::api_only().await;
    let ada = server.user("ada").await;
    let known = async |n: i32| {
        server
            .execute(&format!("UPDATE \"user\" SET failed_login_count = {n}, locked_until = NULL WHERE name = 'ada'"))
            .await;
        server.execute(&format!("UPDATE unknown_login SET failed_count = {n}, locked_until = NULL")).await;
    };
    for email in ["ada@example.org", "nobody@example.org"] {
        for _ in 0..4 {
            assert_eq!(attempt(&server, email, "wrong").await, refusal(401, BAD));
        }
        let now =
            "Your account has been temporarily locked after 5 failed login attempts. Please try again in 15 minute(s).";
        assert_eq!(attempt(&server, email, "wrong").await, locked(now, Some(15)));
        let still = "Your account is temporarily locked. Please try again in 14 minute(s).";
        assert_eq!(attempt(&server, email, &ada.password).await, locked(still, Some(14)));
    }
    // Once a lock has passed the next failure locks again at once.
    known(9).await;
    for email in ["ADA@example.org", "NOBODY@example.org"] {
        let now = "Your account has been temporarily locked after 10 failed login attempts. Please try again in 60 minute(s).";
        assert_eq!(attempt(&server, email, "wrong").await, locked(now, Some(60)));
    }
    known(19).await;
    for email in ["ada@example.org", "nobody@example.org"] {
        let now =
            "Your account has been locked due to too many failed login attempts. Please reset your password to unlock.";
        assert_eq!(attempt(&server, email, "wrong").await, locked(now, None));
        let still = "Your account is locked due to too many failed login attempts. Please reset your password to regain access.";
        assert_eq!(attempt(&server, email, "wrong").await, locked(still, None));
    }
    // A session that is open is nobody else's to end; a new password opens the account again.
    ada.get("/api/v1/user/me").await.expect(200);
    let body = json!({"new_password": "An0ther!Passw0rd"});
    server.admin().await.patch("/api/v1/user/ada@example.org/change-password", &body).await.data(200);
    server.sign_in("ada@example.org", "An0ther!Passw0rd").await;
}

#[tokio::test]
async fn failures_at_one_time_are_all_counted_and_success_forgets_them() {
    let server = Server::api_only().await;
    let ada = server.user("ada").await;
    let attempts = (0..4).map(|_| attempt(&server, "ada@example.org", "wrong"));
    futures::future::join_all(attempts).await;
    let count = server.rows("\"user\" WHERE failed_login_count = 4").await;
    assert_eq!(count, 1);
    server.sign_in(&ada.email, &ada.password).await;
    assert_eq!(server.rows("\"user\" WHERE failed_login_count = 0").await, 2);
}

#[tokio::test]
async fn the_account_of_the_containers_never_locks() {
    let server = Server::with(Options::default().without_worker().set("API_ENVIRONMENT_USER", "gef@example.org")).await;
    let gef = server.user("gef").await;
    let attempts = (0..25).map(|_| attempt(&server, "gef@example.org", "wrong"));
    for answer in futures::future::join_all(attempts).await {
        assert_eq!(answer, refusal(401, BAD));
    }
    server.sign_in(&gef.email, &gef.password).await;
}

#[tokio::test]
async fn beside_the_existing_server_new_hashes_are_those_that_it_reads_and_later_they_are_renewed() {
    let options = Options::default().without_worker().set("TE_COEXIST", "on");
    let server = Server::with(options).await;
    let ada = server.user("ada").await;
    let like = async |server: &Server, pattern: &str| {
        server.rows(&format!("\"user\" WHERE name = 'ada' AND password LIKE '{pattern}'")).await
    };
    assert_eq!(like(&server, "scrypt:32768:8:1$%").await, 1);
    // The other server finds refresh tokens as they are.
    let session = ada.post("/auth", &json!({"email": ada.email, "password": ada.password})).await.expect(200);
    let token = session["refresh_token"].as_str().unwrap();
    assert_eq!(server.rows(&format!("refresh_tokens WHERE token = '{token}'")).await, 1);

    let alone = Server::api_only().await;
    alone.user("ada").await;
    let werkzeug = "pbkdf2:sha256:50000$abcdefgh$a7ee96439794fb8ed50cd9648281cc74ca0cdddd4fc26d67f2e2f479cda08594";
    alone.execute(&format!("UPDATE \"user\" SET password = '{werkzeug}' WHERE name = 'ada'")).await;
    attempt(&alone, "ada@example.org", "wrong").await;
    assert_eq!(like(&alone, "pbkdf2:%").await, 1);
    alone.sign_in("ada@example.org", "ValidPass123!").await;
    assert_eq!(like(&alone, "$argon2id$%").await, 1);
    alone.sign_in("ada@example.org", "ValidPass123!").await;
}
