//! `copy`: an installation in another database is the same installation, or there is none.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use trends_earth::{
    reading,
    store::{Db, users::Role},
    writing,
};

use crate::{
    migrations::migrate_over_samples,
    support::{self, Options, Package, Place, Program, Server, compact, skip},
};

const PARAMS: &str =
    r#"{"n": 12345678901234567890123456789.000125, "big": 1e30, "small": -2.50E-7, "s": "é \"q\" \n\t \\ 😀"}"#;

/// What scripts may print: quotes, backslashes, control characters, letters outside the BMP, and what looks like SQL or JSON.
const ODD: &str = r#"import json
def run(params, logger):
    for line in ["tab\there 'q' \"d\" \\x00 {\"a\": [1]}", "\x1b[31m\u2028\u00a0é 😀", "'; DROP TABLE execution; --", " ", "null"]:
        logger.warning(line)
    return params
"#;

fn copy(place: &Place, from: &str, to: &str) -> Program {
    place.program(&["copy", "--from", from, "--to", to])
}

/// Rows and checksum of each table, which a copy has said twice each.
#[track_caller]
fn report(out: &str) -> BTreeMap<String, (u64, String)> {
    let (_, table) = out.split_once("checksum there\n").unwrap_or_else(|| panic!("no report: {out}"));
    let (table, end) = table.split_once("The counts of executions are right.\n").unwrap();
    assert!(end.starts_with("Everything has arrived.\nNot copied: the folder `objects`"), "{end}");
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!((words.len(), words[1], words[3]), (5, words[2], words[4]), "{line}");
        (words[0].to_owned(), (words[1].parse().unwrap(), words[3].to_owned()))
    };
    table.lines().map(line).collect()
}

async fn execute(db: &Db, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    writing!(db, |on| sqlx::raw_sql(sql).execute(on).await.map(drop)).unwrap();
}

/// A number that a query gives.
async fn number(db: &Db, sql: &str) -> i64 {
    let sql = AssertSqlSafe(sql.to_owned());
    reading!(db, |on| sqlx::query_scalar(sql).fetch_one(on).await).unwrap()
}

async fn sqlite(place: &Place) -> Db {
    Db::open(&place.sqlite_url(), std::time::Duration::ZERO, 4).await.unwrap()
}

/// Runs of the server, each with its log: what people see of an installation.
async fn seen(server: &Server) -> Vec<Value> {
    let admin = server.admin().await;
    let runs = admin.get("/api/v1/execution?include=failure&sort=start_date").await.data(200);
    let mut seen = Vec::new();
    for run in runs.as_array().unwrap() {
        let id = run["id"].as_str().unwrap();
        let params = admin.get(&format!("/api/v1/execution/{id}?include=params")).await;
        let log = admin.get(&format!("/api/v1/execution/{id}/log")).await.data(200);
        seen.push(json!({"run": compact(std::str::from_utf8(&params.bytes).unwrap()), "log": log}));
    }
    seen
}

