//! `check`: each part of the installation, a line each, and nothing is changed.

use secrecy::SecretString;
use trends_earth::fernet::Fernet;

use crate::support::{Place, Said};

fn is_a_line_each(said: &Said) {
    for line in said.out.lines() {
        let known = ["ok    ", "FAILS ", "      "].iter().any(|start| line.starts_with(start));
        assert!(known, "{line:?} is no line of a part: {}", said.out);
    }
}

fn line<'a>(said: &'a Said, part: &str) -> &'a str {
    let found = said.out.lines().find(|line| line[6..].starts_with(&format!("{part}: ")));
    found.unwrap_or_else(|| panic!("no line for {part}: {}{}", said.out, said.err))
}

#[tokio::test]
async fn every_part_is_said_in_a_line() {
    let place = Place::new().await;
    let said = place.on_data(&["check"]).run().await;
    is_a_line_each(&said);
    for part in ["configuration", "data folder", "database", "objects", "python", "sandbox"] {
        line(&said, part);
    }
    // The exit code is that of the worst line.
    assert_eq!(said.code == Some(0), !said.out.lines().any(|line| line.starts_with("FAILS")), "{}", said.out);
    if place.is_postgres() {
        assert!(line(&said, "database").starts_with("FAILS database: not up to date: 0001 reference"), "{}", said.out);
    } else {
        assert_eq!(line(&said, "database"), "ok    database: none yet; the first start makes one");
    }

    place.on_data(&["migrate"]).run().await.ended(0);
    let said = place.on_data(&["check"]).run().await;
    is_a_line_each(&said);
    assert!(line(&said, "database").ends_with(", up to date"), "{}", said.out);
}

#[tokio::test]
async fn a_part_that_fails_does_not_hide_the_others() {
    let place = Place::new().await;
    let gone = place.on_data(&["check"]).env("TE_PYTHON", "/no/such/python").run().await;
    gone.ended(1);
    is_a_line_each(&gone);
    assert!(line(&gone, "scripts").contains("/no/such/python"), "{}", gone.out);
    line(&gone, "objects");

    let url = "postgresql://nobody:secret-word@127.0.0.1:9/none";
    let said = place.on_data(&["check"]).env("DATABASE_URL", url).env("JWT_SECRET_KEY", "x".repeat(40)).run().await;
    said.ended(1);
    is_a_line_each(&said);
    assert!(line(&said, "database").starts_with("FAILS database: the database does not answer"), "{}", said.out);
    line(&said, "objects");
    assert!(!said.out.contains("secret-word") && !said.err.contains("secret-word"), "{}{}", said.out, said.err);

    let said = place.on_data(&["check"]).env("TE_MAX_RUNS", "many").run().await;
    said.failed("TE_MAX_RUNS is \"many\"; it must be a number from 1 to 100000.");
}

#[tokio::test]
async fn stored_credentials_that_the_key_does_not_open_are_counted() {
    let place = Place::new().await;
    place.on_data(&["migrate"]).run().await.ended(0);
    let said = place.on_data(&["check"]).run().await;
    assert_eq!(line(&said, "credentials"), "ok    credentials: nobody has stored any");
    let fernet = |secret: &str| Fernet::new(&SecretString::from(secret)).unwrap();
    let good = fernet("right").encrypt(&SecretString::from("1//token"));
    let foreign = fernet("wrong").encrypt(&SecretString::from("1//token"));
    let db = place.database().await;
    for (n, token, refresh) in [(1, &good, None), (2, &good, Some(&good)), (3, &good, Some(&foreign))] {
        let email = format!("ann{n}@example.org");
        let made = place.on_data(&["user", "create", &email]).input("User!Passw0rd#12\n").run().await;
        made.ended(0);
        let text = r#"UPDATE "user" SET gee_oauth_token = $2, gee_refresh_token = $3 WHERE email = $1"#;
        trends_earth::writing!(&db, |on| sqlx::query(text)
            .bind(&email)
            .bind(token)
            .bind(refresh)
            .execute(on)
            .await
            .map(drop))
        .unwrap();
    }
    db.close().await;
    let two = "FAILS credentials: what 2 of 3 people have stored for Earth Engine and openEO can be read; set GEE_ENCRYPTION_KEY";
    let said = place.on_data(&["check"]).env("GEE_ENCRYPTION_KEY", "right").run().await;
    assert!(line(&said, "credentials").starts_with(two), "{}", said.out);
    assert_eq!(said.code, Some(1));
    // Without a key of their own they stand under the general one, but in prod under none.
    let said = place.on_data(&["check"]).env("SECRET_KEY", "right").run().await;
    assert!(line(&said, "credentials").starts_with(two), "{}", said.out);
    let prod = place.on_data(&["check"]).env("ENVIRONMENT", "prod").env("SECRET_KEY", "right");
    let prod = prod.env("JWT_SECRET_KEY", "x".repeat(40)).env("CORS_ORIGINS", "https://app.example.org");
    assert!(line(&prod.run().await, "credentials").contains("what 0 of 3 people"));
    let known = place.on_data(&["check"]).env("GEE_ENCRYPTION_KEY", "default-key-change-in-production");
    known.run().await.failed("is the default that everybody knows");
}
