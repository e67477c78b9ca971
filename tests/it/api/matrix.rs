//! Who may call what: the routes of people, tokens and scripts, by every kind of caller.

use reqwest::Method;
use serde_json::{Value, json};
use trends_earth::store::users::Role;

use crate::support::{Client, Options, Package, Server};

/// anonymous, USER, ADMIN, SUPERADMIN, environment account, service client of a SUPERADMIN with every scope, a run.
type Row = (&'static str, &'static str, Value, [u16; 7]);

const NO_DOCKER_LOGS: &str = "/api/v1/execution/20000000-0000-4000-8000-000000000001/docker-logs";
const NO_BATCH_LOGS: &str = "/api/v1/execution/20000000-0000-4000-8000-000000000001/batch-logs";

fn table() -> Vec<Row> {
    let profile = json!({"name": "Somebody"});
    let none = json!({});
    let password = json!({"new_password": "An0ther!Passw0rd"});
    vec![
        ("GET", "/api/v1/user", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("GET", "/api/v1/user/target@example.org", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("GET", "/api/v1/user/export", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("GET", "/api/v1/user/me", none.clone(), [401, 200, 200, 200, 200, 200, 401]),
        ("GET", "/api/v1/user/me/export", none.clone(), [401, 200, 200, 200, 200, 403, 401]),
        ("PATCH", "/api/v1/user/me", profile.clone(), [401, 200, 200, 200, 200, 200, 401]),
        ("PATCH", "/api/v1/user/me/change-password", none.clone(), [401, 400, 400, 400, 400, 403, 401]),
        ("PATCH", "/api/v1/user/target@example.org", profile, [401, 403, 403, 200, 403, 200, 401]),
        ("PATCH", "/api/v1/user/target@example.org", json!({"role": "USER"}), [401, 403, 403, 200, 403, 200, 401]),
        (
            "PATCH",
            "/api/v1/user/target@example.org/change-password",
            password.clone(),
            [401, 403, 200, 200, 403, 403, 401],
        ),
        ("PATCH", "/api/v1/user/super@example.org/change-password", password, [401, 403, 403, 200, 403, 403, 401]),
        ("DELETE", "/api/v1/user/nobody@example.org", none.clone(), [401, 403, 403, 404, 403, 404, 401]),
        ("GET", "/api/v1/user/me/gee-credentials", none.clone(), [401, 200, 200, 200, 200, 200, 401]),
        ("GET", "/api/v1/user/target@example.org/gee-credentials", none.clone(), [401, 403, 404, 404, 403, 404, 401]),
        ("POST", "/api/v1/user/me/openeo-credentials", none.clone(), [401, 400, 400, 400, 400, 400, 401]),
        ("GET", "/api/v1/user/me/google-groups", none.clone(), [401, 200, 200, 200, 200, 200, 401]),
        ("GET", "/api/v1/user/me/sessions", none.clone(), [401, 200, 200, 200, 200, 403, 401]),
        ("DELETE", "/api/v1/user/me/sessions/x", none.clone(), [401, 404, 404, 404, 404, 403, 401]),
        ("GET", "/api/v1/user/me/clients", none.clone(), [401, 200, 200, 200, 200, 403, 401]),
        ("GET", "/api/v1/oauth/clients", none.clone(), [401, 200, 200, 200, 200, 403, 401]),
        ("POST", "/api/v1/oauth/clients", none.clone(), [401, 400, 400, 400, 400, 403, 401]),
        ("DELETE", "/api/v1/oauth/clients/x", none.clone(), [401, 400, 400, 400, 400, 403, 401]),
        ("GET", "/api/v1/admin/client-stats", none.clone(), [401, 403, 403, 200, 403, 200, 401]),
        ("GET", "/api/v1/admin/audit", none.clone(), [401, 403, 403, 200, 403, 200, 401]),
        ("GET", "/api/v1/admin/audit/export", none.clone(), [401, 403, 403, 200, 403, 200, 401]),
        ("GET", "/api/v1/admin/maintenance", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("PUT", "/api/v1/admin/maintenance", none.clone(), [401, 403, 403, 400, 403, 403, 401]),
        ("GET", "/api/v1/admin/workers", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("PATCH", "/api/v1/admin/workers/x", json!({"draining": true}), [401, 403, 403, 404, 403, 403, 401]),
        ("GET", "/api/v1/admin/news", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("POST", "/api/v1/admin/news", none.clone(), [401, 403, 400, 400, 403, 400, 401]),
        ("PUT", "/api/v1/admin/news/x", json!({"title": "t"}), [401, 403, 404, 404, 403, 404, 401]),
        ("PATCH", "/api/v1/admin/news/x", json!({"title": "t"}), [401, 403, 404, 404, 403, 404, 401]),
        ("DELETE", "/api/v1/admin/news/x", none.clone(), [401, 403, 404, 404, 403, 404, 401]),
        ("PUT", "/api/v1/admin/news/x/translations", none.clone(), [401, 403, 404, 404, 403, 404, 401]),
        ("DELETE", "/api/v1/admin/news/x/translations/es", none.clone(), [401, 403, 404, 404, 403, 404, 401]),
        ("GET", "/api/v1/status", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("GET", "/api/v1/status/swarm", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("GET", "/api/v1/status/cluster", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("GET", "/api/v1/stats/dashboard", none.clone(), [401, 403, 403, 200, 403, 200, 401]),
        ("GET", "/api/v1/stats/executions", none.clone(), [401, 403, 403, 200, 403, 200, 401]),
        ("GET", "/api/v1/stats/users", none.clone(), [401, 403, 403, 200, 403, 200, 401]),
        ("GET", "/api/v1/stats/health", none.clone(), [401, 403, 403, 200, 403, 200, 401]),
        ("GET", "/api/v1/stats/cache", none.clone(), [401, 403, 403, 200, 403, 200, 401]),
        ("DELETE", "/api/v1/stats/cache", none.clone(), [401, 403, 403, 200, 403, 200, 401]),
        ("GET", NO_DOCKER_LOGS, none.clone(), [401, 403, 404, 404, 403, 404, 401]),
        ("GET", NO_BATCH_LOGS, none.clone(), [401, 403, 404, 404, 403, 404, 401]),
        ("POST", "/api/v1/email", none.clone(), [401, 403, 403, 400, 400, 400, 401]),
        ("POST", "/email", none.clone(), [401, 403, 403, 400, 400, 400, 401]),
        ("GET", "/api/v1/script/export", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("GET", "/api/v1/execution/export", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("GET", "/api/v1/script/echo", none.clone(), [401, 404, 200, 200, 404, 200, 401]),
        ("GET", "/api/v1/script/echo/versions", none.clone(), [401, 404, 200, 200, 404, 200, 401]),
        ("GET", "/api/v1/script/echo/versions/1", none.clone(), [401, 404, 200, 200, 404, 200, 401]),
        ("GET", "/api/v1/script/echo/versions/1/download", none.clone(), [401, 404, 200, 200, 404, 200, 401]),
        ("POST", "/api/v1/script/echo/versions/1/activate", none.clone(), [401, 404, 200, 200, 404, 200, 401]),
        ("POST", "/api/v1/script/open/versions/1/activate", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("GET", "/api/v1/script/open/versions/1", none.clone(), [401, 200, 200, 200, 200, 200, 401]),
        ("GET", "/api/v1/script/open/schema", none.clone(), [401, 200, 200, 200, 200, 200, 401]),
        ("PATCH", "/api/v1/script/echo/config", none.clone(), [401, 404, 400, 400, 404, 400, 401]),
        ("PATCH", "/api/v1/script/open/config", none.clone(), [401, 403, 400, 400, 403, 400, 401]),
        ("GET", "/api/v1/script/open/access", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("PUT", "/api/v1/script/open/access/roles", none.clone(), [401, 403, 400, 400, 403, 400, 401]),
        ("PUT", "/api/v1/script/open/access/users", none.clone(), [401, 403, 400, 400, 403, 400, 401]),
        ("POST", "/api/v1/script/open/access/users/x", none.clone(), [401, 403, 404, 404, 403, 404, 401]),
        ("POST", "/api/v1/script/open/access/roles/x", none.clone(), [401, 403, 400, 400, 403, 400, 401]),
        ("DELETE", "/api/v1/script/open/access/users/x", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("DELETE", "/api/v1/script/open/access/roles/x", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("DELETE", "/api/v1/script/open/access", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("GET", "/api/v1/script/open/secrets", none.clone(), [401, 403, 200, 200, 403, 200, 401]),
        ("PUT", "/api/v1/script/open/secrets/KEY", none.clone(), [401, 403, 400, 400, 403, 400, 401]),
        ("DELETE", "/api/v1/script/open/secrets/KEY", none.clone(), [401, 403, 404, 404, 403, 404, 401]),
        ("POST", "/api/v1/user", none.clone(), [400; 7]),
        ("POST", "/api/v1/user/reset-password", none.clone(), [400; 7]),
        ("POST", "/api/v1/oauth/token", none.clone(), [400; 7]),
        ("GET", "/api/v1/unsubscribe", none.clone(), [400; 7]),
        ("POST", "/auth/refresh", none, [400; 7]),
    ]
}

#[tokio::test]
async fn every_route_is_open_to_whom_the_matrix_says() {
    let server = Server::with(Options::default().without_worker().set("API_ENVIRONMENT_USER", "gef@example.org")).await;
    let root = server.admin().await;
    server.user("target").await;
    server.account("super", Role::Superadmin).await;
    let client = root.post("/api/v1/oauth/clients", &json!({"name": "robot", "scopes": "all"})).await.data(201);
    let body = json!({"grant_type": "client_credentials", "client_id": client["client_id"], "client_secret": client["client_secret"]});
    let token = server.anonymous().post("/api/v1/oauth/token", &body).await.expect(200);
    root.publish(&Package::echo("echo")).await;
    root.publish(&Package::echo("open").with("params_schema", json!({}))).await;
    root.post_empty("/api/v1/script/open/publish").await.expect(200);
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let run = root.run("echo", &json!({})).await;
    server.lend(&run, 1, "secret").await;
    let of_run = server.sign_in_as_run(&run, "secret").await.unwrap();
    let with = |answer: &Value| server.anonymous().with_token(answer["access_token"].as_str().unwrap().to_owned());
    let callers: [(&str, Client); 7] = [
        ("anonymous", server.anonymous()),
        ("USER", server.user("user").await),
        ("ADMIN", server.account("boss", Role::Admin).await),
        ("SUPERADMIN", root.clone()),
        ("environment", server.user("gef").await),
        ("service client", with(&token)),
        ("run", of_run),
    ];
    let mut wrong = Vec::new();
    for (method, path, body, expected) in table() {
        for ((who, caller), expected) in callers.iter().zip(expected) {
            let request = caller.request(method.parse::<Method>().unwrap(), path);
            let request = if method == "GET" || method == "DELETE" { request } else { request.json(&body) };
            let status = caller.send(request).await.status;
            if status != expected {
                wrong.push(format!("{method} {path} by {who}: {status}, not {expected}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
