//! Accounts, sessions, passwords, links and service clients.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::{PASSWORD, They, is_filled_like, taken_over, werkzeug};
use crate::support::{Answer, Server, token};

const ADA: &str = "email = 'user1@example.com'";
const ADA_ID: &str = "00000000-0000-4000-8000-000000000003";

async fn sign_in(server: &Server, email: &str, password: &str) -> Answer {
    server.anonymous().post("/auth", &json!({"email": email, "password": password})).await
}

async fn refresh(server: &Server, query: &str, token: &str) -> Answer {
    server.anonymous().post(&format!("/auth/refresh{query}"), &json!({"refresh_token": token})).await
}

/// Signs in; access and refresh token.
async fn session(server: &Server, password: &str) -> (String, String) {
    let session = sign_in(server, "user1@example.com", password).await.expect(200);
    let token = |name: &str| session[name].as_str().unwrap().to_owned();
    (token("access_token"), token("refresh_token"))
}

#[tokio::test]
async fn a_session_of_one_server_goes_on_and_ends_on_the_other() {
    let Some(options) = taken_over("a_session_of_one_server_goes_on_and_ends_on_the_other") else { return };
    let server = Server::with(options.without_worker()).await;
    let they = They::on(&server);
    let before = they.one(&format!("SELECT * FROM \"user\" WHERE {ADA}")).await;
    let (access, mine) = session(&server, PASSWORD).await;
    let mut after = they.one(&format!("SELECT * FROM \"user\" WHERE {ADA}")).await;
    for seen in ["last_login_at", "last_activity_at"] {
        assert!(after[seen].is_string());
        after[seen] = before[seen].clone();
    }
    assert_eq!(after, before, "they see the sign-in, and nothing else of it: no hash is upgraded");

    // Our token is signed and filled as theirs are; theirs opens the door here.
    let key = DecodingKey::from_secret(token::SECRET.as_bytes());
    let claims = jsonwebtoken::decode::<Value>(&access, &key, &Validation::new(Algorithm::HS256)).unwrap().claims;
    let mut names: Vec<&String> = claims.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["csrf", "exp", "fresh", "iat", "jti", "nbf", "sub", "type"]);
    assert_eq!((&claims["sub"], &claims["type"], &claims["fresh"]), (&json!(ADA_ID), &json!("access"), &json!(false)));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3_600);
    let mut theirs = claims.clone();
    theirs["jti"] = json!("6e1bb34b-4ddd-4f2f-bd5b-d78a0df93b3f");
    let caller = server.anonymous().with_token(token::sign(&theirs, token::SECRET));
    assert_eq!(caller.get("/api/v1/user/me").await.data(200)["id"], ADA_ID);

    // They look our refresh token up by itself, and end it; we go on with theirs, turn it, and end it.
    let living = |token: &str| {
        format!(
            "SELECT user_id, device_info, expires_at - created_at = interval '30 days' AS month FROM refresh_tokens
             WHERE token = '{token}' AND NOT is_revoked AND expires_at > now() AT TIME ZONE 'UTC'"
        )
    };
    assert_eq!(mine.len(), 43);
    let row = they.one(&living(&mine)).await;
    assert_eq!((&row["user_id"], &row["month"]), (&json!(ADA_ID), &json!(true)));
    assert!(row["device_info"].as_str().unwrap().starts_with("IP: 127.0.0.1 | UA: "), "{row}");
    refresh(&server, "", &mine).await.expect(200);
    they.run(&format!("UPDATE refresh_tokens SET is_revoked = true WHERE token = '{mine}'")).await;
    refresh(&server, "", &mine).await.expect(401);
    let theirs = "Z1hbcX0ypnDb8ZcUMlqVb3cVgDrCSg-8cQwVw3ZkD7s";
    they.run(&format!(
        "INSERT INTO refresh_tokens (id, user_id, token, expires_at, created_at, is_revoked, device_info, last_used_at)
         VALUES (gen_random_uuid(), '{ADA_ID}', '{theirs}', now() AT TIME ZONE 'UTC' + interval '30 days',
             now() AT TIME ZONE 'UTC', false, 'IP: 10.0.0.7 | UA: QGIS', NULL)"
    ))
    .await;
    assert_eq!(refresh(&server, "?legacy=false", theirs).await.expect(200)["refresh_token"], theirs);
    let used = they.one(&format!("SELECT last_used_at FROM refresh_tokens WHERE token = '{theirs}'")).await;
    assert!(used["last_used_at"].is_string());
    let turned = refresh(&server, "?rotate=true", theirs).await.expect(200);
    let turned = turned["refresh_token"].as_str().unwrap();
    assert!(they.see(&living(theirs)).await.is_empty());
    assert_eq!(they.one(&living(turned)).await["device_info"], "IP: 10.0.0.7 | UA: QGIS");
    caller.post("/auth/logout", &json!({"refresh_token": turned})).await.expect(200);
    assert!(they.see(&living(turned)).await.is_empty());

    // Failures count and lock together.
    they.run(&format!("UPDATE \"user\" SET failed_login_count = 4 WHERE {ADA}")).await;
    let locked = sign_in(&server, "user1@example.com", "wrong").await.expect(401);
    assert_eq!(locked["error_code"], "account_locked");
    let row = they
        .one(&format!(
            "SELECT failed_login_count, abs(extract(epoch FROM locked_until - (now() AT TIME ZONE 'UTC')) - 900) < 60 AS locked
                 FROM \"user\" WHERE {ADA}"
        ))
        .await;
    assert_eq!(row, json!({"failed_login_count": 5, "locked": true}));
    assert_eq!(sign_in(&server, "user1@example.com", PASSWORD).await.expect(401)["error_code"], "account_locked");
    they.run(&format!("UPDATE \"user\" SET failed_login_count = 0, locked_until = NULL WHERE {ADA}")).await;
    sign_in(&server, "user1@example.com", PASSWORD).await.expect(200);
}

