//! `GET /api/v1/news`.

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
    assert_eq!((&page["page"], &page["per_page"], &page["total"]), (&json!(2), &json!(2), &json!(4)));
    assert_eq!(page["data"][0]["title"], "News 1");
    for odd in ["?page=0", "?per_page=-1", "?page=x", "?page=9223372036854775807"] {
        nobody.get(&format!("/api/v1/news{odd}")).await.expect(200);
    }
}

#[tokio::test]
async fn an_item_is_told_in_the_reader_s_language_and_as_html_that_does_nothing() {
    let server = Server::api_only().await;
    let message = "'one\ntwo <script>x</script> [bad](javascript:x) [good](https://example.org)'";
    add(&server, 1, &[("message", message), ("link_text", "'more'")]).await;
    server
        .execute(
            "INSERT INTO news_item_translation (id, news_item_id, language_code, title, message, is_machine_translated, created_at, updated_at)
             VALUES ('60000000-0000-4000-8000-000000000001', '50000000-0000-4000-8000-000000000001', 'es', 'Hola', '**m**', TRUE, '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
        )
        .await;
    let item = async |query: &str| server.anonymous().get(&format!("/api/v1/news{query}")).await.data(200)[0].take();
    let english: Value = item("?lang=fr").await;
    let html = "<p>one<br />\ntwo &lt;script&gt;x&lt;/script&gt; <a href=\"#\">bad</a> <a href=\"https://example.org\">good</a></p>";
    assert_eq!(english["message_html"], html);
    assert_eq!(english["target_platforms"], json!(["app", "qgis_plugin"]));
    assert_eq!((&english["target_roles"], &english["expires_at"]), (&json!([]), &Value::Null));
    let spanish = item("?lang=es").await;
    assert_eq!((&spanish["title"], &spanish["message_html"]), (&json!("Hola"), &json!("<p><strong>m</strong></p>")));
    assert_eq!(spanish["link_text"], "more");
}
