//! `/unsubscribe`: by the link of a mail, ours or the existing server's.

use serde_json::json;
use trends_earth::store::Id;

use crate::support::{Options, Server, token};

#[tokio::test]
async fn a_link_of_a_mail_opens_the_switches_and_nothing_else() {
    let server =
        Server::with(Options::default().without_worker().set("UNSUBSCRIBE_JWT_SECRET", "another secret")).await;
    let ada = server.user("ada").await;
    let id = ada.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    let now = server.app.clock.now();
    let ours = server.app.tokens.issue_unsubscribe(Id::parse(&id).unwrap(), 180, now).unwrap();
    let old = token::sign(&json!({"sub": id, "purpose": "unsubscribe"}), "another secret");
    for link in [&ours, &old] {
        let path = format!("/api/v1/unsubscribe?token={link}");
        let before = server.anonymous().get(&path).await.data(200);
        assert_eq!((&before["automated"], &before["system_updates"]), (&json!(true), &json!(true)));
        let body = r#"{"automated": false, "news": true, "engagement": "yes"}"#;
        let request = server.anonymous().request(reqwest::Method::PATCH, &path).body(body);
        let answer = server.anonymous().send(request).await.expect(200);
        let after = &answer["data"];
        assert_eq!(
            (&after["automated"], &after["news"], &after["engagement"]),
            (&json!(false), &json!(true), &json!(false))
        );
        assert_eq!(answer["message"], "Subscription preferences updated.");
        server.anonymous().with_token(link.to_owned()).get("/api/v1/user/me").await.expect(401);
        let page = server.anonymous().get(&format!("/unsubscribe?token={link}")).await;
        assert!(page.status == 200 && String::from_utf8(page.bytes).unwrap().contains("name=\"news\" checked"));
        let form = format!("token={link}&automated=on&system_updates=on");
        let kept = server.anonymous().post_raw("/unsubscribe", "application/x-www-form-urlencoded", form).await;
        assert_eq!(kept.status, 200);
    }
    let sign = |claims| token::sign(&claims, "another secret");
    for (link, sentence) in [
        (String::new(), "token query parameter is required."),
        ("garbage".into(), "Invalid or malformed unsubscribe token."),
        (ada.token.clone().unwrap(), "Invalid or malformed unsubscribe token."),
        (
            sign(json!({"sub": id, "purpose": "unsubscribe", "exp": 1})),
            "Unsubscribe link has expired. Please contact support.",
        ),
        (sign(json!({"sub": id, "purpose": "login"})), "Invalid token purpose."),
        (sign(json!({"purpose": "unsubscribe"})), "Token missing user identifier."),
        (sign(json!({"purpose": "unsubscribe", "sub": "x"})), "Invalid user identifier in token."),
    ] {
        server.anonymous().get(&format!("/api/v1/unsubscribe?token={link}")).await.refused(400, sentence);
    }
    let path = format!("/api/v1/unsubscribe?token={ours}");
    server
        .anonymous()
        .patch(&path, &json!({"other": true}))
        .await
        .refused(400, "No valid subscription fields provided.");
}
