//! `/api/v1/script/<s>/access…`.

use reqwest::Method;
use serde_json::{Value, json};
use trends_earth::store::users::Role;

use crate::support::{Answer, Client, Package, Server};

const PATH: &str = "/api/v1/script/maps/access";

/// A server with a script `maps` of its administrator.
async fn with_script() -> (Server, Client) {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    admin.publish(&Package::echo("Maps")).await;
    (server, admin)
}

async fn send(who: &Client, method: Method, path: &str, body: &Value) -> Answer {
    let request = who.request(method, &format!("{PATH}{path}"));
    who.send(if body.is_null() { request } else { request.json(body) }).await
}

async fn id(who: &Client) -> String {
    who.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned()
}

/// Whether somebody sees the script, by every way to it.
async fn sees(who: &Client) -> bool {
    let listed = who.get("/api/v1/script").await.data(200) != json!([]);
    let mut ways = vec![listed];
    for path in ["", "/log", "/download", "/versions", "/versions/1", "/versions/1/download"] {
        ways.push(who.get(&format!("/api/v1/script/maps{path}")).await.status == 200);
    }
    // Nothing is built: who sees it hears that, others that it does not exist.
    ways.push(who.post("/api/v1/script/maps/run", &json!({})).await.status == 400);
    let schema = who.get("/api/v1/script/maps/schema").await.expect(404);
    ways.push(schema["detail"] == "Script maps says nothing of its parameters");
    assert!(ways.iter().all(|way| *way == listed), "{ways:?}");
    listed
}

#[tokio::test]
async fn roles_and_people_on_the_lists_see_a_script_and_nobody_else() {
    let (server, admin) = with_script().await;
    let (ada, grace) = (server.user("ada").await, server.user("grace").await);
    assert_eq!(
        send(&admin, Method::GET, "", &Value::Null).await.data(200),
        json!({"restricted": false, "public": false, "allowed_roles": [], "allowed_users": [], "access_type": "owner_only"})
    );
    assert!(!sees(&ada).await);
    let ada_id = id(&ada).await;
    let body = json!({"users": [ada_id.to_uppercase(), ada_id.replace('-', ""), ada_id]});
    assert_eq!(
        send(&admin, Method::PUT, "/users", &body).await.data(200),
        json!({"restricted": true, "public": false, "allowed_roles": [], "allowed_users": [ada_id], "access_type": "restricted"})
    );
    assert!(sees(&ada).await && !sees(&grace).await);

    // A restriction outlives its lists, also on a public script.
    admin.post_empty("/api/v1/script/maps/publish").await.expect(200);
    assert!(!sees(&grace).await, "public, but restricted");
    let cleared = send(&admin, Method::PUT, "/users", &json!({"users": []})).await.data(200);
    assert_eq!((&cleared["restricted"], &cleared["allowed_users"]), (&json!(true), &json!([])));
    assert!(!sees(&ada).await && !sees(&grace).await);

    let roles = json!({"roles": ["USER", "ADMIN", "USER"]});
    let set = send(&admin, Method::PUT, "/roles", &roles).await.data(200);
    assert_eq!(set["allowed_roles"], json!(["USER", "ADMIN"]));
    assert!(sees(&grace).await);
    let set = send(&admin, Method::PUT, "/roles", &json!({"roles": null})).await.data(200);
    assert_eq!((&set["restricted"], &set["allowed_roles"]), (&json!(true), &json!([])));
    assert!(!sees(&grace).await);

    let open = send(&admin, Method::DELETE, "", &Value::Null).await.data(200);
    assert_eq!((&open["restricted"], &open["access_type"]), (&json!(false), &json!("public")));
    assert!(sees(&grace).await);
}

#[tokio::test]
async fn one_person_or_role_is_added_and_taken_away() {
    let (server, admin) = with_script().await;
    let (ada, grace) = (server.user("ada").await, server.user("grace").await);
    let (ada_id, grace_id) = (id(&ada).await, id(&grace).await);
    for (path, users) in [
        (format!("/users/{}", ada_id.to_uppercase()), json!([ada_id])),
        (format!("/users/{ada_id}"), json!([ada_id])),
        (format!("/users/{grace_id}"), json!([ada_id, grace_id])),
    ] {
        let view = send(&admin, Method::POST, &path, &Value::Null).await.data(200);
        assert_eq!((&view["restricted"], &view["allowed_users"]), (&json!(true), &users), "{path}");
    }
    let path = format!("/users/{}", ada_id.replace('-', ""));
    for _ in 0..2 {
        let view = send(&admin, Method::DELETE, &path, &Value::Null).await.data(200);
        assert_eq!(view["allowed_users"], json!([grace_id]));
    }
    send(&admin, Method::DELETE, "/users/nobody", &Value::Null).await.expect(200);
    assert!(!sees(&ada).await && sees(&grace).await);
    let view = send(&admin, Method::POST, "/roles/USER", &Value::Null).await.data(200);
    assert_eq!(view["allowed_roles"], json!(["USER"]));
    assert_eq!(send(&admin, Method::POST, "/roles/USER", &Value::Null).await.data(200), view);
    assert!(sees(&ada).await);
    let view = send(&admin, Method::DELETE, "/roles/USER", &Value::Null).await.data(200);
    assert_eq!((&view["restricted"], &view["allowed_roles"]), (&json!(true), &json!([])));
    send(&admin, Method::DELETE, "/roles/KING", &Value::Null).await.expect(200);
}

