//! `migrate`: says what is pending, brings the database up to date, and refuses one of a newer release.

use sqlx::AssertSqlSafe;
use trends_earth::store::Db;

use crate::support::Place;

/// Marks the place's database as brought further by a later release.
async fn from_the_future(place: &Place) {
    let db = place.database().await;
    let sql = AssertSqlSafe(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         SELECT 9001, 'later', success, checksum, 1 FROM _sqlx_migrations WHERE version = 1",
    );
    match &db {
        Db::Sqlite { write, .. } => drop(sqlx::raw_sql(sql).execute(write).await.unwrap()),
        Db::Postgres(pool) => drop(sqlx::raw_sql(sql).execute(&**pool).await.unwrap()),
    }
    db.close().await;
}

#[tokio::test]
async fn check_says_what_is_pending_and_changes_nothing() {
    let place = Place::new().await;
    if place.is_postgres() {
        let said = place.on_data(&["migrate", "--check"]).run().await;
        assert!(said.ended(1).starts_with("pending: 0001 reference\npending: 0002 ours\n"), "{}", said.out);
    } else {
        let said = place.on_data(&["migrate", "--check"]).run().await;
        said.failed("There is no database yet at ");
        assert!(!place.data.exists(), "--check makes nothing");
        std::fs::create_dir(&place.data).unwrap();
        place.database().await.close().await;
        let said = place.on_data(&["migrate", "--check"]).run().await;
        assert!(said.ended(1).starts_with("pending: 0001 reference\npending: 0002 ours\n"), "{}", said.out);
        std::fs::remove_dir_all(&place.data).unwrap();
    }
    assert_eq!(place.on_data(&["migrate"]).run().await.ended(0), "The database is up to date.\n");
    assert_eq!(place.on_data(&["migrate", "--check"]).run().await.ended(0), "The database is up to date.\n");
    assert_eq!(place.on_data(&["migrate"]).run().await.ended(0), "The database is up to date.\n");
}

#[tokio::test]
async fn a_database_of_a_newer_release_is_left_alone() {
    let place = Place::new().await;
    place.on_data(&["migrate"]).run().await.ended(0);
    from_the_future(&place).await;
    let sentence = "The database has been brought to step 9001 by a newer release; this is ";
    for words in [&["migrate", "--check"][..], &["migrate"], &["serve", "--listen", "127.0.0.1:0"], &["user", "list"]] {
        place.on_data(words).run().await.failed(sentence);
    }
}
