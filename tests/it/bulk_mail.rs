//! Mails to many: drafts and lists, who may send, and that everybody gets one letter whatever dies meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use trends_earth::{reading, store::users::Role};

use crate::support::{
    Client, Options, Server,
    mail_server::{MailServer, Mood},
    setting, until,
};

const MAILS: &str = "/api/v1/bulk-email";
const LISTS: &str = "/api/v1/bulk-email/recipient-list";

fn options() -> Options {
    Options::default().set("BULK_EMAIL_APPROVED_SENDERS", "someone@example.org, Admin@example.org")
}

async fn draft(admin: &Client, list: &Value) -> Value {
    let new = json!({"name": " N ", "subject": "Hello {{name}}", "recipient_list_id": list, "subscription_type": "news",
        "html_content": "<div><p style=\"color:red\" onclick=\"x\">Dear {{ name }} of {{email}}</p><script>alert(1)</script><a href=\"javascript:x\">y</a></div>"});
    admin.post(MAILS, &new).await.data(201)
}

fn at(mail: &Value) -> String {
    format!("{MAILS}/{}", mail["id"].as_str().unwrap())
}

/// The words of the letters that wait, by recipient.
async fn words(server: &Server, event: &str) -> Vec<(String, String, String)> {
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT recipient, subject, text || COALESCE(html, '') FROM mail_outbox WHERE event LIKE '{event}%' ORDER BY recipient, created_at"
    ));
    reading!(&server.app.db, |on| sqlx::query_as(text).fetch_all(on).await).unwrap()
}

