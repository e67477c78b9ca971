//! `/api/v1/news` and `/api/v1/admin/news`.

use serde_json::{Value, json};
use trends_earth::store::users::Role;

use crate::support::{Client, Server};

/// An item of this number, priority 0, with what differs from the usual.
async fn add(server: &Server, number: u32, changes: &[(&str, &str)]) {
    let mut columns = vec![
        ("id", format!("'50000000-0000-4000-8000-{number:012}'")),
        ("title", format!("'News {number}'")),
        ("message", "'**bold**'".to_owned()),
        ("created_at", "'2026-01-01 00:00:00'".to_owned()),
        ("updated_at", "'2026-01-01 00:00:00'".to_owned()),
        ("publish_at", "'2026-01-01 00:00:00'".to_owned()),
        ("target_platforms", "'app,qgis_plugin'".to_owned()),
        ("is_active", "TRUE".to_owned()),
        ("priority", "0".to_owned()),
        ("news_type", "'tip'".to_owned()),
    ];
    for (name, value) in changes {
        columns.retain(|(column, _)| column != name);
        columns.push((name, (*value).to_owned()));
    }
    let (names, values): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    server.execute(&format!("INSERT INTO news_item ({}) VALUES ({})", names.join(", "), values.join(", "))).await;
}

async fn titles(caller: &Client, query: &str) -> Vec<String> {
    let news = caller.get(&format!("/api/v1/news{query}")).await.data(200);
    news.as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn without_news_the_list_is_empty_for_everybody_whatever_the_token() {
    let server = Server::api_only().await;
    let empty = json!({"data": [], "page": 1, "per_page": 20, "total": 0});
    let path = "/api/v1/news?platform=qgis_plugin&version=2.1.0&lang=es";
    for caller in [server.anonymous(), server.user("ada").await, server.anonymous().with_token("null".to_owned())] {
        assert_eq!(caller.get(path).await.expect(200), empty);
    }
}

#[tokio::test]
async fn what_is_due_and_meant_for_the_reader_is_shown_the_most_important_first() {
    let server = Server::api_only().await;
    add(&server, 1, &[]).await;
    add(&server, 2, &[("priority", "5"), ("min_version", "'2.10'")]).await;
    add(&server, 3, &[("is_active", "FALSE")]).await;
    add(&server, 4, &[("publish_at", "'2999-01-01 00:00:00'")]).await;
    add(&server, 5, &[("expires_at", "'2026-01-02 00:00:00'")]).await;
    add(&server, 6, &[("target_platforms", "'webapp'"), ("publish_at", "'2026-01-02 00:00:00'")]).await;
    add(&server, 7, &[("target_roles", "'ADMIN,SUPERADMIN'"), ("priority", "-1")]).await;
    let nobody = server.anonymous();
    assert_eq!(titles(&nobody, "").await, ["News 2", "News 6", "News 1"]);
    assert_eq!(titles(&nobody, "?platform=qgis_plugin").await, ["News 2", "News 1"]);
    assert_eq!(titles(&nobody, "?platform=qgis_plugin&version=2.9.1").await, ["News 1"]);
    assert_eq!(titles(&nobody, "?version=odd").await.len(), 3);
    assert_eq!(titles(&server.account("ada", Role::Admin).await, "").await.last().unwrap(), "News 7");
    assert_eq!(titles(&server.user("bob").await, "").await.len(), 3);
    let page = nobody.get("/api/v1/news?page=2&per_page=2").await.expect(200);
    assert_eq!((&page["page"], &page["per_page"], &page["total"]), (&json!(2), &json!(2), &json!(3)));
    assert_eq!(page["data"][0]["title"], "News 1");
    for odd in ["?page=0", "?per_page=-1", "?page=x", "?page=9223372036854775807"] {
        nobody.get(&format!("/api/v1/news{odd}")).await.expect(200);
    }
}

#[tokio::test]
async fn an_item_is_told_in_the_reader_s_language_and_as_html_that_does_nothing() {
    let server = Server::api_only().await;
    let message = "'one\ntwo <script>x</script><b onclick=x>three</b> [bad](javascript:x) [good](https://example.org)'";
    add(&server, 1, &[("message", message), ("link_text", "'more'")]).await;
    server
        .execute(
            "INSERT INTO news_item_translation (id, news_item_id, language_code, title, message, is_machine_translated, created_at, updated_at)
             VALUES ('60000000-0000-4000-8000-000000000001', '50000000-0000-4000-8000-000000000001', 'es', 'Hola', '**m**', TRUE, '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
        )
        .await;
    let item = async |query: &str| server.anonymous().get(&format!("/api/v1/news{query}")).await.data(200)[0].take();
    let english: Value = item("?lang=fr").await;
    let html = "<p>one<br>\ntwo <b>three</b> <a>bad</a> <a href=\"https://example.org\">good</a></p>";
    assert_eq!(english["message_html"], html);
    assert_eq!(english["target_platforms"], json!(["app", "qgis_plugin"]));
    assert_eq!((&english["target_roles"], &english["expires_at"]), (&json!([]), &Value::Null));
    let spanish = item("?lang=es").await;
    assert_eq!((&spanish["title"], &spanish["message_html"]), (&json!("Hola"), &json!("<p><strong>m</strong></p>")));
    assert_eq!(spanish["link_text"], "more");
}

#[tokio::test]
async fn a_platform_is_known_by_both_of_its_names_and_a_version_is_compared_as_one() {
    let server = Server::api_only().await;
    add(&server, 1, &[("target_platforms", "'app, webapp,api-ui'")]).await;
    add(&server, 2, &[("target_platforms", "'qgis_plugin,web,api_ui'")]).await;
    add(&server, 3, &[("target_platforms", "'webapp'"), ("max_version", "'2.2.4rc1'")]).await;
    let nobody = server.anonymous();
    for (platform, n) in
        [("app", 2), ("qgis_plugin", 2), ("web", 3), ("webapp", 3), ("api-ui", 2), ("api_ui", 2), ("we", 0)]
    {
        assert_eq!(titles(&nobody, &format!("?platform={platform}")).await.len(), n, "{platform}");
    }
    for (version, n) in [("2.2.4.dev1", 1), ("2.2.4rc1", 1), ("2.2.4", 0), ("2.10", 0), ("odd", 1)] {
        let shown = titles(&nobody, &format!("?version={version}")).await;
        assert_eq!(shown.iter().filter(|title| *title == "News 3").count(), n, "{version}");
    }
    assert_eq!(titles(&nobody, "?sort=-title").await, ["News 3", "News 2", "News 1"]);
    assert_eq!(titles(&nobody, "?sort=metadata").await.len(), 3);
}

#[tokio::test]
async fn administrators_write_news_and_see_what_others_do_not_see_yet() {
    let server = Server::api_only().await;
    let (root, boss, nobody) = (server.admin().await, server.account("boss", Role::Admin).await, server.anonymous());
    let at = |id: &Value| format!("/api/v1/admin/news/{}", id.as_str().unwrap());
    let new = json!({"title": "Soon", "message": "*m*", "publish_at": "2999-01-01T02:00:00+02:00", "target_roles": ["ADMIN"],
        "target_platforms": ["app", "web"], "link_url": "", "priority": 7});
    let made = boss.post("/api/v1/admin/news", &new).await.data(201);
    assert_eq!((&made["publish_at"], &made["target_roles"]), (&json!("2999-01-01T00:00:00"), &json!(["ADMIN"])));
    assert_eq!(
        (&made["link_text"], &made["link_url"], &made["news_type"]),
        (&json!("Learn more"), &Value::Null, &json!("announcement"))
    );
    let path = at(&made["id"]);
    let public = path.replace("/admin", "");
    // Who writes sees it, in the list and alone; nobody else does, before it is published and after it for one role only.
    let listed = root.get("/api/v1/admin/news?page=0").await.expect(200);
    assert_eq!((&listed["data"][0]["id"], &listed["total"], &listed["page"]), (&made["id"], &json!(1), &json!(1)));
    boss.get(&public).await.refused(404, "News item not found");
    let changed =
        boss.patch(&path, &json!({"publish_at": "2026-01-01", "is_active": null, "title": "Now"})).await.data(200);
    assert_eq!((&changed["title"], &changed["is_active"]), (&json!("Now"), &json!(true)));
    nobody.get(&public).await.refused(404, "News item not found");
    assert_eq!(boss.get(&public).await.data(200)["title"], "Now");
    let put = json!({"target_roles": "", "link_text": null, "expires_at": "2999-01-01", "max_version": "9"});
    let open = boss.send(boss.request(reqwest::Method::PUT, &path).json(&put)).await.data(200);
    assert_eq!((&open["target_roles"], &open["expires_at"]), (&json!([]), &json!("2999-01-01T00:00:00")));
    assert_eq!(nobody.get(&public).await.data(200)["id"], made["id"]);
    let same = boss.patch(&path, &json!({"unknown": 1})).await.data(200);
    assert_eq!(
        (&same["updated_at"], boss.patch(&path, &json!({"expires_at": null})).await.data(200)["expires_at"].is_null()),
        (&open["updated_at"], true)
    );
    for (body, sentence) in [
        (
            json!({"link_url": "java\tscript:alert(1)"}),
            "link_url is \"java\\tscript:alert(1)\"; it must be an address such as https://example.org",
        ),
        (json!({"title": "x".repeat(256)}), "title has 256 characters; at most 255 are kept"),
        (json!({"title": null}), "title must be text"),
        (json!({"min_version": 2}), "min_version must be text"),
        (json!({"priority": 1.5}), "priority must be a whole number"),
        (json!({"is_active": "yes"}), "is_active must be true or false"),
        (json!({"expires_at": 5}), "Invalid expires_at date format"),
        (json!({}), "Request body required"),
    ] {
        boss.patch(&path, &body).await.refused(400, sentence);
    }

    // Translations: all or none, and read by who asks for the language.
    let translations = format!("{path}/translations");
    let put = async |body: &Value| boss.send(boss.request(reqwest::Method::PUT, &translations).json(body)).await;
    let both = json!({"translations": {"es": {"title": "Ahora", "message": "<img src=x onerror=y>"}, "fr": {"title": "t", "message": "m", "link_text": "plus"}}});
    assert_eq!(put(&both).await.data(200)["es"]["message_html"], "<img src=\"x\">");
    for (languages, sentence) in [
        (json!({"fr": null, "es": {"title": "t"}}), "message is required for es translation"),
        (json!({"fr": null, "pt": "olá"}), "The pt translation must be an object, or null"),
        (json!({"fr": null, "xx": null}), "Unsupported language: xx. Supported: ar, es, fa, fr, pt, ru, sw, zh"),
        (json!([]), "translations object required"),
    ] {
        put(&json!({"translations": languages})).await.refused(400, sentence);
    }
    let whole = boss.get(&path).await.expect(200);
    assert_eq!((&whole["title"], whole["translations"].as_object().unwrap().len()), (&json!("Now"), 2));
    assert_eq!(nobody.get(&format!("{public}?lang=es")).await.data(200)["title"], "Ahora");
    put(&json!({"translations": {"es": null}})).await.data(200);
    assert_eq!(nobody.get("/api/v1/news?lang=es").await.data(200)[0]["title"], "Now");

    // Who wrote it goes, and it stays; then it goes with its translations.
    let id = boss.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    root.delete(&format!("/api/v1/user/{id}")).await.expect(200);
    let heir = root.get("/api/v1/user/me").await.data(200)["id"].take();
    assert_eq!(root.get(&path).await.expect(200)["created_by_id"], heir);
    assert_eq!(root.delete(&path).await.expect(200), json!({"message": "News item deleted", "status": "success"}));
    assert_eq!(server.rows("news_item_translation").await, 0);
    root.delete(&path).await.refused(404, "News item not found");
}
