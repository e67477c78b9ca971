//! `user`: accounts from the shell, with and without a server beside it.

use serde_json::json;

use crate::support::{Place, Server};

const PASSWORD: &str = "Shell!Passw0rd#1";

#[tokio::test]
async fn an_account_is_made_listed_and_changed_with_the_password_from_standard_input() {
    let place = Place::new().await;
    let create = ["user", "create", "Ada@Example.org", "--role", "superadmin", "--name", "Ada Lovelace"];
    let said = place.on_data(&create).input(&format!("{PASSWORD}\n")).run().await;
    assert!(said.ended(0).starts_with("The account Ada@Example.org is made (id "), "{}", said.out);
    assert!(!said.out.contains(PASSWORD) && !said.err.contains(PASSWORD));
    let said = place.on_data(&["user", "create", "bob@example.org"]).input(PASSWORD).run().await;
    said.ended(0);
    let said = place.on_data(&["user", "set-role", "BOB@example.org", "ADMIN"]).run().await;
    assert_eq!(said.ended(0), "BOB@example.org is now ADMIN.\n");
    let said = place.on_data(&["user", "list"]).run().await;
    assert_eq!(said.ended(0), "SUPERADMIN  ada@example.org  Ada Lovelace\nADMIN       bob@example.org  bob\n");
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_a_sentence() {
    let place = Place::new().await;
    let create = |email| place.on_data(&["user", "create", email]);
    create("ada@example.org").input(PASSWORD).run().await.ended(0);
    create("ADA@example.org").input(PASSWORD).run().await.failed("Email address is already registered");
    for email in ["ada", "@example.org", "ada@", "a b@example.org", "ada@local"] {
        create(email).input(PASSWORD).run().await.failed("is not an e-mail address.");
    }
    create("bob@example.org").input("short\n").run().await.failed("Password must be at least 12 characters long");
    let nobody = "There is no account bob@example.org.";
    place.on_data(&["user", "set-password", "bob@example.org"]).input(PASSWORD).run().await.failed(nobody);
    place.on_data(&["user", "set-role", "bob@example.org", "USER"]).run().await.failed(nobody);
    let said = place.on_data(&["user", "set-role", "ada@example.org", "KING"]).run().await;
    said.ended(2);
    assert!(said.err.contains("USER, ADMIN, SUPERADMIN"), "{}", said.err);
}

/// Everything happens in the database, which a server shares: it need not be stopped.
#[tokio::test]
async fn beside_a_running_server_accounts_change_at_once_and_old_sessions_end() {
    let server = Server::api_only().await;
    let place = Place::new().await;
    let user = |words: &[&str]| {
        let mut all = vec!["user"];
        all.extend_from_slice(words);
        all.extend(["--data-dir", server.folder.to_str().unwrap()]);
        server.env().iter().fold(place.program(&all), |program, (name, value)| program.env(name, value))
    };
    user(&["create", "eve@example.org"]).input(PASSWORD).run().await.ended(0);
    let eve = server.sign_in("eve@example.org", PASSWORD).await;
    eve.get("/api/v1/user/me").await.expect(200);

    user(&["set-role", "eve@example.org", "ADMIN"]).run().await.ended(0);
    assert_eq!(eve.get("/api/v1/user/me").await.data(200)["role"], "ADMIN");

    let other = "Other!Passw0rd#2";
    let said = user(&["set-password", "eve@example.org"]).input(other).run().await;
    assert_eq!(said.ended(0), "The password is changed; all sessions of the account have ended.\n");
    eve.get("/api/v1/user/me").await.expect(401);
    let old = json!({"email": "eve@example.org", "password": PASSWORD});
    server.anonymous().post("/auth", &old).await.expect(401);
    server.sign_in("eve@example.org", other).await.get("/api/v1/user/me").await.expect(200);
}