/// From the database of the suite to SQLite, from there to the suite's, and once more to SQLite.
#[tokio::test]
async fn an_installation_that_was_used_goes_to_the_other_database_and_back() {
    let mut server = Server::start().await;
    let (admin, ann) = (server.admin().await, server.account("ann", Role::Admin).await);
    let zoe = json!({"email": "zoe@example.org", "name": "Zoë Müller"});
    server.anonymous().post("/api/v1/user", &zoe).await.data(200);
    let slug = ann.publish_built(&Package::new("Odd", ODD)).await;
    for params in [PARAMS, r#"{"fail": null}"#] {
        let run = ann.post_raw(&format!("/api/v1/script/{slug}/run"), "application/json", params).await.data(200);
        let ended = ann.ended(run["id"].as_str().unwrap()).await;
        assert_eq!(ended["status"], "FINISHED", "{ended}");
    }
    admin.patch("/api/v1/user/me", &json!({"institution": "Ça & là"})).await.expect(200);
    support::until("the letter is sent", async || server.rows("mail_outbox WHERE sent_at IS NOT NULL").await > 0).await;
    let before = seen(&server).await;
    assert_eq!(before.len(), 2);
    assert!(before[0].to_string().contains("12345678901234567890123456789.000125"), "{before:?}");
    // The newest number was given to a line that is gone: it must not be given again.
    server.execute("INSERT INTO execution_log (level, execution_id) SELECT 'INFO', id FROM execution").await;
    let largest = number(&server.app.db, "SELECT MAX(id) FROM execution_log").await;
    server.execute(&format!("DELETE FROM execution_log WHERE text IS NULL AND id > {}", largest - 2)).await;
    server.stop();

    let places = [Place::new().await, Place::new().await, Place::new().await];
    let suite = server.env().get("DATABASE_URL").cloned();
    let first = suite.unwrap_or_else(|| format!("sqlite://{}", server.folder.join("trends-earth.db").display()));
    let urls = [first, places[0].sqlite_url(), places[1].url(), places[2].sqlite_url()];
    let mut reports = Vec::new();
    for step in urls.windows(2) {
        let said = copy(&places[0], &step[0], &step[1]).run().await;
        reports.push(report(said.ended(0)));
    }
    assert!(reports[0]["user"].0 == 3 && reports[0]["execution"].0 == 2 && reports[0]["audit_event"].0 > 1);
    assert_eq!(
        reports[0]["execution_log"].0,
        number(&server.app.db, "SELECT COUNT(*) FROM execution_log").await as u64
    );
    assert_eq!((&reports[1], &reports[2]), (&reports[0], &reports[0]));

    for (place, on_suite) in [(&places[1], true), (&places[2], false)] {
        std::fs::create_dir_all(&place.data).unwrap();
        std::process::Command::new("chmod").arg("700").arg(&place.data).status().unwrap();
        std::process::Command::new("cp")
            .arg("-a")
            .arg(server.folder.join("objects"))
            .arg(&place.data)
            .status()
            .unwrap();
        let options = match on_suite && place.is_postgres() {
            true => Options::default().set("DATABASE_URL", place.url()),
            false => Options::default(),
        };
        let copied = Server::on(&place.data, options).await;
        assert_eq!(seen(&copied).await, before);
        let ann = copied.sign_in(&ann.email, &ann.password).await;
        let run = ann.finish(&slug, &json!({"again": true})).await;
        assert_eq!((&run["status"], &run["results"]["again"]), (&json!("FINISHED"), &json!(true)), "{run}");
        let new = format!("SELECT MIN(id) FROM execution_log WHERE execution_id = '{}'", run["id"].as_str().unwrap());
        assert!(number(&copied.app.db, &new).await > largest);
        assert_eq!(copied.rows("audit_event").await as u64, reports[0]["audit_event"].0, "nothing was done twice");
        assert_eq!(number(&copied.app.db, "SELECT CAST(SUM(n) AS BIGINT) FROM execution_count").await, 3);
    }
}

/// The sample rows of the migrations fill every table.
#[tokio::test]
async fn every_table_goes_there_and_back_and_a_database_in_use_is_never_a_target() {
    let (here, there, back) = (Place::new().await, Place::new().await, Place::new().await);
    std::fs::create_dir_all(&here.data).unwrap();
    let db = here.database().await;
    migrate_over_samples(&db).await;
    let first = report(copy(&here, &here.url(), &there.sqlite_url()).run().await.ended(0));
    let empty: Vec<_> = first.iter().filter(|(_, (rows, _))| *rows == 0).collect();
    assert!(first.len() > 30 && empty.is_empty(), "{} tables, empty: {empty:?}", first.len());
    let second = report(copy(&here, &there.sqlite_url(), &back.url()).run().await.ended(0));
    assert_eq!(first, second);

    let refused = "has rows. An installation is copied into an empty database; nothing was changed.";
    copy(&here, &here.url(), &back.url()).run().await.failed(refused);
    copy(&here, &back.url(), &there.sqlite_url()).run().await.failed(refused);
    // One row in any table is enough.
    let target = Place::new().await;
    std::fs::create_dir_all(&target.data).unwrap();
    let other = target.database().await;
    execute(&other, "CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('mine')").await;
    copy(&here, &here.url(), &target.url()).run().await.failed(&format!("--to: the table notes {refused}"));
    assert!(!other.has_table("user").await.unwrap(), "nothing is made where something is");
    execute(&other, "DELETE FROM notes").await;
    assert_eq!(report(copy(&here, &here.url(), &target.url()).run().await.ended(0)), first);
}

/// A target that does not keep what it is given, here because somebody has put a trigger there.
#[tokio::test]
async fn a_copy_that_reads_back_otherwise_is_taken_back() {
    let (here, there) = (Place::new().await, Place::new().await);
    for place in [&here, &there] {
        std::fs::create_dir_all(&place.data).unwrap();
    }
    migrate_over_samples(&here.database().await).await;
    let target = sqlite(&there).await;
    target.migrate(None, |_| ()).await.unwrap();
    let trigger = "CREATE TRIGGER spoil BEFORE INSERT ON script_log BEGIN SELECT RAISE(IGNORE); END";
    execute(&target, trigger).await;
    let said = copy(&here, &here.url(), &there.sqlite_url()).run().await;
    let line = said.ended(1).lines().find(|line| line.starts_with("script_log ")).unwrap();
    assert!(line.ends_with("  0000000000000000  DIFFERS"), "{line}");
    assert_eq!(said.out.matches("DIFFERS").count(), 1, "{}", said.out);
    assert!(
        said.out.ends_with("The copy is not the same. It was taken back: nothing is in the target.\n"),
        "{}",
        said.out
    );
    assert_eq!(number(&target, "SELECT COUNT(*) FROM \"user\"").await, 0);
    execute(&target, "DROP TRIGGER spoil").await;
    report(copy(&here, &here.url(), &there.sqlite_url()).run().await.ended(0));
}