#[tokio::test]
async fn a_password_of_one_server_opens_the_other() {
    let Some(options) = taken_over("a_password_of_one_server_opens_the_other") else { return };
    let server = Server::with(options.without_worker()).await;
    let they = They::on(&server);
    let stored = async || {
        let row = they.one(&format!("SELECT password, updated_at FROM \"user\" WHERE {ADA}")).await;
        (row["password"].as_str().unwrap().to_owned(), row["updated_at"].clone())
    };
    let living = format!("SELECT id FROM refresh_tokens WHERE user_id = '{ADA_ID}' AND NOT is_revoked");
    let (_, updated_at) = stored().await;

    // Changed here, it fits there; changed there, it fits here.
    let (access, _) = session(&server, PASSWORD).await;
    let body = json!({"old_password": PASSWORD, "new_password": "Changed!Here#123"});
    server.anonymous().with_token(access).patch("/api/v1/user/me/change-password", &body).await.expect(200);
    let (hash, still) = stored().await;
    assert_eq!(werkzeug(&["fits", &hash, "Changed!Here#123"]), "fits");
    assert_eq!(still, updated_at);
    assert!(they.see(&living).await.is_empty());
    let theirs = async |password: &str| {
        let hash = werkzeug(&["hash", password]);
        they.run(&format!(
            "UPDATE \"user\" SET password = '{hash}', failed_login_count = 0, locked_until = NULL WHERE {ADA}"
        ))
        .await;
        hash
    };
    theirs("Changed!There#123").await;
    sign_in(&server, "user1@example.com", "Changed!Here#123").await.expect(401);
    sign_in(&server, "user1@example.com", "Changed!There#123").await.expect(200);

    // A link that was asked for here is used there, and the other way round.
    let recover = "/api/v1/user/user1@example.com/recover-password";
    server.anonymous().post_empty(recover).await.expect(200);
    let link = they
        .one(&format!(
            "SELECT token, expires_at - created_at = interval '1 hour' AS hour FROM password_reset_token
             WHERE user_id = '{ADA_ID}' AND used_at IS NULL AND expires_at > now() AT TIME ZONE 'UTC'"
        ))
        .await;
    let link_token = link["token"].as_str().unwrap();
    assert_eq!((link_token.len(), &link["hour"]), (64, &json!(true)));
    let mailed = format!("SELECT id FROM mail_outbox WHERE text LIKE '%token={link_token}%'");
    they.one(&mailed).await;
    they.run(&format!(
        "UPDATE password_reset_token SET used_at = now() AT TIME ZONE 'UTC' WHERE token = '{link_token}'"
    ))
    .await;
    let hash = theirs("Reset!There#1234").await;
    let reset = async |token: &str, password: &str| {
        server.anonymous().post("/api/v1/user/reset-password", &json!({"token": token, "password": password})).await
    };
    reset(link_token, "Reset!Twice#1234").await.refused(404, "Invalid or expired password reset token");
    assert_eq!(stored().await.0, hash);
    let (_, mine) = session(&server, "Reset!There#1234").await;
    let token = "q".repeat(64);
    they.run(&format!(
        "INSERT INTO password_reset_token (id, token, user_id, created_at, expires_at, used_at) VALUES (gen_random_uuid(), '{token}',
             '{ADA_ID}', now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC' + interval '1 hour', NULL)"
    ))
    .await;
    reset(&token, "Reset!Here#12345").await.expect(200);
    let used = they.one(&format!("SELECT used_at FROM password_reset_token WHERE token = '{token}'")).await;
    assert!(used["used_at"].is_string());
    assert_eq!(werkzeug(&["fits", &stored().await.0, "Reset!Here#12345"]), "fits");
    refresh(&server, "", &mine).await.expect(401);
    sign_in(&server, "user1@example.com", "Reset!Here#12345").await.expect(200);
}

