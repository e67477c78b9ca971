//! Migrations: all of them over sample rows, both folders against each other, kept counts, and the reference's own database.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use sqlx::{AssertSqlSafe, migrate::Migrator};
use trends_earth::store::Db;

use crate::support::{self, Place, skip};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Names of the steps of a folder, in order.
fn steps(folder: &str) -> Vec<String> {
    let files = std::fs::read_dir(root(folder)).unwrap();
    let names: BTreeSet<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.into_iter().filter(|name| name.ends_with(".sql")).collect()
}

async fn execute(db: &Db, sql: impl Into<String>) {
    let sql = AssertSqlSafe(sql.into());
    match db {
        Db::Sqlite { write, .. } => drop(sqlx::raw_sql(sql).execute(write).await.unwrap()),
        Db::Postgres(pool) => drop(sqlx::raw_sql(sql).execute(&**pool).await.unwrap()),
    }
}

/// The first two columns of a query, as text.
async fn pairs(db: &Db, sql: &str) -> Vec<(String, String)> {
    let sql = AssertSqlSafe(sql.to_owned());
    match db {
        Db::Sqlite { read, .. } => sqlx::query_as(sql).fetch_all(read).await.unwrap(),
        Db::Postgres(pool) => sqlx::query_as(sql).fetch_all(&**pool).await.unwrap(),
    }
}

/// Every table with its columns.
async fn columns(db: &Db) -> BTreeSet<(String, String)> {
    let sql = match db {
        Db::Sqlite { .. } => {
            "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c WHERE t.type = 'table'
             AND t.name NOT LIKE 'sqlite%'"
        }
        Db::Postgres(_) => {
            "SELECT c.table_name::text, c.column_name::text FROM information_schema.columns c
             JOIN information_schema.tables t USING (table_schema, table_name)
             WHERE table_schema = 'public' AND t.table_type = 'BASE TABLE'"
        }
    };
    pairs(db, sql).await.into_iter().collect()
}

/// An empty database of the run.
async fn empty(place: &Place) -> Db {
    std::fs::create_dir_all(&place.data).unwrap();
    place.database().await
}

/// Applies every step over the rows of the ones before.
pub async fn migrate_over_samples(db: &Db) {
    let folder = if matches!(db, Db::Sqlite { .. }) { "migrations/sqlite" } else { "migrations/postgres" };
    let migrator = Migrator::new(root(folder)).await.unwrap();
    for (step, name) in migrator.iter().zip(steps(folder)) {
        match db {
            Db::Sqlite { write, .. } => migrator.run_to(step.version, write).await.unwrap(),
            Db::Postgres(pool) => migrator.run_to(step.version, &**pool).await.unwrap(),
        }
        let samples = root("tests/it/migrations").join(&name);
        let samples = std::fs::read_to_string(samples).unwrap_or_else(|_| panic!("{name} has no sample rows"));
        execute(db, samples).await;
    }
}

/// What is kept beside the executions, and what they are.
async fn counts(db: &Db) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let kept = "SELECT status, CAST(SUM(n) AS TEXT) FROM execution_count GROUP BY status HAVING SUM(n) <> 0";
    let counted = "SELECT status, CAST(count(*) AS TEXT) FROM execution GROUP BY status";
    (pairs(db, kept).await.into_iter().collect(), pairs(db, counted).await.into_iter().collect())
}

#[tokio::test]
async fn every_migration_applies_over_rows_of_the_ones_before() {
    let place = Place::new().await;
    let db = empty(&place).await;
    migrate_over_samples(&db).await;
    assert_eq!(db.pending().await.unwrap(), Vec::<String>::new());
    let empty_tables: Vec<String> = {
        let tables: BTreeSet<String> = columns(&db).await.into_iter().map(|(table, _)| table).collect();
        let mut without = Vec::new();
        for table in tables {
            let rows = pairs(&db, &format!("SELECT 'n', CAST(count(*) AS TEXT) FROM \"{table}\"")).await;
            if rows[0].1 == "0" {
                without.push(table);
            }
        }
        without
    };
    // A table without sample rows is one over which a later migration is never tried.
    assert_eq!(empty_tables, Vec::<String>::new());
    db.close().await;
}

#[tokio::test]
async fn both_folders_make_the_same_tables_and_columns() {
    assert_eq!(steps("migrations/sqlite"), steps("migrations/postgres"));
    if support::database_url().is_none() {
        return skip("both_folders_make_the_same_tables_and_columns", "PostgreSQL is needed too");
    }
    let place = Place::new().await;
    let postgres = empty(&place).await;
    postgres.migrate(None, |_| ()).await.unwrap();
    let sqlite = Db::open_sqlite(&place.data.join("beside.db")).await.unwrap();
    sqlite.migrate(None, |_| ()).await.unwrap();
    let (there, here) = (columns(&postgres).await, columns(&sqlite).await);
    assert!(there.len() > 100, "{there:?}");
    let apart: Vec<_> = there.symmetric_difference(&here).collect();
    assert!(apart.is_empty(), "in one database only: {apart:?}");
    postgres.close().await;
    sqlite.close().await;
}