#[tokio::test]
async fn a_copy_that_is_killed_leaves_nothing_and_may_begin_again() {
    const LINES: u32 = 100_000;
    let (here, there, back) = (Place::new().await, Place::new().await, Place::new().await);
    std::fs::create_dir_all(&here.data).unwrap();
    let db = here.database().await;
    migrate_over_samples(&db).await;
    execute(
        &db,
        &format!(
            "INSERT INTO execution_log (text, level, execution_id)
             WITH RECURSIVE line (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM line WHERE n < {LINES})
             SELECT 'line ' || n, 'INFO', (SELECT id FROM execution LIMIT 1) FROM line"
        ),
    )
    .await;
    for (from, to) in [(here.url(), there.sqlite_url()), (there.sqlite_url(), back.url())] {
        let mut copying = copy(&here, &from, &to).start().await;
        copying.until("copied execution: ").await;
        copying.signal(Signal::SIGKILL);
        let said = copying.end().await;
        assert!(said.code.is_none() && !said.out.contains("Everything has arrived"), "{}{}", said.out, said.err);
        let target = Db::open(&to, std::time::Duration::ZERO, 4).await.unwrap();
        for table in ["\"user\"", "execution", "execution_log", "execution_count"] {
            assert_eq!(number(&target, &format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
        }
        target.close().await;
        let arrived = report(copy(&here, &from, &to).run().await.ended(0));
        assert!(arrived["execution_log"].0 > u64::from(LINES), "{arrived:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_copied_is_said_in_a_sentence() {
    let (here, there) = (Place::new().await, Place::new().await);
    let run = async |from: &str, to: &str| copy(&here, from, to).run().await;
    let target = there.sqlite_url();
    let wrong = "must be sqlite://path or postgresql://user@host/name.";
    for url in ["mysql://x/y", "", "sqlite://", "trends-earth.db"] {
        run(url, &target).await.failed(&format!("--from {wrong}"));
        run(&target, url).await.failed(&format!("--to {wrong}"));
    }
    run("sqlite:///nowhere/x.db", &target).await.failed("--from: there is no database at /nowhere/x.db.");
    let away = run("postgresql://me:secret@127.0.0.1:1/x", &target).await;
    away.failed("--from: the database does not answer");
    assert!(!away.err.contains("secret"), "{}", away.err);
    assert!(!there.data.join("trends-earth.db").exists(), "nothing is made for a source that is not there");

    std::fs::create_dir_all(&here.data).unwrap();
    let db = here.database().await;
    run(&here.url(), &target).await.failed("--from: there is no installation in this database.");
    db.migrate(None, |_| ()).await.unwrap();
    execute(&db, "DELETE FROM _sqlx_migrations WHERE version = 5").await;
    let pending =
        "--from: the database is not up to date; run `trends-earth migrate` on it first. Pending: 0005 statistics";
    run(&here.url(), &target).await.failed(pending);

    let server = Server::api_only().await;
    let busy = format!("sqlite://{}", server.folder.join("trends-earth.db").display());
    if !server.env().contains_key("DATABASE_URL") {
        let sentence =
            "A database is copied while no server runs on it, as the lock of its folder says: Another server works on ";
        run(&busy, &target).await.failed(sentence);
    }
}

/// Tables and columns that both have; what the other server alone has is named.
#[tokio::test]
async fn a_database_of_the_existing_server_goes_to_sqlite() {
    const NAME: &str = "a_database_of_the_existing_server_goes_to_sqlite";
    let (Some(reference), true) = (support::reference(), support::database_url().is_some()) else {
        return skip(NAME, "PostgreSQL and the recorded reference are needed");
    };
    let (here, there) = (Place::new().await, Place::new().await);
    here.load(&reference.join("database.sql"));
    let db = here.database().await;
    execute(
        &db,
        "CREATE TABLE theirs (x integer); INSERT INTO theirs VALUES (1); ALTER TABLE script ADD COLUMN theirs text",
    )
    .await;
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/migrations/0001_reference.sql");
    here.load(&samples);
    let said = copy(&here, &here.url(), &there.sqlite_url()).run().await;
    for line in [
        "left out: the table alembic_version, which the target does not have",
        "left out: the table theirs, which the target does not have",
        "left out: the column script.theirs, which the target does not have",
        "empty, because the source does not have them: audit_event, ",
    ] {
        assert!(said.ended(0).contains(line), "{}", said.out);
    }
    assert!(report(&said.out)["execution_log"].0 > 0);
    let copied = sqlite(&there).await;
    assert_eq!(copied.pending().await.unwrap(), Vec::<String>::new());
    assert!(!copied.has_table("alembic_version").await.unwrap());
}
