//! Signing in, and what is kept of it.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use trends_earth::store::users::Role;

use super::Author;
use crate::support::{Server, token};

fn kept(author: &Author) -> Value {
    serde_json::from_slice(&std::fs::read(author.session()).unwrap()).unwrap()
}

fn keep(author: &Author, session: &Value) {
    std::fs::write(author.session(), session.to_string()).unwrap();
}

#[tokio::test]
async fn a_session_is_kept_where_nobody_else_reads_it_until_it_is_signed_out() {
    let server = Server::api_only().await;
    let ada = Author::new(&server, "ada", Role::User).await;
    let said = ada.client(&["list"]).run().await;
    said.ended(2);
    assert!(said.err.contains("Nobody is signed in; sign in first: trends-earth client login"), "{}", said.err);

    ada.sign_in(&server.base).await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&ada.session()), mode(&ada.config())), (0o600, 0o700));
    assert_eq!(std::fs::read_dir(ada.config()).unwrap().count(), 1);
    assert!(!kept(&ada).to_string().contains(&ada.password));

    // Server and account are known from then on.
    ada.client(&["login"]).input(&ada.password).run().await.ended(0);
    std::fs::set_permissions(ada.session(), PermissionsExt::from_mode(0o644)).unwrap();
    let said = ada.client(&["list"]).run().await;
    assert!(said.err.contains("can be read by others (mode 644)"), "{}", said.err);
    std::fs::set_permissions(ada.session(), PermissionsExt::from_mode(0o600)).unwrap();

    let refresh = kept(&ada)["refresh_token"].clone();
    ada.client(&["logout"]).run().await.ended(0);
    assert!(!ada.session().exists());
    server.anonymous().post("/auth/refresh", &json!({"refresh_token": refresh})).await.expect(401);
}

#[tokio::test]
async fn who_is_not_let_in_hears_why_and_nothing_is_kept() {
    let server = Server::api_only().await;
    let ada = Author::new(&server, "ada", Role::User).await;
    let login = |url: &str| ada.client(&["login", "--url", url, "--email", &ada.email]);
    let said = login(&server.base).input("wrong\n").run().await;
    said.ended(2);
    assert_eq!(said.err, "trends-earth: Bad username or password\n");
    for (url, why) in [
        ("http://127.0.0.1:9", "http://127.0.0.1:9 cannot be reached"),
        ("ftp://127.0.0.1", "is no address such as https://api.trends.earth"),
        (&format!("{}/nowhere", server.base), "Not Found"),
    ] {
        let said = login(url).input(&ada.password).run().await;
        said.ended(2);
        assert!(said.err.contains(why) && !said.err.contains("panicked"), "{}", said.err);
    }
    assert!(!ada.session().exists());
    let said = ada.client(&["login", "--url", &server.base]).input(&ada.password).run().await;
    said.ended(2);
    assert!(said.err.contains("Say whom to sign in: --email"), "{}", said.err);
}

#[tokio::test]
async fn a_token_that_has_ended_is_traded_for_a_new_one_which_is_kept() {
    let server = Server::api_only().await;
    let ada = Author::signed_in(&server, "ada", &server.base).await;
    let mut session = kept(&ada);
    let (_, mut claims) = token::read(session["access_token"].as_str().unwrap());
    claims["exp"] = json!(claims["iat"].as_i64().unwrap() - 3_600);
    let old = token::sign(&claims, token::SECRET);
    server.anonymous().with_token(old.clone()).get("/api/v1/user/me").await.expect(401);
    session["access_token"] = json!(old);
    keep(&ada, &session);

    ada.client(&["list"]).run().await.ended(0);
    let new = kept(&ada);
    assert_ne!(new["access_token"], json!(old));
    assert_eq!((&new["refresh_token"], &new["url"]), (&session["refresh_token"], &session["url"]));
    server
        .anonymous()
        .with_token(new["access_token"].as_str().unwrap().to_owned())
        .get("/api/v1/user/me")
        .await
        .expect(200);

    session["refresh_token"] = json!("ended");
    keep(&ada, &session);
    let said = ada.client(&["list"]).run().await;
    said.ended(2);
    assert_eq!(said.err, "trends-earth: The session has ended; sign in again: trends-earth client login\n");
}
