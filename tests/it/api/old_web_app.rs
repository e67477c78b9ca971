//! What the old web application sends and reads (contract/clients.md 5): it runs in a browser, signs every request, also before
//! anybody has signed in, names scripts by slug, and opens two downloads as links.

use reqwest::Method;
use serde_json::json;

use crate::support::{Options, Package, Server};

const ORIGIN: &str = "https://old.example.org";

#[tokio::test]
async fn the_old_web_application_finds_what_it_needs() {
    let options = Options::default().set("CORS_ORIGINS", ORIGIN).set("TE_TOKEN_IN_URL", true);
    let server = Server::with(options.without_worker()).await;
    let admin = server.admin().await;
    let token = admin.token.clone().unwrap();

    // The browser asks first.
    let asks = server
        .anonymous()
        .request(Method::OPTIONS, "/api/v1/script/x/publish")
        .header("origin", ORIGIN)
        .header("access-control-request-method", "PATCH")
        .header("access-control-request-headers", "authorization,content-type");
    let said = admin.send(asks).await;
    assert_eq!((said.status, said.headers["access-control-allow-origin"].to_str().unwrap()), (200, ORIGIN));
    let allowed = |name: &str| said.headers[name].to_str().unwrap().to_lowercase();
    assert!(["patch", "delete"].iter().all(|method| allowed("access-control-allow-methods").contains(method)));
    assert!(
        ["authorization", "content-type"].iter().all(|name| allowed("access-control-allow-headers").contains(name))
    );

    // Before the sign-in it sends `Bearer null`.
    let nobody = server.anonymous().with_token("null".to_owned());
    let sign_in = json!({"email": admin.email, "password": admin.password});
    assert!(nobody.post("/auth", &sign_in).await.expect(200)["access_token"].is_string());
    nobody.post("/api/v1/user/admin@example.org/recover-password", &json!({})).await.expect(200);
    nobody.post("/api/v1/user", &json!({"email": "new@example.org", "name": "New"})).await.expect(200);
    nobody.get("/api/v1/news").await.expect(200);
    nobody.get("/api/v1/user/me").await.expect(401);
    let me = admin.get("/api/v1/user/me").await.data(200);
    assert!(me["id"].is_string() && me["role"] == "SUPERADMIN");

    // Scripts are named by slug; bodies are empty objects.
    let package = Package::echo("Land Cover");
    admin.publish(&package).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    server.execute("UPDATE script SET status = 'SUCCESS'").await;
    for (act, public) in [("unpublish", false), ("publish", true)] {
        let path = format!("/api/v1/script/land-cover/{act}");
        assert_eq!(admin.post(&path, &json!({})).await.data(200)["public"], public);
    }
    let scripts = admin.get("/api/v1/script?include=user").await.data(200);
    assert_eq!((&scripts[0]["slug"], &scripts[0]["user"]["email"]), (&json!("land-cover"), &json!(admin.email)));
    let run = admin.run("land-cover", &json!({"year": "2001"})).await;
    let runs = admin.get("/api/v1/execution?include=script,user&updated_at=2001-01-01").await.data(200);
    let shown = &runs[0];
    assert_eq!((&shown["script"]["name"], &shown["user"]["email"]), (&json!("Land Cover"), &json!(admin.email)));
    assert_eq!((&shown["params"], &shown["status"]), (&json!({"year": "2001"}), &json!("PENDING")));
    assert!(shown["progress"].is_number() && shown["start_date"].is_string() && shown["end_date"].is_null());
    for log in [format!("/api/v1/execution/{run}/log"), "/api/v1/script/land-cover/log".to_owned()] {
        assert_eq!(admin.get(&format!("{log}?last-id=1000000")).await.data(200), json!([]));
    }

    // Two links carry the token, if the operator says so, and no other address takes it there.
    let browser = server.anonymous();
    let archive = browser.get(&format!("/api/v1/script/land-cover/download?token={token}")).await;
    assert_eq!((archive.status, &archive.bytes), (200, &package.pack()));
    let results = browser.get(&format!("/api/v1/execution/{run}/download-results?token={token}")).await;
    assert_eq!((results.status, results.bytes.as_slice()), (200, b"{}".as_slice()));
    for path in ["/api/v1/user/me", "/api/v1/script/land-cover", "/api/v1/execution"] {
        browser.get(&format!("{path}?token={token}")).await.expect(401);
    }
    browser.get("/api/v1/script/land-cover/download?token=null").await.expect(401);
    assert!(!server.log().contains(&token));
    let strict = Server::api_only().await;
    let token = strict.admin().await.token.unwrap();
    let refused = strict.anonymous().get(&format!("/api/v1/script/land-cover/download?token={token}")).await;
    refused.refused(401, "Authorization token required");
}
