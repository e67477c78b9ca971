//! P6, P7 and P10 to P13: tokens, rows, sign-in, rights, text from outside, and the audit trail.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trends_earth::store::users::Role;

use crate::support::{Client, Options, Package, Server, token};

/// P6
#[tokio::test]
async fn a_token_of_one_kind_opens_no_other_door() {
    let server = Server::api_only().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let id = ada.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    admin.publish(&Package::echo("echo")).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let run = admin.run("echo", &json!({})).await;
    server.lend(&run, 1, "secret").await;
    let of_run = server.sign_in_as_run(&run, "secret").await.unwrap().token.unwrap();
    let now = server.app.clock.now();
    let unsubscribe =
        server.app.tokens.issue_unsubscribe(trends_earth::store::Id::parse(&id).unwrap(), 1, now).unwrap();
    let session = ada.post("/auth", &json!({"email": ada.email, "password": ada.password})).await.expect(200);
    let refresh = session["refresh_token"].as_str().unwrap().to_owned();
    let at = now.and_utc().timestamp();
    let sign = |claims: Value| token::sign(&claims, token::SECRET);
    let claims = |more: Value| {
        let mut claims = json!({"sub": id, "iat": at, "nbf": at, "exp": at + 600, "jti": "x", "type": "access"});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        claims
    };
    server.anonymous().with_token(sign(claims(json!({})))).get("/api/v1/user/me").await.expect(200);
    for bad in [
        of_run.clone(),
        unsubscribe,
        refresh,
        "secret".into(),
        sign(claims(json!({"type": "refresh"}))),
        sign(claims(json!({"purpose": "unsubscribe"}))),
        sign(claims(json!({"jti": ""}))),
        sign(claims(json!({"exp": at - 1}))),
        sign(claims(json!({"iat": at + 600}))),
        sign(claims(json!({"sub": "not a uuid"}))),
        token::sign(&claims(json!({})), "another key of at least thirty-two letters"),
        token::unsigned(&json!({"alg": "none", "typ": "JWT"}), &claims(json!({}))),
    ] {
        server.anonymous().with_token(bad.clone()).get("/api/v1/user/me").await.expect(401);
        server.anonymous().get(&format!("/api/v1/user/me?token={bad}")).await.expect(401);
    }
    // The token of an account speaks for no run, and a page of mails is not opened by it.
    let link = server.anonymous().get(&format!("/api/v1/unsubscribe?token={}", ada.token.clone().unwrap())).await;
    link.refused(400, "Invalid token purpose.");
    // Revoked means dead at once.
    ada.post("/auth/logout", &json!({})).await.expect(200);
    ada.get("/api/v1/user/me").await.refused(401, "Token has been revoked");
}

/// P7
#[tokio::test]
async fn every_way_to_a_row_asks_the_same_question() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    admin.publish(&Package::echo("hidden")).await;
    admin.publish(&Package::echo("open")).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    server.execute("UPDATE script SET public = TRUE WHERE slug = 'open'").await;
    let of_ada = ada.run("open", &json!({"secret": "of ada"})).await;
    bob.run("open", &json!({"own": "of bob"})).await;
    for path in ["", "/log", "/download", "/run"] {
        bob.get(&format!("/api/v1/script/hidden{path}")).await.expect(404);
    }
    bob.post("/api/v1/script/hidden/run", &json!({})).await.expect(404);
    for path in ["", "?include=user,script,logs", "/log", "/log/stream", "/history", "/download-results"] {
        bob.get(&format!("/api/v1/execution/{of_ada}{path}")).await.expect(404);
    }
    bob.post(&format!("/api/v1/execution/{of_ada}/cancel"), &json!({})).await.expect(404);
    // Lists, includes and exports: neither rows nor words of others.
    for path in [
        "/api/v1/execution",
        "/api/v1/execution?include=user,script,logs&user_id=x&per_page=100",
        "/api/v1/execution/user?include=user,script",
        "/api/v1/script?include=executions,user,user_name,user_email,access_control,logs",
        "/api/v1/script/open?include=executions,user",
        "/api/v1/user/me/export",
    ] {
        let answer = bob.get(path).await;
        let text = String::from_utf8(answer.bytes).unwrap();
        assert_eq!(answer.status, 200, "{path}");
        for secret in ["of ada", "ada@example.org", "admin@example.org", &of_ada, "\"slug\":\"hidden\""] {
            assert!(!text.contains(secret), "{path} shows {secret}: {text}");
        }
    }
    assert_eq!(
        admin.get(&format!("/api/v1/execution/{of_ada}")).await.data(200)["params"],
        json!({"secret": "of ada"})
    );
}

/// P10
#[tokio::test]
async fn known_and_unknown_accounts_look_the_same() {
    let server = Server::api_only().await;
    server.user("ada").await;
    let (mut bodies, mut slowest, mut fastest) = (Vec::new(), Duration::ZERO, Duration::MAX);
    for email in ["ada@example.org", "nobody@example.org"] {
        let mut said = Vec::new();
        for _ in 0..6 {
            let begun = Instant::now();
            let answer = server.anonymous().post("/auth", &json!({"email": email, "password": "wrong"})).await;
            let took = begun.elapsed();
            (slowest, fastest) = (slowest.max(took), fastest.min(took));
            said.push(answer.expect(401));
        }
        let recover = server.anonymous().post(&format!("/api/v1/user/{email}/recover-password"), &json!({})).await;
        said.push(recover.expect(200));
        bodies.push(said);
    }
    assert_eq!(bodies[0], bodies[1]);
    // Every failure waits for one moment after its start, whatever was wrong.
    assert!(fastest >= Duration::from_millis(400), "{fastest:?} to {slowest:?}");
}