#[tokio::test]
async fn wrong_lists_are_refused_with_a_sentence_and_change_nothing() {
    let (server, admin) = with_script().await;
    let owner = server.user("owner").await;
    let nobody = "99999999-0000-4000-8000-000000000000";
    for (path, body, text) in [
        ("/roles", json!({}), "Missing 'roles' in request body".to_owned()),
        ("/roles", json!({"roles": "USER"}), "Roles must be a list".into()),
        ("/roles", json!({"roles": {"USER": 1}}), "Roles must be a list".into()),
        ("/roles", json!({"roles": ["USER", "FOO", 5, "user"]}), "Invalid roles: ['FOO', 5, 'user']".into()),
        ("/users", json!({"roles": []}), "Missing 'users' in request body".into()),
        ("/users", json!({"users": nobody}), "Users must be a list of user IDs".into()),
        ("/users", json!({"users": [nobody]}), format!("User '{nobody}' not found")),
        ("/users", json!({"users": ["zz"]}), "User 'zz' not found".into()),
        ("/users", json!({"users": [[1]]}), "User '[1]' not found".into()),
    ] {
        send(&admin, Method::PUT, path, &body).await.refused(400, &text);
    }
    send(&admin, Method::PUT, "/roles", &json!([1])).await.expect(400);
    let raw = admin.request(Method::PUT, &format!("{PATH}/roles")).header("content-type", "application/json");
    admin.send(raw.body("{")).await.expect(400);
    send(&admin, Method::POST, &format!("/users/{nobody}"), &Value::Null).await.refused(404, "User not found");
    send(&admin, Method::POST, "/users/zz", &Value::Null).await.refused(404, "User not found");
    send(&admin, Method::POST, "/roles/KING", &Value::Null).await.refused(400, "Invalid role: KING");
    assert_eq!(send(&admin, Method::GET, "", &Value::Null).await.data(200)["restricted"], json!(false));
    admin.get("/api/v1/script/no/access").await.refused(404, "Script with id no does not exist");

    // Not even the owner opens a script to others.
    server.execute("UPDATE script SET user_id = (SELECT id FROM \"user\" WHERE name = 'owner')").await;
    for (method, path) in [
        (Method::GET, ""),
        (Method::DELETE, ""),
        (Method::PUT, "/roles"),
        (Method::PUT, "/users"),
        (Method::POST, "/roles/USER"),
        (Method::DELETE, "/roles/USER"),
        (Method::POST, "/users/zz"),
        (Method::DELETE, "/users/zz"),
    ] {
        send(&owner, method, path, &Value::Null).await.refused(403, "Admin privileges required");
    }
}

#[tokio::test]
async fn an_entry_of_a_list_is_compared_whole() {
    let (server, admin) = with_script().await;
    let ada = server.user("ada").await;
    let ada_id = id(&ada).await;
    for (column, text) in [
        ("allowed_roles", r#"["user"]"#.to_owned()),
        ("allowed_roles", r#"["SUPERUSER", "USERS"]"#.into()),
        ("allowed_roles", r#"["a\"USER\"b", "a\\\"USER\"]"#.into()),
        ("allowed_roles", r#"["_S_R", "%"]"#.into()),
        ("allowed_roles", "USER".into()),
        ("allowed_users", format!(r#"["{}"]"#, ada_id.to_uppercase())),
        ("allowed_users", format!(r#"["x\"{ada_id}\""]"#)),
        ("allowed_users", "[".into()),
    ] {
        let other = if column == "allowed_roles" { "allowed_users" } else { "allowed_roles" };
        server.execute(&format!("UPDATE script SET restricted = TRUE, {column} = '{text}', {other} = NULL")).await;
        assert!(!sees(&ada).await, "{column} {text}");
        admin.get(&format!("{PATH}?")).await.expect(200);
    }
    for (column, text) in [
        ("allowed_roles", r#"["a\\", "USER"]"#.to_owned()),
        ("allowed_roles", r#"["\"", "USER"]"#.into()),
        ("allowed_users", format!(r#"["zz", "{ada_id}"]"#)),
    ] {
        let other = if column == "allowed_roles" { "allowed_users" } else { "allowed_roles" };
        server.execute(&format!("UPDATE script SET {column} = '{text}', {other} = NULL")).await;
        assert!(sees(&ada).await, "{column} {text}");
    }
}

#[tokio::test]
async fn who_opened_a_script_to_whom_is_in_the_audit_trail_and_the_lists_are_shown_to_its_owner() {
    let (server, admin) = with_script().await;
    let (boss, owner) = (server.account("boss", Role::Admin).await, server.user("owner").await);
    send(&boss, Method::PUT, "/roles", &json!({"roles": ["USER"]})).await.expect(200);
    let trail = admin.get("/api/v1/admin/audit?filter=action=script.access_changed&per_page=5").await.data(200);
    assert_eq!(trail.as_array().unwrap().len(), 1);
    assert_eq!(
        (&trail[0]["actor_id"], &trail[0]["detail"]["allowed_roles"]),
        (&json!(id(&boss).await), &json!(["USER"]))
    );
    let shown = async |who: &Client| {
        let script = who.get("/api/v1/script/maps?include=access_control").await.data(200);
        script.get("allowed_roles").cloned()
    };
    assert_eq!((shown(&boss).await, shown(&owner).await), (Some(json!(["USER"])), None));
    server.execute("UPDATE script SET user_id = (SELECT id FROM \"user\" WHERE name = 'owner')").await;
    assert_eq!(shown(&owner).await, Some(json!(["USER"])));
}
