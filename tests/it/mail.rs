//! Letters: written with what they are about, sent later, at most once, however the mail server feels.

use serde_json::{Value, json};

use crate::support::{
    Client, Options, Package, Server,
    mail_server::{MailServer, Mood},
    until,
};

/// Letters as files of the data folder, oldest first.
pub fn files(server: &Server) -> Vec<String> {
    let mut files = server.files(&["mail"]);
    files.retain(|path| path.extension().is_some_and(|kind| kind == "eml"));
    files.iter().map(|path| decoded(&std::fs::read_to_string(path).unwrap())).collect()
}

/// Quoted-printable as text.
fn decoded(mail: &str) -> String {
    let mail = mail.replace("=\r\n", "").replace("=\n", "");
    mail.replace("=3D", "=").replace("=C3=AB", "ë")
}

pub fn link(mail: &str) -> String {
    let start = mail.find("http://").unwrap();
    mail[start..].split_whitespace().next().unwrap().to_owned()
}

async fn letter(server: &Server, n: usize) -> String {
    until("a letter is written", async || files(server).len() >= n).await;
    files(server).pop().unwrap()
}

const NEW: &str = "Br4nd!New#Password";

#[tokio::test]
async fn whoever_registers_gets_a_link_and_sets_a_password_without_any_web_application() {
    let server = Server::start().await;
    let body = json!({"email": "zoe@example.org", "name": "Zoë"});
    server.anonymous().post("/api/v1/user", &body).await.data(200);
    let mail = letter(&server, 1).await;
    assert!(
        mail.contains("To: zoe@example.org") && mail.contains("Subject: [trends.earth] Welcome - Set Your Password"),
        "{mail}"
    );
    assert!(mail.contains("Welcome to Trends.Earth, Zoë!"), "{mail}");
    let token = link(&mail).split("token=").nth(1).unwrap().to_owned();
    assert_eq!(token.len(), 64);

    let page = server.anonymous().get(&format!("/reset-password?token={token}")).await;
    assert_eq!((page.status, page.headers["referrer-policy"].to_str().unwrap()), (200, "no-referrer"));
    assert!(String::from_utf8(page.bytes.clone()).unwrap().contains(&format!("value=\"{token}\"")));
    let form = |password: &str| format!("token={token}&password={}", password.replace('#', "%23"));
    let kind = "application/x-www-form-urlencoded";
    let weak = server.anonymous().post_raw("/reset-password", kind, form("short")).await;
    assert_eq!(weak.status, 422);
    assert!(String::from_utf8(weak.bytes).unwrap().contains("Password must be at least 12 characters long"));
    assert_eq!(server.anonymous().post_raw("/reset-password", kind, form(NEW)).await.status, 200);
    let me = server.sign_in("zoe@example.org", NEW).await.get("/api/v1/user/me").await.data(200);
    assert_eq!(me["email_verified"], true);
    let again = server.anonymous().post_raw("/reset-password", kind, form(NEW)).await;
    assert!(String::from_utf8(again.bytes).unwrap().contains("Invalid or expired password reset token"));
    // What opened the account is kept nowhere in clear.
    let (text, stored): (String, String) = {
        let rows: Vec<(String, String)> = trends_earth::reading!(&server.app.db, |on| sqlx::query_as(
            "SELECT (SELECT text FROM mail_outbox WHERE event LIKE 'welcome:%'), (SELECT token FROM password_reset_token LIMIT 1)"
        )
        .fetch_all(on)
        .await)
        .unwrap();
        rows[0].clone()
    };
    assert_eq!(text, "");
    assert_ne!(stored, token);
    let guess = json!({"token": stored, "password": NEW});
    server
        .anonymous()
        .post("/api/v1/user/reset-password", &guess)
        .await
        .refused(404, "Invalid or expired password reset token");
}