#[tokio::test]
async fn accounts_and_clients_that_one_server_makes_work_on_the_other() {
    let Some(options) = taken_over("accounts_and_clients_that_one_server_makes_work_on_the_other") else { return };
    let server = Server::with(options.without_worker()).await;
    let they = They::on(&server);
    // Theirs, of an older day: another form of hash, capitals in the address.
    let hash = "pbkdf2:sha256:50000$abcdefgh$a7ee96439794fb8ed50cd9648281cc74ca0cdddd4fc26d67f2e2f479cda08594";
    they.run(&format!(
        "INSERT INTO \"user\" (id, email, password, created_at, updated_at, role, name, country, institution,
             google_groups_trends_earth_users, google_groups_trendsearth, email_notifications_enabled, email_verified,
             failed_login_count, email_subscription_news, email_subscription_engagement, email_subscription_system_updates)
         VALUES (gen_random_uuid(), 'Old.Hand@Example.com', '{hash}', now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC', 'USER',
             'Old Hand', '', '', false, false, true, false, 0, false, false, true)"
    ))
    .await;
    let old = server.sign_in("Old.Hand@Example.com", "ValidPass123!").await;
    assert_eq!(old.get("/api/v1/user/me").await.data(200)["name"], "Old Hand");
    let row = |email: &str| format!("SELECT * FROM \"user\" WHERE email = '{email}'");
    let theirs = they.one(&row("Old.Hand@Example.com")).await;
    assert_eq!(theirs["password"], hash);

    // Ours has whatever theirs has, in their words.
    let body = json!({"email": "New@Example.com", "name": "New", "country": "Peru", "institution": "I"});
    server.anonymous().post("/api/v1/user", &body).await.data(200);
    let mut theirs = theirs;
    // It has not signed in yet.
    (theirs["last_login_at"], theirs["last_activity_at"]) = (Value::Null, Value::Null);
    let ours = they.one(&row("new@example.com")).await;
    is_filled_like(&ours, &theirs);
    assert!(ours["password"].as_str().unwrap().starts_with("scrypt:32768:8:1$"));
    for column in [
        "role",
        "google_groups_trends_earth_users",
        "google_groups_trendsearth",
        "email_notifications_enabled",
        "email_verified",
        "failed_login_count",
        "locked_until",
    ] {
        assert_eq!(ours[column], theirs[column], "{column}");
    }

    // Service clients: theirs of today and of an older release, and ours.
    let token = async |id: &str, secret: &str| {
        let body = json!({"grant_type": "client_credentials", "client_id": id, "client_secret": secret});
        server.anonymous().post("/api/v1/oauth/token", &body).await.expect(200)["access_token"].clone()
    };
    let secret = "te_cs_1234";
    let hashes = [werkzeug(&["hash", secret]), trends_earth::auth::tokens::digest(secret)];
    for (n, hash) in hashes.iter().enumerate() {
        they.run(&format!(
            "INSERT INTO service_client (id, name, client_id, client_secret_hash, secret_prefix, scopes, user_id, created_at, revoked)
             VALUES (gen_random_uuid(), 'theirs', 'te_cid_{n}', '{hash}', '1234', 'user:read', '{ADA_ID}', now() AT TIME ZONE 'UTC', false)"
        ))
        .await;
        let bearer = token(&format!("te_cid_{n}"), secret).await.as_str().unwrap().to_owned();
        let client = server.anonymous().with_token(bearer);
        assert_eq!(client.get("/api/v1/user/me").await.data(200)["id"], ADA_ID);
        client.get("/api/v1/execution/user").await.expect(403);
    }
    let made = old.post("/api/v1/oauth/clients", &json!({"name": "ours", "scopes": "user:read"})).await.data(201);
    let row = they
        .one(&format!("SELECT * FROM service_client WHERE client_id = '{}'", made["client_id"].as_str().unwrap()))
        .await;
    let secret = made["client_secret"].as_str().unwrap();
    assert_eq!(werkzeug(&["fits", row["client_secret_hash"].as_str().unwrap(), secret]), "fits");
    assert_eq!((&row["secret_prefix"], &row["scopes"]), (&json!(&secret[6..14]), &json!("user:read")));
    let claims = token::read(token(made["client_id"].as_str().unwrap(), secret).await.as_str().unwrap()).1;
    assert_eq!((&claims["grant_type"], &claims["scopes"]), (&json!("client_credentials"), &json!("user:read")));
}