#[tokio::test]
async fn counts_are_kept_whoever_writes() {
    let place = Place::new().await;
    let db = empty(&place).await;
    migrate_over_samples(&db).await;
    let check = async |after: &str| {
        let (kept, counted) = counts(&db).await;
        assert_eq!(kept, counted, "{after}");
    };
    check("the rows of before the trigger").await;
    let insert = |id: u32, status: &str| {
        format!(
            "INSERT INTO execution (id, status, script_id, user_id) VALUES ('5c000000-0000-4000-8000-0000000001{id:02}', '{status}',
             '5b000000-0000-4000-8000-000000000001', '5a000000-0000-4000-8000-000000000003')"
        )
    };
    for (id, status) in (10..).zip(["PENDING", "PENDING", "RUNNING", "FINISHED"]) {
        execute(&db, insert(id, status)).await;
    }
    check("inserts").await;
    execute(&db, "UPDATE execution SET status = 'READY' WHERE status = 'PENDING'").await;
    check("a change of many").await;
    execute(&db, "UPDATE execution SET status = 'READY', progress = 5 WHERE status = 'READY'").await;
    check("a change to the same").await;
    execute(&db, "UPDATE execution SET progress = 6").await;
    check("a change of something else").await;
    execute(&db, "DELETE FROM execution WHERE id = '5c000000-0000-4000-8000-000000000112'").await;
    check("a deletion").await;
    execute(&db, "DELETE FROM execution WHERE CAST(id AS TEXT) LIKE '5c000000-0000-4000-8000-0000000001%'").await;
    check("deletions").await;
    execute(&db, format!("BEGIN; {}; ROLLBACK", insert(20, "PENDING"))).await;
    check("what is rolled back").await;
    db.close().await;
}

/// Whatever can be said of the tables of a database, but for what is ours: columns, defaults, constraints, indexes, rows.
async fn description(db: &Db) -> BTreeSet<(String, String)> {
    const ALL: [&str; 5] = [
        "SELECT table_name || '.' || column_name,
                concat_ws(' ', ordinal_position, udt_name, character_maximum_length, is_nullable, column_default)
         FROM information_schema.columns WHERE table_schema = 'public'",
        "SELECT conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid) FROM pg_constraint
         WHERE connamespace = 'public'::regnamespace",
        "SELECT tablename || ' ' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
        "SELECT event_object_table || ' ' || trigger_name, action_statement FROM information_schema.triggers
         WHERE trigger_schema = 'public'",
        "SELECT c.relname || ' rows',
                (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM %I', c.relname), false, true, '')))[1]::text
         FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace",
    ];
    let mut said = BTreeSet::new();
    for sql in ALL {
        said.extend(pairs(db, sql).await);
    }
    said
}

#[tokio::test]
async fn the_reference_s_database_is_brought_up_to_date_and_keeps_all_that_is_its_own() {
    const NAME: &str = "the_reference_s_database_is_brought_up_to_date_and_keeps_all_that_is_its_own";
    let Some(reference) = support::reference() else {
        return skip(NAME, "the recorded reference does not lie beside the checkout");
    };
    if support::database_url().is_none() {
        return skip(NAME, "the reference's database is one of PostgreSQL");
    }
    let place = Place::new().await;
    place.load(&reference.join("database.sql"));
    let db = place.database().await;
    let before = description(&db).await;
    let tables: BTreeSet<String> = columns(&db).await.into_iter().map(|(table, _)| table).collect();
    let said = place.on_data(&["migrate", "--check"]).run().await;
    assert!(said.ended(1).contains("pending: 0002"), "{}", said.out);
    assert_eq!(description(&db).await, before, "--check changes nothing");

    let said = place.on_data(&["migrate"]).run().await;
    assert!(said.ended(0).contains("The database is up to date.\n"), "{}", said.out);
    place.on_data(&["migrate", "--check"]).run().await.ended(0);
    let after = description(&db).await;
    let gone: Vec<_> = before.difference(&after).collect();
    assert!(gone.is_empty(), "changed or gone: {gone:#?}");
    for (name, how) in after.difference(&before) {
        let table = name.split(['.', ' ']).next().unwrap().trim_matches('"');
        let added = name.split_once(' ').is_some_and(|(_, added)| added.starts_with("te_"));
        let nullable = how.ends_with("YES") && name.contains('.');
        assert!(!tables.contains(table) || added || nullable, "added to a table of the reference: {name}: {how}");
    }
    let (kept, counted) = counts(&db).await;
    assert_eq!(kept, counted);
    db.close().await;
}