#[tokio::test]
async fn known_and_unknown_addresses_are_answered_alike_and_a_mailbox_is_not_flooded() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let recover = async |who: &str| {
        let answer = server.anonymous().post(&format!("/api/v1/user/{who}/recover-password"), &json!({})).await;
        answer.data(200)["message"].as_str().unwrap().to_owned()
    };
    for who in ["nobody@example.org", "ADA@example.org", "me", "00000000-0000-4000-8000-000000000000"] {
        assert_eq!(
            recover(who).await,
            "If an account with that email exists, a password recovery email has been sent."
        );
    }
    for _ in 0..4 {
        recover("ada@example.org").await;
    }
    letter(&server, 3).await;
    assert_eq!(server.rows("mail_outbox").await, 3);
    let mails = files(&server);
    let tokens: Vec<String> = mails.iter().map(|mail| link(mail).split("token=").nth(1).unwrap().to_owned()).collect();
    let reset = async |token: &str| {
        let body = json!({"token": token, "password": NEW});
        server.anonymous().post("/api/v1/user/reset-password", &body).await.status
    };
    // A newer link ends an older one; one is used once, and ends every session.
    let mut worked = 0;
    for token in &tokens {
        worked += u8::from(reset(token).await == 200);
    }
    assert_eq!(worked, 1);
    ada.get("/api/v1/user/me").await.expect(401);
    server.sign_in("ada@example.org", NEW).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_reset_is_said() {
    let server = Server::api_only().await;
    let post = async |body: Value| server.anonymous().post("/api/v1/user/reset-password", &body).await;
    post(json!({})).await.refused(400, "Request body required");
    post(json!({"password": NEW})).await.refused(400, "Reset token is required");
    post(json!({"token": "x"})).await.refused(400, "New password is required");
    post(json!({"token": "x", "password": "y"})).await.refused(404, "Invalid or expired password reset token");
    server.anonymous().post_empty("/api/v1/user/reset-password").await.refused(400, "Request body required");
}

#[tokio::test]
async fn a_mail_server_that_hangs_refuses_and_comes_back_breaks_no_request_and_loses_no_letter() {
    let mail = MailServer::start(Mood::Hangs);
    let mut server = Server::with(Options::default().set("TE_SMTP_URL", &mail.url)).await;
    let begun = std::time::Instant::now();
    let body = json!({"email": "ada@example.org", "name": "Ada\r\nBcc: all@example.org"});
    server.anonymous().post("/api/v1/user", &body).await.refused(400, "Name contains invalid characters");
    server.anonymous().post("/api/v1/user", &json!({"email": "ada@example.org", "name": "Ada"})).await.data(200);
    assert!(begun.elapsed().as_secs() < 2, "nobody waits for the mail server");
    let error = async |server: &Server| {
        let row: Vec<Option<String>> =
            trends_earth::reading!(&server.app.db, |on| sqlx::query_scalar("SELECT last_error FROM mail_outbox")
                .fetch_all(on)
                .await)
            .unwrap();
        row[0].clone().unwrap_or_default()
    };
    until("the mail server was given up", async || error(&server).await.contains("does not answer")).await;
    // The waiting time is a minute and more; the test does not wait for it.
    let due = "UPDATE job SET run_at = '2020-01-01 00:00:00' WHERE state = 'waiting' AND kind = 'send_mail'";
    mail.turns(Mood::Refuses);
    server.execute(due).await;
    until("the mail server has refused", async || error(&server).await.contains("come back later")).await;
    server.kill();
    mail.turns(Mood::Takes);
    server.execute(due).await;
    server.restart().await;
    until("the letter is there", async || !mail.taken().is_empty()).await;
    until("it is noted", async || server.rows("mail_outbox WHERE sent_at IS NOT NULL").await == 1).await;
    assert_eq!((mail.taken().len(), mail.asked() >= 3), (1, true));
    let whole = decoded(&mail.taken()[0]);
    assert!(whole.contains("Message-ID: <") && whole.contains("To: ada@example.org"), "{whole}");
}

#[tokio::test]
async fn the_owner_hears_once_that_a_run_has_ended_and_every_word_is_escaped() {
    let server = Server::start().await;
    if !server.has_sandbox().await {
        server.may_log_errors();
        return crate::support::skip("the_owner_hears_once", "no sandbox works here");
    }
    let admin = server.admin().await;
    let package = Package::new("fails", "def run(params, logger):\n    raise ValueError('no <b>data</b>')\n");
    admin.publish_built(&package).await;
    server.execute("UPDATE script SET public = TRUE").await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    bob.patch("/api/v1/user/me", &json!({"email_notifications_enabled": false})).await.data(200);
    let run = async |who: &Client| {
        let id = who.run("fails", &json!({"task_name": "<script>1</script>"})).await;
        who.ended(&id).await;
        id
    };
    let (of_ada, _) = (run(&ada).await, run(&bob).await);
    let mail = letter(&server, 1).await;
    assert!(
        mail.contains("To: ada@example.org") && mail.contains("Subject: [trends.earth] Execution finished"),
        "{mail}"
    );
    assert!(mail.contains(&of_ada) && mail.contains("FAILED") && mail.contains("&lt;script&gt;1&lt;"), "{mail}");
    assert!(mail.contains("no &lt;b&gt;data&lt;"), "{mail}");
    // The link of the notice switches notices off, without signing in.
    let token = link(&mail).split("/unsubscribe?token=").nth(1).unwrap().to_owned();
    let switches = format!("/api/v1/unsubscribe?token={token}");
    assert_eq!(server.anonymous().get(&switches).await.data(200)["automated"], true);
    let off = server.anonymous().patch(&switches, &json!({"automated": false})).await.data(200);
    assert_eq!(off["automated"], false);
    // Whatever a caller names a task, the run ends.
    for name in [json!(5), json!(true), json!({"a": 1}), json!("a\u{0}b")] {
        let id = bob.run("fails", &json!({"task_name": name})).await;
        assert_eq!(bob.ended(&id).await["status"], "FAILED", "{name}");
    }
    // A late word of the run changes nothing, and nobody hears again.
    admin.patch(&format!("/api/v1/execution/{of_ada}"), &json!({"status": "FAILED"})).await.data(200);
    assert_eq!(server.rows("mail_outbox").await, 1);
}

