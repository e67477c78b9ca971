//! `check`: each part of the installation, a line each, and nothing is changed.

use crate::support::{Place, Said, google::service_account};

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

    let lends = |key: String| place.on_data(&["check"]).env("TE_PYTHON", "/none").env("EE_SERVICE_ACCOUNT_JSON", key);
    let said = lends(service_account("operator").to_string()).run().await;
    let whose = "ok    earth engine: runs are lent what their owners have stored, else operator@operator-project.iam.gserviceaccount.com; people cannot consent";
    assert!(line(&said, "earth engine").starts_with(whose), "{}", said.out);
    let bad = "EE_SERVICE_ACCOUNT_JSON is not the key of a service account, as JSON or as that in base64.";
    lends("bm9uZQ==".into()).run().await.failed(bad);

    let said = place.on_data(&["check"]).env("TE_MAX_RUNS", "many").run().await;
    said.failed("TE_MAX_RUNS is \"many\"; it must be a number from 1 to 100000.");
}
