//! Ten nodes bring a database up to date while the existing server works on it, and nobody waits for them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{connect, execute, number, reference};

/// What a long life leaves.
const HISTORY: &str = "
    INSERT INTO execution (id, start_date, end_date, status, progress, params, results, script_id, user_id)
    SELECT ('30000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, timestamp '2025-01-01' + i * interval '5 minutes',
        timestamp '2025-01-01' + i * interval '6 minutes', 'FINISHED', 100, '{}', '{}', '10000000-0000-4000-8000-000000000001',
        '00000000-0000-4000-8000-000000000003'
    FROM generate_series(1, 20000) i;
    INSERT INTO execution_log (text, level, register_date, execution_id)
    SELECT 'line ' || i, 'INFO', timestamp '2025-01-01', ('30000000-0000-4000-8000-' || lpad((i % 20000 + 1)::text, 12, '0'))::uuid
    FROM generate_series(1, 60000) i";

/// What the existing server does all day, each a transaction that reads the account first. NEW is an id that nobody has.
const REQUESTS: [&[&str]; 5] = [
    &["INSERT INTO execution_log (text, level, register_date, execution_id) SELECT 'tile', 'INFO', now(), '20000000-0000-4000-8000-000000000001'"],
    &[
        "UPDATE execution SET progress = 7, status = 'RUNNING' WHERE id = '20000000-0000-4000-8000-000000000001'",
        "INSERT INTO status_log (\"timestamp\", status_to, execution_id) VALUES ('2025-01-01', 'RUNNING', '20000000-0000-4000-8000-000000000001')",
    ],
    &[
        "INSERT INTO execution (id, start_date, status, progress, params, script_id, user_id) VALUES ('NEW', now(), 'PENDING', 0, '{}',
         '10000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000003')",
        "UPDATE execution SET status = 'FAILED', end_date = now() WHERE id = 'NEW'",
        "DELETE FROM execution WHERE id = 'NEW'",
    ],
    &[
        "INSERT INTO \"user\" (id, email, password, name) VALUES ('NEW', 'NEW', 'x', 'x')",
        "UPDATE \"user\" SET last_login_at = now() WHERE id = 'NEW'",
        "DELETE FROM \"user\" WHERE id = 'NEW'",
    ],
    &[
        "SELECT count(*) FROM execution WHERE status = 'RUNNING'",
        "SELECT * FROM execution ORDER BY end_date DESC NULLS FIRST LIMIT 50",
        "SELECT * FROM script JOIN \"user\" u ON u.id = script.user_id",
    ],
];

/// Sends one kind of request after the other until told to stop; the longest that a statement took.
async fn requests(mut on: PgConnection, kind: usize, stop: Arc<AtomicBool>, sent: Arc<AtomicU64>) -> Duration {
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let new = uuid::Uuid::new_v4().to_string();
        let mut tx = on.begin().await.unwrap();
        let account = ["SELECT * FROM \"user\" WHERE id = '00000000-0000-4000-8000-000000000003'"];
        for statement in account.iter().chain(REQUESTS[kind]) {
            let begun = Instant::now();
            sqlx::raw_sql(AssertSqlSafe(statement.replace("NEW", &new))).execute(&mut *tx).await.unwrap();
            longest = longest.max(begun.elapsed());
        }
        tx.commit().await.unwrap();
        sent.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    longest
}

/// The longest that anybody of the existing server has waited for a lock, as the database saw it.
async fn waits(mut on: PgConnection, stop: Arc<AtomicBool>) -> f64 {
    let mut longest: f64 = 0.0;
    while !stop.load(Ordering::Relaxed) {
        let now: f64 = sqlx::query_scalar(
            "SELECT COALESCE(max(EXTRACT(EPOCH FROM clock_timestamp() - l.waitstart)), 0)::float8
             FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
             WHERE NOT l.granted AND a.application_name NOT LIKE 'trends-earth%' AND a.datname = current_database()",
        )
        .fetch_one(&mut on)
        .await
        .unwrap();
        longest = longest.max(now);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    longest
}

#[tokio::test]
async fn ten_nodes_take_a_database_over_and_nobody_waits_for_them() {
    let Some(place) = reference("ten_nodes_take_a_database_over_and_nobody_waits_for_them").await else { return };
    let mut on = connect(&place).await;
    execute(&mut on, HISTORY).await;
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = Vec::new();
    for kind in 0..REQUESTS.len() {
        clients.push(tokio::spawn(requests(connect(&place).await, kind, stop.clone(), sent.clone())));
    }
    let watch = tokio::spawn(waits(connect(&place).await, stop.clone()));
    let nodes = join_all((0..10).map(|_| place.on_data(&["migrate"]).run())).await;
    stop.store(true, Ordering::Relaxed);
    let longest = join_all(clients).await.into_iter().map(Result::unwrap).max().unwrap();
    let waited = watch.await.unwrap();
    for said in &nodes {
        assert!(said.ended(0).contains("The database is up to date.\n"), "{}", said.out);
    }
    assert!(nodes.iter().any(|said| said.out.contains("waiting for it")), "they did meet");
    println!(
        "{} requests, longest statement {longest:?}, longest wait for a lock {waited} s",
        sent.load(Ordering::Relaxed)
    );
    assert!(waited < 1.0, "somebody waited {waited} s for a lock");
    place.on_data(&["migrate", "--check"]).run().await.ended(0);
    let wrong = "SELECT count(*) FROM (SELECT status, sum(n) FROM execution_count GROUP BY 1 HAVING sum(n) <> 0
        EXCEPT SELECT status, count(*) FROM execution GROUP BY 1) AS wrong";
    assert_eq!(number(&mut on, wrong).await, 0, "the counts are right, whoever wrote meanwhile");
    assert_eq!(number(&mut on, "SELECT count(*) FROM pg_index WHERE NOT indisvalid").await, 0);
}
