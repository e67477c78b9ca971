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

#[tokio::test]
async fn a_class_is_made_from_a_file_at_once_or_not_at_all() {
    let place = Place::new().await;
    place.on_data(&["user", "create", "ada@example.org"]).input(PASSWORD).run().await.ended(0);
    let file = place.data.join("class.csv");
    let create = async |text: &str| {
        std::fs::create_dir_all(&place.data).unwrap();
        std::fs::write(&file, text).unwrap();
        place.on_data(&["user", "create", "--from", file.to_str().unwrap()]).run().await
    };
    let wrong = create("email,name,role\nbob@example.org,Bob,\nbob@example.org,Bob,\nnonsense,X,\nada@example.org,Ada,\ncy@example.org,C;y,KING\n").await;
    for line in [
        "line 3: bob@example.org stands there twice",
        "line 4: Invalid email format",
        "line 5: ada@example.org is already registered",
        "line 6: Name contains invalid characters",
    ] {
        assert!(wrong.err.contains(line), "{}", wrong.err);
    }
    create("name\nx\n").await.failed("The first line must name the columns");
    let said = create("\u{feff}Email,Name,Country\nbob@example.org,Bob,Kenya\ncy@example.org,,\n").await;
    let lines: Vec<&str> = said.ended(0).lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[0].starts_with("bob@example.org\thttp://") && lines[1].contains("/reset-password?token="),
        "{lines:?}"
    );
    let invited = place.on_data(&["user", "invite", "dan@example.org", "--role", "ADMIN"]).run().await;
    assert!(invited.ended(0).contains("The account dan@example.org is made.") && invited.out.contains("token="));
    let list = place.on_data(&["user", "list"]).run().await;
    assert!(
        list.ended(0).contains("ADMIN       dan@example.org  dan")
            && list.out.contains("USER        cy@example.org  cy")
    );
}
