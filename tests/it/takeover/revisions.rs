//! Which databases are taken over: the first revision, which is mended, and unknown ones, if they have what is needed.

use std::path::Path;

use super::{connect, dump, execute, number, on_postgres, reference};

#[tokio::test]
async fn the_first_revision_is_mended_and_can_be_had_back() {
    let Some(place) = on_postgres("the_first_revision_is_mended_and_can_be_had_back").await else { return };
    place.load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/takeover/seed.sql"));
    let before = dump(&place);
    let said = place.on_data(&["migrate", "--check"]).run().await;
    for words in
        ["at its revision 115924e98eb5, the first one", "status_log", "script.restricted", "PENDING 1, RUNNING 1"]
    {
        assert!(said.ended(1).contains(words), "{words}: {}", said.out);
    }
    assert_eq!(dump(&place), before, "--check changes nothing");

    let said = place.on_data(&["migrate"]).run().await;
    assert!(said.ended(0).contains("2 executions that have not ended have lost the end"), "{}", said.out);
    place.on_data(&["migrate", "--check"]).run().await.ended(0);
    let mut on = connect(&place).await;
    let open = "SELECT count(*) FROM execution WHERE end_date IS NULL AND status IN ('PENDING', 'RUNNING')";
    assert_eq!(number(&mut on, open).await, 2);
    assert_eq!(number(&mut on, "SELECT count(*) FROM execution WHERE end_date IS NOT NULL").await, 2, "ends stay");
    let like_now = "SELECT count(*) FROM script WHERE NOT restricted AND uses_gee AND compute_type = 'gee'";
    assert_eq!(number(&mut on, like_now).await, 1);
    assert_eq!(number(&mut on, "SELECT count(*) FROM alembic_version WHERE version_num = '115924e98eb5'").await, 1);
    assert!(place.on_data(&["user", "list"]).run().await.ended(0).contains("early@example.org"));
    // What its own server writes passes as before.
    execute(
        &mut on,
        "INSERT INTO \"user\" (id, email, password) VALUES ('5a000000-0000-4000-8000-000000000003', 'late@example.org', 'x');
         INSERT INTO script (id, name, slug, status) VALUES ('5b000000-0000-4000-8000-000000000002', 'late', 'late', 'PENDING')",
    )
    .await;

    place.on_data(&["migrate", "--remove"]).run().await.ended(0);
    assert_eq!(dump(&place), before);
    assert_eq!(number(&mut on, "SELECT count(*) FROM \"user\"").await, 3);
}

#[tokio::test]
async fn an_unknown_revision_needs_everything_and_somebody_who_accepts_it() {
    let Some(place) = reference("an_unknown_revision_needs_everything_and_somebody_who_accepts_it").await else {
        return;
    };
    let mut on = connect(&place).await;
    execute(&mut on, "UPDATE alembic_version SET version_num = 'fedcba987654'; ALTER TABLE script RENAME COLUMN restricted TO closed").await;
    let before = dump(&place);
    let why = "This release does not know the revision fedcba987654 of the existing server, and tables or columns are missing that \
               are needed: script.restricted.";
    place.on_data(&["migrate"]).run().await.failed(why);
    place.on_data(&["migrate", "--accept-revision", "fedcba987654"]).run().await.failed(why);
    execute(&mut on, "ALTER TABLE script RENAME COLUMN closed TO restricted").await;
    let why = "to go on, say `trends-earth migrate --accept-revision fedcba987654`";
    let said = place.on_data(&["migrate", "--check"]).run().await;
    assert!(said.ended(1).contains(why), "{}", said.out);
    place.on_data(&["migrate"]).run().await.failed(why);
    place.on_data(&["migrate", "--accept-revision", "0123"]).run().await.failed(why);
    assert_ne!(dump(&place), before, "only the column was renamed");
    let said = place.on_data(&["migrate", "--accept-revision", "fedcba987654"]).run().await;
    assert!(said.ended(0).contains("Everything that is needed is there; the revision is accepted."), "{}", said.out);

    // Accounts of nobody that we know.
    let Some(place) = on_postgres("an_unknown_revision_needs_everything_and_somebody_who_accepts_it").await else {
        return;
    };
    execute(&mut connect(&place).await, "CREATE TABLE \"user\" (id uuid PRIMARY KEY)").await;
    place
        .on_data(&["migrate"])
        .run()
        .await
        .failed("The database has accounts, but is neither this server's nor one of the existing");
    for words in [&["migrate", "--remove"][..], &["migrate", "--leave-reference"]] {
        place.on_data(words).run().await.failed("This is not a database of the existing Trends.Earth server.");
    }
}