#[tokio::test]
async fn drafts_are_harmless_and_sent_only_by_who_is_approved_and_knows_the_code() {
    let server =
        Server::with(options().without_worker().set("RATE_LIMITING_ENABLED", true).set("BULK_EMAIL_MAX_RECIPIENTS", 1))
            .await;
    let (admin, other) = (server.admin().await, server.account("other", Role::Superadmin).await);
    server.user("ada").await;
    server.user("bob").await;
    server
        .execute(
            "UPDATE \"user\" SET email_subscription_news = TRUE, name = 'A <b>' WHERE email <> 'other@example.org'",
        )
        .await;

    // Lists: what is wrong is said in a sentence.
    let users = json!({"name": "users", "filter_criteria": {"roles": ["USER"], "min_created_at": "2020-01-01", "email_verified": null, "bogus": 1}});
    let list = admin.post(LISTS, &users).await.data(201);
    assert_eq!((&list["estimated_count"], list.get("created_by")), (&json!(2), None));
    assert_eq!(admin.get(LISTS).await.data(200)[0]["created_by"], "admin@example.org");
    let all = admin.post(LISTS, &json!({"name": "all", "filter_criteria": null})).await.data(201);
    assert_eq!(all["estimated_count"], 4);
    for (criteria, sentence) in [
        (json!({"roles": ["X", "USER"]}), "Unknown role(s): ['X']. Valid values: ['ADMIN', 'SUPERADMIN', 'USER']."),
        (
            json!({"min_created_at": "zz"}),
            "Invalid datetime for 'min_created_at': 'zz'. Expected ISO 8601 format, e.g. '2024-01-01T00:00:00'.",
        ),
        (json!({"email_verified": "no"}), "email_verified must be true or false."),
        (json!([1]), "filter_criteria must be an object."),
    ] {
        let body = json!({"name": "x", "filter_criteria": criteria});
        admin.post(LISTS, &body).await.refused(400, sentence);
        admin.post(&format!("{LISTS}/preview"), &body).await.refused(400, sentence);
    }
    let page = json!({"filter_criteria": {"email_verified": false}, "sort": "email desc", "per_page": 2});
    let preview = admin.post(&format!("{LISTS}/preview"), &page).await.data(200);
    let emails: Vec<&str> =
        preview["sample"].as_array().unwrap().iter().map(|one| one["email"].as_str().unwrap()).collect();
    assert_eq!(emails.len(), 2.min(usize::try_from(preview["total"].as_u64().unwrap()).unwrap()), "{preview}");
    for (body, sentence) in [
        (json!({"name": 5}), "name is required."),
        (json!({"name": "x".repeat(201)}), "name has more than 200 characters."),
    ] {
        admin.post(LISTS, &body).await.refused(400, sentence);
    }

    // Drafts.
    let mail = draft(&admin, &Value::Null).await;
    let path = at(&mail);
    assert_eq!(mail["html_content"], "<p style=\"color:red\">Dear {{ name }} of {{email}}</p>alert(1)<a>y</a>");
    assert_eq!(
        (&mail["name"], &mail["status"], &mail["created_by"]),
        (&json!("N"), &json!("DRAFT"), &json!("admin@example.org"))
    );
    for (body, sentence) in [
        (
            json!({"name": null, "subscription_type": "zz"}),
            "Invalid subscription_type 'zz'. Valid values: ['engagement', 'news', 'system_updates'].",
        ),
        (json!({"recipient_list_id": "garbage"}), "There is no recipient list 'garbage'."),
        (
            json!({"subject": "x".repeat(501)}),
            "The mail is too long: at most 200 characters of name, 500 of subject and 1 MiB of html_content.",
        ),
        (json!({"subject": 5}), "subject must be text."),
    ] {
        admin.patch(&path, &body).await.refused(400, sentence);
    }
    let changed = admin.patch(&path, &json!({"fields_data": {"a": 1.50}, "name": null})).await.data(202);
    assert_eq!(
        (&changed["fields_data"], &changed["name"], &changed["subscription_type"]),
        (&json!({"a": 1.5}), &json!("N"), &json!("news"))
    );
    admin.get(&format!("{MAILS}/garbage")).await.refused(404, "Bulk email 'garbage' not found.");

    // Test letters, and the limit that holds for administrators too.
    assert_eq!(admin.post_empty(&format!("{path}/send-test")).await.data(200), json!({"superadmin_count": 2}));
    assert_eq!(
        admin.post_empty(&format!("{path}/send-test-self")).await.data(200),
        json!({"sent_to": "admin@example.org"})
    );
    let tests = words(&server, "bulk-test").await;
    assert_eq!((tests.len(), tests[0].1.as_str()), (3, "[TEST] Hello A <b>"));
    assert!(
        tests[0].2.contains("Dear A &lt;b&gt; of admin@example.org") && tests[0].2.contains("/unsubscribe?token="),
        "{}",
        tests[0].2
    );
    for _ in 1..10 {
        admin.post_empty(&format!("{path}/send-test-self")).await.expect(200);
    }
    admin.post_empty(&format!("{path}/send-test-self")).await.expect(429);

    // Who sends, to whom, and with which code.
    let send = format!("{path}/send");
    other.post(&send, &json!({})).await.refused(403, "User 'other@example.org' is not an approved bulk email sender.");
    admin.post(&send, &json!({})).await.refused(400, "The mail has no recipient list; choose one first.");
    let asked = admin.post(&send, &json!({"recipient_list_id": list["id"]})).await.expect(428);
    assert_eq!(
        asked,
        json!({"message": "Verification required: 2 recipients exceeds threshold 1.", "recipient_count": 2, "requires_verification": true})
    );
    admin.post(&send, &json!({"code": "123456"})).await.refused(400, "Invalid or expired verification code.");
    let code = async || {
        admin.post_empty(&format!("{path}/send-verification")).await.expect(200);
        let (_, subject, text) = words(&server, "bulk-code").await.pop().unwrap();
        assert_eq!(subject, "[Trends.Earth] Bulk Email Send Verification Code");
        text.split_whitespace().find(|word| word.len() == 6 && word.parse::<u32>().is_ok()).unwrap().to_owned()
    };
    let first = code().await;
    let wrong = if first == "000000" { "000001" } else { "000000" };
    admin
        .post(&send, &json!({"code": wrong}))
        .await
        .refused(400, "Invalid verification code. Request a new code and try again.");
    admin.post(&send, &json!({"code": first})).await.refused(400, "Invalid or expired verification code.");
    let second = code().await;
    let sending = admin.post_raw(&send, "text/plain", json!({"code": second}).to_string()).await.data(200);
    assert_eq!(
        (&sending["status"], &sending["sent_by"], &sending["recipient_list_id"]),
        (&json!("SENDING"), &json!("admin@example.org"), &list["id"])
    );
    admin.post(&send, &json!({"code": second})).await.refused(409, "Bulk email has already been sent.");
    admin
        .patch(&path, &json!({"name": "x"}))
        .await
        .refused(409, "Cannot update a bulk email that has already been sent.");
    admin.delete(&path).await.refused(409, "Cannot delete a bulk email that has already been sent.");
    let restore = format!("{path}/restore-draft");
    admin.post_empty(&restore).await.refused(409, "Cannot create a draft copy of a bulk email with status 'SENDING'.");
    server.execute("UPDATE bulk_email SET status = 'SENT'").await;
    let copy = admin.post_empty(&restore).await.data(200);
    assert_eq!(
        (&copy["name"], &copy["status"], &copy["recipient_list_id"]),
        (&json!("Copy of N"), &json!("DRAFT"), &Value::Null)
    );
    assert_eq!(admin.get(&format!("{MAILS}?status=draft")).await.data(200).as_array().unwrap().len(), 1);

    // Who made them goes, and they stay; a list goes, and the mail stays without it.
    let id = admin.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    other.delete(&format!("/api/v1/user/{id}")).await.expect(200);
    assert_eq!(other.get(&path).await.data(200)["created_by"], "other@example.org");
    other.delete(&format!("{LISTS}/{}", list["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(other.get(&path).await.data(200)["recipient_list_id"], Value::Null);
    other.delete(&at(&copy)).await.expect(200);
}

/// So many accounts that want news, and one that does not.
async fn crowd(server: &Server, n: u64) {
    let numbers: Vec<u64> = (0..=n).collect();
    for some in numbers.chunks(500) {
        let rows: Vec<String> = some
            .iter()
            .map(|i| {
                let wants = if *i == n { "FALSE" } else { "TRUE" };
                format!("('7a000000-0000-4000-8000-{i:012}', 'p{i}@example.org', 'x', 'P{i}', 'USER', {wants})")
            })
            .collect();
        let rows = rows.join(", ");
        server
            .execute(&format!(
                "INSERT INTO \"user\" (id, email, password, name, role, email_subscription_news) VALUES {rows}"
            ))
            .await;
    }
}

fn header<'a>(mail: &'a str, name: &str) -> &'a str {
    let line = mail.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("there is no {name} in {mail}")).trim()
}