/// P11
#[tokio::test]
async fn no_address_and_no_setting_grants_rights() {
    let server = Server::with(Options::default().without_worker().set("API_ENVIRONMENT_USER", "gef@example.org")).await;
    let gef = server.user("gef").await;
    gef.get("/api/v1/user").await.refused(403, "Forbidden");
    gef.patch("/api/v1/user/gef@example.org", &json!({"role": "SUPERADMIN"})).await.refused(403, "Forbidden");
    gef.patch("/api/v1/user/me", &json!({"role": "SUPERADMIN", "name": "gef"})).await.data(200);
    for email in ["gef@example.org", "GEF@Example.org", "gef@gef.com "] {
        let made =
            server.anonymous().post("/api/v1/user", &json!({"email": email, "name": "x", "role": "SUPERADMIN"})).await;
        assert!(made.status == 400 || made.data(200)["role"] == "USER", "{email}");
    }
    assert_eq!(gef.get("/api/v1/user/me").await.data(200)["role"], "USER");
    // The first administrator was made by the settings on purpose, once: later ones change nothing.
    assert_eq!(server.rows("\"user\" WHERE role = 'SUPERADMIN'").await, 1);
}

/// P12
#[tokio::test]
async fn outside_text_is_never_code() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let nasty = "=cmd|' /C calc'!A1 '; DROP TABLE x; -- \r\nX: y";
    let filter: String = url::form_urlencoded::byte_serialize(format!("name='{nasty}'").as_bytes()).collect();
    assert_eq!(admin.get(&format!("/api/v1/user?filter={filter}")).await.data(200), json!([]));
    let odd = admin.get("/api/v1/user?sort=name;DROP TABLE x,1=1&filter=1=1) OR (1=1").await;
    odd.expect(200);
    server.execute("UPDATE \"user\" SET institution = '@SUM(1)', country = '+1' WHERE role = 'SUPERADMIN'").await;
    let csv = String::from_utf8(admin.get("/api/v1/user/export").await.bytes).unwrap();
    assert!(csv.contains(",\t+1,\t@SUM(1),"), "{csv}");
    let page = server.anonymous().get("/reset-password?token=%22%3E%3Cscript%3Ealert(1)%3C/script%3E").await;
    let html = String::from_utf8(page.bytes).unwrap();
    assert!(!html.contains("<script>") && html.contains("&lt;script&gt;"), "{html}");
    assert!(page.headers["content-security-policy"].to_str().unwrap().contains("script-src 'self'"));
    let ignored = admin.get("/api/v1/user?sort=%0d%0aSet-Cookie:x").await;
    assert!(ignored.headers.get("set-cookie").is_none());
}

async fn trail(admin: &Client, filter: &str) -> Vec<Value> {
    admin.get(&format!("/api/v1/admin/audit?filter={filter}&sort=id")).await.data(200).as_array().unwrap().clone()
}

/// P13
#[tokio::test]
async fn audit_rows_only_grow() {
    let server = Server::api_only().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let id = ada.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    server.anonymous().post("/auth", &json!({"email": ada.email, "password": "wrong"})).await.expect(401);
    admin.patch(&format!("/api/v1/user/{id}"), &json!({"role": "ADMIN"})).await.data(200);
    let made = ada.post("/api/v1/oauth/clients", &json!({"name": "robot"})).await.data(201);
    ada.delete(&format!("/api/v1/oauth/clients/{}", made["id"].as_str().unwrap())).await.data(200);
    admin.publish(&Package::echo("echo")).await;
    admin.post("/api/v1/script/echo/publish", &json!({})).await.data(200);
    admin.delete("/api/v1/script/echo").await.data(200);
    let rows = trail(&admin, "").await;
    let actions: Vec<&str> = rows.iter().map(|row| row["action"].as_str().unwrap()).collect();
    for action in [
        "user.created",
        "auth.failed",
        "user.role_changed",
        "client.created",
        "client.revoked",
        "script.uploaded",
        "script.published",
        "script.deleted",
    ] {
        assert!(actions.contains(&action), "{action}: {actions:?}");
    }
    let changed = trail(&admin, "action=user.role_changed").await;
    assert_eq!(changed[0]["detail"], json!({"from": "USER", "to": "ADMIN"}));
    assert_eq!((&changed[0]["target_id"], &changed[0]["actor_email"]), (&json!(id), &json!("admin@example.org")));
    assert!(changed[0]["ip_address"] == "127.0.0.1" && changed[0]["request_id"].is_string());
    // Not even who writes to the database changes a row, or takes a young one away.
    for act in [
        "UPDATE audit_event SET action = 'nothing'",
        "UPDATE audit_event SET ip_address = '1.2.3.4'",
        "DELETE FROM audit_event",
    ] {
        let text = sqlx::AssertSqlSafe(act);
        let done: sqlx::Result<()> =
            trends_earth::writing!(&server.app.db, |on| sqlx::query(text).execute(on).await.map(drop));
        assert!(done.is_err(), "{act}");
    }
    let boss = server.account("boss", Role::Admin).await;
    boss.get("/api/v1/admin/audit").await.refused(403, "Forbidden");
    let file = admin.get("/api/v1/admin/audit/export?filter=action=user.role_changed").await;
    let text = String::from_utf8(file.bytes).unwrap();
    assert_eq!(text.matches("\r\n").count(), 2, "{text}");
}