#[tokio::test]
async fn mail_in_the_name_of_the_installation_is_for_its_own_programs() {
    let server = Server::start().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let body = json!({"recipients": ["a@example.org", {"address": {"email": "b@example.org"}}, {"address": "c@example.org"}, "nonsense"],
        "subject": "News\r\nBcc: x@example.org", "html": "<p>Hello</p>"});
    for path in ["/email", "/api/v1/email"] {
        server.anonymous().post(path, &body).await.expect(401);
        ada.post(path, &body).await.refused(403, "Forbidden");
        let answer = admin.post(path, &body).await.expect(200);
        assert_eq!(
            (&answer["total_accepted_recipients"], &answer["total_rejected_recipients"]),
            (&json!(3), &json!(1))
        );
    }
    let mail = letter(&server, 6).await;
    assert!(mail.contains("Subject: News  Bcc: x@example.org"), "{mail}");
    for (key, value, sentence) in [
        ("recipients", json!([]), "recipients must be a list of addresses, and not empty"),
        ("recipients", json!(["x"]), "recipients holds no valid e-mail address"),
        ("html", json!(5), "html must be text, and not empty"),
        ("subject", json!(" "), "subject must be text, and not empty"),
    ] {
        let mut wrong = body.clone();
        wrong[key] = value;
        admin.post("/email", &wrong).await.refused(400, sentence);
    }
}

/// SparkPost, as far as it is needed: takes what comes and keeps it.
async fn sparkpost() -> (String, std::sync::Arc<std::sync::Mutex<Vec<(String, Value)>>>) {
    let taken: std::sync::Arc<std::sync::Mutex<Vec<(String, Value)>>> = std::sync::Arc::default();
    let keep = taken.clone();
    let take = move |headers: axum::http::HeaderMap, body: String| async move {
        let key = headers.get("authorization").unwrap().to_str().unwrap().to_owned();
        keep.lock().unwrap().push((key, serde_json::from_str(&body).unwrap()));
        r#"{"results":{"total_accepted_recipients":1}}"#
    };
    let routes = axum::Router::new().route("/api/v1/transmissions", axum::routing::post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (url, taken)
}

#[tokio::test]
async fn a_letter_goes_by_sparkpost_as_the_existing_server_sends_it() {
    let (url, taken) = sparkpost().await;
    let options = Options::default().set("SPARKPOST_API_KEY", "the key").set("TE_SPARKPOST_URL", &url);
    let server = Server::with(options).await;
    server.anonymous().post("/api/v1/user", &json!({"email": "ada@example.org", "name": "Ada"})).await.data(200);
    until("the letter was sent", async || server.rows("mail_outbox WHERE sent_at IS NOT NULL").await == 1).await;
    let taken = taken.lock().unwrap().clone();
    let (key, body) = &taken[0];
    assert_eq!((key.as_str(), taken.len()), ("the key", 1));
    assert_eq!(body["recipients"], json!([{"address": {"email": "ada@example.org"}}]));
    assert_eq!(body["content"]["from"], json!({"email": "api@trends.earth", "name": "Trends.Earth"}));
    assert_eq!(body["content"]["subject"], "[trends.earth] Welcome - Set Your Password");
    assert_eq!(body["options"], json!({"transactional": true}));
    assert!(body["content"]["html"].as_str().unwrap().contains("/reset-password?token="));
    assert!(!server.log().contains("the key"));
}
