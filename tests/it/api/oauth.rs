//! `/oauth/…`: service clients and what their scopes open.

use serde_json::{Value, json};

use crate::support::{Client, Server, token};

async fn client(owner: &Client, scopes: &str) -> Value {
    owner.post("/api/v1/oauth/clients", &json!({"name": "robot", "scopes": scopes})).await.data(201)
}

async fn sign_in(server: &Server, client: &Value) -> Client {
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}",
        client["client_id"].as_str().unwrap(),
        client["client_secret"].as_str().unwrap()
    );
    let answer = server.anonymous().post_raw("/api/v1/oauth/token", "application/x-www-form-urlencoded", form).await;
    let answer = answer.expect(200);
    assert_eq!((&answer["token_type"], &answer["expires_in"]), (&json!("bearer"), &json!(1_800)));
    server.anonymous().with_token(answer["access_token"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_client_acts_for_its_owner_within_its_scopes_until_it_is_revoked() {
    let server = Server::api_only().await;
    let ada = server.user("ada").await;
    let made = client(&ada, "execution:read script:read").await;
    assert!(
        made["client_id"].as_str().unwrap().starts_with("te_cid_")
            && made["client_secret"].as_str().unwrap().len() == 70
    );
    let robot = sign_in(&server, &made).await;
    let (_, claims) = token::read(robot.token.as_ref().unwrap());
    assert_eq!(
        (&claims["grant_type"], &claims["scopes"]),
        (&json!("client_credentials"), &json!("execution:read script:read"))
    );
    robot.get("/api/v1/execution").await.expect(200);
    robot.get("/api/v1/script").await.expect(200);
    robot.get("/api/v1/user/me").await.refused(403, "Insufficient scope. Required: user:read");
    robot.post("/api/v1/script/x/run", &json!({})).await.refused(403, "Insufficient scope. Required: execution:write");
    let closed = "The token of a service client does not open this; sign in with an account.";
    robot.post("/api/v1/oauth/clients", &json!({"name": "child"})).await.refused(403, closed);
    robot.get("/api/v1/user/me/sessions").await.refused(403, closed);
    robot.post("/auth/logout-all", &json!({})).await.refused(403, closed);

    let list = ada.get("/api/v1/oauth/clients").await.data(200);
    assert!(list[0]["last_used_at"].is_string() && list[0].get("client_secret").is_none());
    let bob = server.user("bob").await;
    let path = format!("/api/v1/oauth/clients/{}", made["id"].as_str().unwrap());
    bob.delete(&path).await.refused(400, "You can only revoke your own service clients");
    assert_eq!(ada.delete(&path).await.data(200)["revoked"], true);
    robot.get("/api/v1/script").await.expect(401);
    for missing in ["garbage", "00000000-0000-4000-8000-000000000000"] {
        ada.delete(&format!("/api/v1/oauth/clients/{missing}")).await.refused(400, "Service client not found");
    }
    let all = sign_in(&server, &client(&ada, "").await).await;
    all.get("/api/v1/user/me").await.expect(200);
    let nothing = sign_in(&server, &client(&ada, "  ").await).await;
    nothing.get("/api/v1/user/me").await.refused(403, "Insufficient scope. Required: user:read");
}

#[tokio::test]
async fn what_is_wrong_with_a_client_or_its_sign_in_is_said() {
    let server = Server::api_only().await;
    let ada = server.user("ada").await;
    let scopes = "all, boundary:read, execution:read, execution:write, gee:read, gee:write, script:read, script:write, stats:read, user:read, user:write";
    for (body, sentence) in [
        (json!({}), "Missing required field: name".to_owned()),
        (json!({"name": "x".repeat(121)}), "name must be at most 120 characters long".to_owned()),
        (json!({"name": "x", "scopes": "bogus"}), format!("Invalid scope(s): bogus. Valid scopes: {scopes}")),
        (
            json!({"name": "x", "scopes": ["all"]}),
            "scopes must be text: scope names with blanks between them".to_owned(),
        ),
        (json!({"name": "x", "expires_in_days": 0}), "expires_in_days must be a positive integer".to_owned()),
        (json!({"name": "x", "expires_in_days": 1e300}), "expires_in_days must be a positive integer".to_owned()),
    ] {
        ada.post("/api/v1/oauth/clients", &body).await.refused(400, &sentence);
    }
    let posts = futures::future::join_all((0..14).map(|_| client_status(&ada))).await;
    assert_eq!(posts.iter().filter(|status| **status == 201).count(), 10);
    let token = async |body: Value| server.anonymous().post("/api/v1/oauth/token", &body).await;
    let error = |error: &str, text: &str| json!({"error": error, "error_description": text});
    let unsupported = error("unsupported_grant_type", "Only grant_type=client_credentials is supported");
    assert_eq!(token(json!([])).await.expect(400), unsupported);
    assert_eq!(token(json!({"grant_type": "password"})).await.expect(400), unsupported);
    let missing = error("invalid_request", "client_id and client_secret are required");
    assert_eq!(token(json!({"grant_type": "client_credentials"})).await.expect(400), missing);
    let wrong = json!({"grant_type": "client_credentials", "client_id": "te_cid_x", "client_secret": "y"});
    assert_eq!(token(wrong).await.expect(401), error("invalid_client", "Invalid client credentials"));
}

async fn client_status(owner: &Client) -> u16 {
    owner.post("/api/v1/oauth/clients", &json!({"name": "robot"})).await.status
}

#[tokio::test]
async fn every_route_declares_its_scope_or_that_it_has_none() {
    let server = Server::api_only().await;
    let document = server.anonymous().get("/swagger.json").await.expect(200);
    let known: Vec<&str> = trends_earth::auth::scopes::VALID.iter().copied().chain(["account"]).collect();
    let mut undeclared = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let Some(security) = operation["security"].as_array() else {
                undeclared.push(format!("{method} {path}"));
                continue;
            };
            for scope in security.iter().filter_map(|one| one["bearerAuth"].as_array()).flatten() {
                assert!(known.contains(&scope.as_str().unwrap()), "{method} {path}: {scope}");
            }
        }
    }
    assert_eq!(undeclared, Vec::<String>::new());
}
