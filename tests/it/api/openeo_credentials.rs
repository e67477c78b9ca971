//! `/api/v1/user/me/openeo-credentials`: kept, tried, shown to nobody; scripts that need them are refused.

use axum::{Json, Router, http::HeaderMap, routing};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use trends_earth::reading;

use crate::support::{Client, Options, Package, Server};

const PATH: &str = "/api/v1/user/me/openeo-credentials";

/// An openEO service, and the provider of its accounts.
async fn service() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (here, issuer) = (url.clone(), format!("{url}/issuer/"));
    let basic = async |headers: HeaderMap| {
        let good = headers.get("authorization").is_some_and(|value| value == "Basic YWRhOnB3");
        if good { Ok(Json(json!({"access_token": "x"}))) } else { Err(axum::http::StatusCode::FORBIDDEN) }
    };
    let token = async |body: String| {
        let good =
            body.contains("refresh_token=r1&") && body.contains("client_id=c") && body.contains("client_secret=s");
        match good {
            true => Ok(Json(json!({"access_token": "x", "refresh_token": "r2"}))),
            false => Err(axum::http::StatusCode::BAD_REQUEST),
        }
    };
    let router = Router::new()
        .route("/credentials/basic", routing::get(basic))
        .route("/credentials/oidc", routing::get(async move || Json(json!({"providers": [{"id": "other", "issuer": "http://10.0.0.1"}, {"id": "own", "issuer": issuer}]}))))
        .route("/issuer/.well-known/openid-configuration", routing::get(async move || Json(json!({"token_endpoint": format!("{here}/token")}))))
        .route("/token", routing::post(token));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn stored(server: &Server) -> Option<Value> {
    let text = r#"SELECT openeo_credentials_enc FROM "user" WHERE email = 'ada@example.org'"#;
    let column: Option<String> = reading!(&server.app.db, |on| sqlx::query_scalar(text).fetch_one(on).await).unwrap();
    let opened = server.app.fernet.as_ref().unwrap().decrypt(&column?).unwrap();
    Some(serde_json::from_str(opened.expose_secret()).unwrap())
}

async fn check(ada: &Client) -> (bool, String) {
    let said = ada.get(&format!("{PATH}/check")).await.data(200);
    (said["valid"].as_bool().unwrap(), said["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn credentials_of_openeo_are_kept_and_tried_at_the_service_of_the_settings() {
    let url = service().await;
    let options = Options::default()
        .set("GEE_ENCRYPTION_KEY", "the key of the test")
        .set("OPENEO_DEFAULT_BACKEND_URL", &url)
        .set("TE_WEBHOOK_ALLOW_PRIVATE", true);
    let server = Server::with(options.without_worker()).await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let (good, bad) = (
        (true, "Credentials are valid".to_owned()),
        (false, "Credentials are invalid or backend unreachable".to_owned()),
    );
    assert_eq!(check(&ada).await, (false, "No credentials stored".to_owned()));
    ada.post(PATH, &json!({})).await.refused(400, "JSON body required");
    let kinds = "Invalid credential type.  Must be 'oidc_refresh_token' or 'basic'.";
    ada.post(PATH, &json!({"type": "x"})).await.refused(400, kinds);
    ada.post(PATH, &json!({"type": "basic", "username": 5}))
        .await
        .refused(400, "Missing required fields: username, password");

    let basic = json!({"type": "basic", "username": "ada", "password": "pw"});
    let mut sent = basic.clone();
    sent["junk"] = json!(1);
    assert_eq!(ada.post(PATH, &sent).await.data(200), json!({"status": "credentials stored"}));
    assert_eq!(stored(&server).await, Some(basic));
    assert_eq!(ada.get(PATH).await.data(200), json!({"credential_type": "basic", "has_credentials": true}));
    assert_eq!(check(&ada).await, good);
    ada.post(PATH, &json!({"type": "basic", "username": "ada", "password": "no"})).await.expect(200);
    assert_eq!(check(&ada).await, bad);

    // A provider changes the token when it is used; the new one is kept, and the old one, which opens nothing now, is not.
    let mut own = json!({"type": "oidc_refresh_token", "client_id": "c", "refresh_token": "r1", "client_secret": "s", "provider_id": "own"});
    ada.post(PATH, &own).await.expect(200);
    assert_eq!(check(&ada).await, good);
    own["refresh_token"] = json!("r2");
    assert_eq!(stored(&server).await, Some(own.clone()));
    assert_eq!(check(&ada).await, bad);
    own["provider_id"] = json!("nobody");
    ada.post(PATH, &own).await.expect(200);
    assert_eq!(check(&ada).await, bad);

    for _ in 0..2 {
        assert_eq!(ada.delete(PATH).await.data(200), json!({"status": "credentials removed"}));
    }
    assert_eq!(ada.get(PATH).await.data(200), json!({"credential_type": null, "has_credentials": false}));

    // No engine here runs them.
    let package =
        Package::echo("Far").with("compute_type", "openeo").with("openeo_backend_url", "https://openeo.example.org");
    admin.publish(&package).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let sentence = "Script far needs the engine openeo, which this server does not have.";
    admin.post("/api/v1/script/far/run", &json!({})).await.refused(400, sentence);
    assert_eq!(server.rows("execution").await, 0);
}

#[tokio::test]
async fn a_provider_that_a_service_names_is_not_asked_inside() {
    let url = service().await;
    let options = Options::default().set("SECRET_KEY", "the key of the test").set("OPENEO_DEFAULT_BACKEND_URL", &url);
    let server = Server::with(options.without_worker()).await;
    let ada = server.user("ada").await;
    let own = json!({"type": "oidc_refresh_token", "client_id": "c", "refresh_token": "r1", "client_secret": "s", "provider_id": "own"});
    ada.post(PATH, &own).await.expect(200);
    assert!(!check(&ada).await.0);
    assert_eq!(stored(&server).await, Some(own));
}