#[tokio::test]
async fn everybody_gets_one_letter_though_the_server_is_killed_twice() {
    let n = setting("TE_TEST_LETTERS", 150);
    let smtp = MailServer::start(Mood::Takes);
    let options = options().set("TE_SMTP_URL", &smtp.url).set("BULK_EMAIL_MAX_RECIPIENTS", 1_000_000);
    let mut server = Server::with(options.set("TE_MAIL_POSTAL_ADDRESS", "1 Road, Town")).await;
    let admin = server.admin().await;
    crowd(&server, n).await;
    let list = admin.post(LISTS, &json!({"name": "users", "filter_criteria": {"roles": ["USER"]}})).await.data(201);
    assert_eq!(list["estimated_count"], n + 1);
    let mail = draft(&admin, &list["id"]).await;
    let begun = std::time::Instant::now();
    admin.post(&format!("{}/send", at(&mail)), &json!({})).await.data(200);
    for part in [4, 2] {
        until("some letters have come", async || smtp.taken().len() as u64 >= n / part).await;
        server.kill();
        server.restart().await;
    }
    let admin = server.moved(&admin);
    until("the mail is sent", async || admin.get(&at(&mail)).await.data(200)["status"] == "SENT").await;
    println!("{n} letters and two kills in {:?}", begun.elapsed());
    let sent = admin.get(&at(&mail)).await.data(200);
    assert_eq!(sent["recipient_count"], n);
    until("all letters are noted", async || server.rows("mail_outbox WHERE sent_at IS NOT NULL").await as u64 == n)
        .await;

    let mut letters: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let taken = smtp.taken();
    for letter in &taken {
        let to = header(letter, "To:").to_owned();
        letters.entry(to).or_default().insert(header(letter, "Message-ID:").to_owned());
    }
    let wanted: BTreeSet<String> = (0..n).map(|i| format!("p{i}@example.org")).collect();
    assert_eq!(letters.keys().cloned().collect::<BTreeSet<_>>(), wanted);
    assert!(letters.values().all(|ids| ids.len() == 1), "one letter, one id");
    // What a kill cut off between the mail server's word and ours is said again under the same id: by four at a time at most.
    let again = taken.len() as u64 - n;
    println!("{again} letters were handed over twice");
    assert!(again <= 8, "{again} letters came twice");
    let one = taken[0].replace("=\n", "");
    let name = header(&one, "To:").split('@').next().unwrap().to_uppercase();
    assert_eq!(header(&one, "From:"), "noreply@trends.earth");
    assert_eq!(header(&one, "Subject:"), format!("Hello {name}"));
    assert!(one.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click") && one.contains("1 Road, Town"), "{one}");

    // The mail program's own button ends mails to many, and only them.
    let unfolded = one.replace("\n ", "");
    let url = header(&unfolded, "List-Unsubscribe:").trim_matches(['<', '>']).to_owned();
    let path = url.split_once("/api/").unwrap().1;
    let switches = server
        .anonymous()
        .post_raw(&format!("/api/{path}"), "application/x-www-form-urlencoded", "List-Unsubscribe=One-Click")
        .await;
    assert_eq!(
        switches.data(200),
        json!({"automated": true, "engagement": false, "news": false, "system_updates": false})
    );
    // A mail that could be sent to nobody has failed, and goes later to those who have not got it.
    smtp.turns(Mood::Refuses);
    let other = draft(&admin, &list["id"]).await;
    let few = json!({"name": "few", "filter_criteria": {"roles": ["USER"], "max_created_at": "1999-01-01"}});
    let few = admin.post(LISTS, &few).await.data(201);
    server.execute("UPDATE \"user\" SET created_at = '1998-01-01 00:00:00', email_subscription_news = TRUE WHERE email IN ('p1@example.org', 'p2@example.org')").await;
    let send = format!("{}/send", at(&other));
    admin.post(&send, &json!({"recipient_list_id": few["id"]})).await.data(200);
    until("it has failed", async || admin.get(&at(&other)).await.data(200)["status"] == "FAILED").await;
    smtp.turns(Mood::Takes);
    let before = smtp.taken().len();
    admin.post(&send, &json!({})).await.data(200);
    until("it is sent", async || admin.get(&at(&other)).await.data(200)["status"] == "SENT").await;
    assert_eq!(smtp.taken().len() - before, 2);
}

/// SparkPost, as far as it is needed: keeps what is sent, and tells whom it suppressed, in two pages.
async fn sparkpost() -> (String, std::sync::Arc<std::sync::Mutex<Vec<Value>>>) {
    let taken: std::sync::Arc<std::sync::Mutex<Vec<Value>>> = std::sync::Arc::default();
    let keep = taken.clone();
    let take = move |body: String| async move {
        keep.lock().unwrap().push(serde_json::from_str(&body).unwrap());
        "{}"
    };
    let events = |uri: axum::http::Uri| async move {
        let query = uri.query().unwrap_or("");
        let event = |to: &str| json!({"type": "x", "rcpt_to": to});
        axum::Json(match query {
            query if query.starts_with("cursor") => json!({"results": [event("p1@example.org")]}),
            query if query.contains("bounce_classes=10") => json!({"results": [], "links": {}}),
            _ => json!({"results": [event("P0@Example.org"), event("nobody@example.org")],
                "links": {"next": "/api/v1/events/message?cursor=2"}}),
        })
    };
    let routes = axum::Router::new()
        .route("/api/v1/transmissions", axum::routing::post(take))
        .route("/api/v1/events/message", axum::routing::get(events));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (url, taken)
}

#[tokio::test]
async fn who_complains_at_sparkpost_gets_no_more_mails_to_many() {
    let (url, taken) = sparkpost().await;
    let options = options().set("SPARKPOST_API_KEY", "key").set("TE_SPARKPOST_URL", &url);
    let server = Server::with(options).await;
    let admin = server.admin().await;
    until("it was asked", async || server.rows("job WHERE kind = 'sync_suppressions' AND state = 'done'").await == 1)
        .await;
    crowd(&server, 3).await;
    server.execute("UPDATE job SET state = 'waiting', finished_at = NULL WHERE kind = 'sync_suppressions'").await;
    until("it was asked again", async || {
        server.rows("job WHERE kind = 'sync_suppressions' AND state = 'done'").await == 1
    })
    .await;
    assert_eq!(server.rows("\"user\" WHERE consent_source = 'sparkpost_suppression'").await, 2);
    let list = admin.post(LISTS, &json!({"name": "users", "filter_criteria": {"roles": ["USER"]}})).await.data(201);
    let mail = draft(&admin, &list["id"]).await;
    admin.post(&format!("{}/send", at(&mail)), &json!({})).await.data(200);
    until("the mail is sent", async || admin.get(&at(&mail)).await.data(200)["status"] == "SENT").await;
    let taken = taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0]["recipients"], json!([{"address": {"email": "p2@example.org"}}]));
    assert_eq!(
        (&taken[0]["options"]["transactional"], &taken[0]["content"]["from"]["email"]),
        (&json!(false), &json!("noreply@trends.earth"))
    );
    assert_eq!(taken[0]["content"]["headers"]["List-Unsubscribe-Post"], "List-Unsubscribe=One-Click");
}
