//! One life of a taken-over database: a migration that is killed, deletions by the existing server, its runs, the way back, and
//! the way on without it.

use nix::sys::signal::Signal;
use sqlx::{Connection, PgConnection};

use super::{connect, dump, execute, number, reference};
use crate::support::{Place, until};

/// As if nobody had changed a run lately.
const SILENCE: &str = "DELETE FROM status_log WHERE \"timestamp\" > (now() AT TIME ZONE 'UTC') - interval '1 hour'";

/// A migration is killed while it makes an index: the next one drops what is left of it.
async fn killed_in_the_middle(place: &Place, on: &mut PgConnection) {
    let mut reader = connect(place).await;
    execute(&mut reader, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM execution").await;
    let mut running = place.on_data(&["migrate"]).start().await;
    running.until("making the index te_execution_log_cursor").await;
    let broken = "SELECT count(*) FROM pg_index WHERE NOT indisvalid";
    until("the index waits for a reader", async || number(on, broken).await == 1).await;
    running.signal(Signal::SIGKILL);
    running.end().await;
    // The database notices by itself, after two seconds; a test does not wait for a clock.
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONC%'
        AND datname = current_database()";
    number(on, end).await;
    assert_eq!(number(on, broken).await, 1, "a broken index is left");
    let second = place.on_data(&["migrate"]).start().await;
    execute(&mut reader, "COMMIT").await;
    second.end().await.ended(0);
    assert_eq!(number(on, broken).await, 0);
    place.on_data(&["migrate", "--check"]).run().await.ended(0);
    reader.close().await.unwrap();
}

/// The existing server deletes an execution, a script and an account, on which rows of ours hang.
async fn deletions(on: &mut PgConnection) {
    let ours = "
        INSERT INTO script_version (id, script_id, number, digest, archive_key, config, status, created_by, created_at)
            VALUES ('40000000-0000-4000-8000-000000000002', 'SCRIPT', 1, 'd', 'k', '{}', 'SUCCESS', 'USER', '2026-01-01');
        INSERT INTO script_secret (script_id, name, ciphertext, granted_by, created_at) VALUES ('SCRIPT', 'n', 'c', 'USER', '2026-01-01');
        INSERT INTO execution_run (execution_id, script_version_id) VALUES ('EXECUTION', '40000000-0000-4000-8000-000000000002');
        INSERT INTO execution_flag (execution_id) VALUES ('EXECUTION');
        INSERT INTO execution_credential (execution_id, attempt, secret_sha256) VALUES ('EXECUTION', 1, 's');
        INSERT INTO execution_event (execution_id, at, status_to, cause) VALUES ('EXECUTION', '2026-01-01', 'PENDING', 'submitted');
        INSERT INTO execution_output (execution_id, text, collected_at) VALUES ('EXECUTION', 't', '2026-01-01');
        INSERT INTO idempotency_key (user_id, key, fingerprint, execution_id, created_at) VALUES ('USER', 'k', 'f', 'EXECUTION', '2026-01-01');
        INSERT INTO webhook_delivery (id, execution_id, event, url) VALUES ('40000000-0000-4000-8000-000000000003', 'EXECUTION', 'e', 'u');
        INSERT INTO execution_daily (ended, started, script_id, user_id, status, n, seconds)
            VALUES ('2026-01-01', '2026-01-01', 'SCRIPT', 'USER', 'FAILED', 1, 1);";
    let theirs = "
        INSERT INTO \"user\" (id, email, password, name) VALUES ('USER', 'gone@example.org', 'x', 'x');
        INSERT INTO script (id, name, slug, status, user_id, restricted) VALUES ('SCRIPT', 'gone', 'gone', 'SUCCESS', 'USER', false);
        INSERT INTO execution (id, status, script_id, user_id) VALUES ('EXECUTION', 'FAILED', 'SCRIPT', 'USER');";
    let delete = "DELETE FROM execution WHERE id = 'EXECUTION'; DELETE FROM script WHERE id = 'SCRIPT'; DELETE FROM \"user\" WHERE id = 'USER'";
    let sql = format!("{theirs}{ours}{delete}")
        .replace("'EXECUTION'", "'40000000-0000-4000-8000-000000000004'")
        .replace("'SCRIPT'", "'40000000-0000-4000-8000-000000000005'")
        .replace("'USER'", "'40000000-0000-4000-8000-000000000006'");
    execute(on, &sql).await;
    for table in
        ["script_version", "script_secret", "execution_run", "execution_event", "idempotency_key", "execution_daily"]
    {
        assert_eq!(number(on, &format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
}

/// Its unfinished runs become ours once it is silent: PENDING 2, READY 2, RUNNING 4, and one that is being cancelled.
async fn adoption(place: &Place, on: PgConnection) -> PgConnection {
    let refused = "The existing server may still be at work: postgres is connected to the database from 127.0.0.1.";
    place.on_data(&["migrate", "--adopt"]).run().await.failed(refused);
    let mut on = named(place, on).await;
    execute(
        &mut on,
        "UPDATE execution SET status = 'CANCELLING' WHERE id = (SELECT id FROM execution WHERE status = 'RUNNING' ORDER BY id LIMIT 1);
         INSERT INTO script_version (id, script_id, number, digest, archive_key, config, status, created_at)
             SELECT '40000000-0000-4000-8000-000000000001', script_id, 1, 'sha256:0', 'k', '{\"name\":\"x\"}', 'SUCCESS', '2026-01-01'
             FROM execution WHERE status = 'PENDING' ORDER BY id LIMIT 1;
         INSERT INTO status_log (\"timestamp\", status_to, execution_id) SELECT now() AT TIME ZONE 'UTC', 'RUNNING', id::text
             FROM execution WHERE status = 'RUNNING' LIMIT 1",
    )
    .await;
    place.on_data(&["migrate", "--adopt"]).run().await.failed("one of its runs changed or said something");
    execute(&mut on, "DELETE FROM status_log WHERE \"timestamp\" > (now() AT TIME ZONE 'UTC') - interval '1 hour'")
        .await;
    let said = place.on_data(&["migrate", "--adopt", "--check"]).run().await;
    assert!(said.ended(1).contains("would take over READY: 2"), "{}", said.out);

    let pending = number(
        &mut on,
        "SELECT count(*) FROM execution e JOIN script_version v USING (script_id) WHERE e.status = 'PENDING'",
    )
    .await;
    let said = place.on_data(&["migrate", "--adopt"]).run().await;
    for words in [
        format!("waiting for a worker of this server: {pending}\n"),
        "so FAILED: 5\n".into(),
        "so CANCELLED: 1\n".into(),
    ] {
        assert!(said.ended(0).contains(&words), "{words}: {}", said.out);
    }
    let waits = "SELECT count(*) FROM execution e JOIN execution_run r ON r.execution_id = e.id JOIN job j ON j.subject_id = e.id
        WHERE e.status = 'PENDING' AND e.queued_at IS NULL AND j.state = 'waiting' AND r.script_version_id IS NOT NULL";
    assert_eq!(number(&mut on, waits).await, pending);
    let failed = "SELECT count(*) FROM execution e JOIN execution_run r ON r.execution_id = e.id
        WHERE e.status = 'FAILED' AND e.end_date IS NOT NULL AND r.failure ->> 'class' = 'infrastructure'";
    assert_eq!(number(&mut on, failed).await, 5);
    let said =
        "SELECT count(*) FROM execution_log WHERE text LIKE 'The run was started by the server that was here before;%'";
    assert_eq!(number(&mut on, said).await, 5);
    place.on_data(&["migrate", "--adopt"]).run().await.ended(0);
    assert_eq!(number(&mut on, said).await, 5, "once");
    on
}

/// The same connection under a name that is not taken for the existing server's.
async fn named(place: &Place, on: PgConnection) -> PgConnection {
    on.close().await.unwrap();
    let mut on = connect(place).await;
    execute(&mut on, "SET application_name = 'psql'").await;
    on
}

#[tokio::test]
async fn a_database_is_taken_over_given_back_and_kept() {
    let Some(place) = reference("a_database_is_taken_over_given_back_and_kept").await else { return };
    let before = dump(&place);
    let mut on = connect(&place).await;
    killed_in_the_middle(&place, &mut on).await;
    assert!(
        place
            .on_data(&["check"])
            .run()
            .await
            .out
            .contains("ok    existing server: The `celery beat` of the existing server must be stopped")
    );
    deletions(&mut on).await;
    let mut on = adoption(&place, on).await;

    let said = place.on_data(&["migrate", "--remove"]).run().await;
    said.failed("Nothing was taken away.");
    assert!(said.err.contains("runs of this server that have not ended"), "{}", said.err);
    assert!(said.out.contains("would be lost: execution_run, "), "{}", said.out);
    execute(&mut on, "UPDATE execution SET status = 'CANCELLED' WHERE status = 'PENDING'").await;
    let database = place.database().await;
    place.on_data(&["migrate", "--remove"]).run().await.failed("A server or worker of this program is at work");
    database.close().await;
    let rows = number(&mut on, "SELECT count(*) FROM execution_log").await;
    let said = place.on_data(&["migrate", "--remove"]).run().await;
    assert!(said.ended(0).contains("lost: script_version, 1 rows"), "{}", said.out);
    assert_eq!(dump(&place), before);
    assert_eq!(number(&mut on, "SELECT count(*) FROM execution_log").await, rows, "its own rows stay");
    assert_eq!(
        place.on_data(&["migrate", "--remove"]).run().await.ended(0),
        "There is nothing of this program in the database.\n"
    );

    // Again, and this time for good.
    place.on_data(&["migrate"]).run().await.ended(0);
    execute(&mut on, SILENCE).await;
    let new = |name: &str| {
        let words = ["user", "create", &format!("{name}@example.org"), "--role", "USER"].map(str::to_owned);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        place.on_data(&words).input("Str0ng!Passw0rd#1\n")
    };
    new("before").run().await.ended(0);
    let said = place.on_data(&["migrate", "--leave-reference"]).run().await;
    assert!(said.ended(0).contains("Argon2id, which the existing server cannot read"), "{}", said.out);
    let again = place.on_data(&["migrate", "--leave-reference"]).run().await;
    assert!(again.ended(0).starts_with("The existing server was left on 2"), "{}", again.out);
    new("after").run().await.ended(0);
    let forms = "SELECT count(*) FROM \"user\" WHERE (email = 'before@example.org' AND password LIKE 'scrypt:%')
        OR (email = 'after@example.org' AND password LIKE '$argon2id$%')";
    assert_eq!(number(&mut on, forms).await, 2);
    place
        .on_data(&["migrate", "--remove"])
        .run()
        .await
        .failed("accounts whose passwords have a form that the existing server cannot read (1)");
    let said = place.on_data(&["migrate", "--check"]).run().await;
    assert!(!said.ended(0).contains("celery"), "{}", said.out);
}
