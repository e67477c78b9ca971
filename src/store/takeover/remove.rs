//! The way back: whatever a taken-over database has of ours is taken away, and what is left is the existing server's, as it was.

use std::collections::BTreeSet;

use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

use super::{
    Kind,
    blueprint::{Blueprint, Schema},
    quoted, remembered,
    steps::{Tell, alone, patiently},
};
use crate::store::Time;

/// Rows that go with our tables: table and number, where there are any.
pub async fn losses(pool: &PgPool) -> anyhow::Result<Vec<(String, i64)>> {
    let mut own = pool.acquire().await?;
    let ours = Blueprint::learn(&mut own).await?.ours();
    let there = Schema::read(&mut own).await?;
    let mut losses = Vec::new();
    for table in ours.new_tables(&Schema::default()).filter(|table| there.tables.contains_key(*table)) {
        // Kept for our own use, and nothing that anybody would miss. The table "user" is theirs; our columns of it are in ours too.
        let kept = ["user", "execution_count", "takeover", "worker", "job", "roll_up", "engine_state", "installation"];
        if kept.contains(&table.as_str()) {
            continue;
        }
        let count = AssertSqlSafe(format!("SELECT count(*) FROM {}", quoted(table)));
        let rows: i64 = sqlx::query_scalar(count).fetch_one(&mut *own).await?;
        if rows > 0 {
            losses.push((table.clone(), rows));
        }
    }
    Ok(losses)
}

/// Why nothing may be taken away now: nodes that live, runs of ours that have not ended, what the existing server cannot read.
pub async fn obstacles(pool: &PgPool, now: Time) -> sqlx::Result<Vec<String>> {
    let mut obstacles = Vec::new();
    let connected: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name LIKE 'trends-earth%'
             AND application_name <> current_setting('application_name')",
    )
    .fetch_one(pool)
    .await?;
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM worker WHERE NOT draining AND seen_at >= $1")
        .bind(now - chrono::TimeDelta::minutes(1))
        .fetch_one(pool)
        .await?;
    if connected > 0 || seen > 0 {
        obstacles
            .push("A server or worker of this program is at work on the database; stop them all first.".to_owned());
    }
    let facts = [
        (
            "SELECT count(*) FROM execution e JOIN execution_run r ON r.execution_id = e.id
             WHERE e.status IN ('PENDING', 'READY', 'SUBMITTED', 'RUNNING', 'CANCELLING')",
            "runs of this server that have not ended; wait for them, or cancel them",
        ),
        (
            r#"SELECT count(*) FROM "user" WHERE password LIKE '$argon2%'"#,
            "accounts whose passwords have a form that the existing server cannot read",
        ),
        (
            "SELECT count(*) FROM service_client WHERE client_secret_hash LIKE '$argon2%' AND NOT revoked",
            "service clients whose secrets have a form that the existing server cannot read; revoke them",
        ),
        (
            "SELECT count(*) FROM execution_run WHERE results_key IS NOT NULL",
            "executions whose results lie beside the database, where the existing server does not look",
        ),
    ];
    for (count, sentence) in facts {
        let n: i64 = sqlx::query_scalar(count).fetch_one(pool).await?;
        if n > 0 {
            obstacles.push(format!("There are {sentence} ({n})."));
        }
    }
    Ok(obstacles)
}

/// Takes it away. Killed in the middle, it can be begun again.
pub async fn run(pool: &PgPool, tell: Tell) -> anyhow::Result<()> {
    let mut own = alone(pool, tell).await?;
    let done = remove(&mut own, tell).await;
    own.close().await?;
    done
}

async fn remove(own: &mut PgConnection, tell: Tell) -> anyhow::Result<()> {
    let plan = Blueprint::learn(own).await?;
    let there = Schema::read(own).await?;
    let ours = plan.ours();
    let added = remembered(own, Kind::Index).await?;
    let indexes =
        ours.indexes.iter().filter(|(_, index)| plan.theirs.tables.contains_key(&index.table)).map(|(name, _)| name);
    for name in indexes.chain(&added).filter(|name| there.indexes.contains_key(*name)) {
        tell(&format!("removing the index {name}"));
        patiently(own, async |own| {
            sqlx::query("SET lock_timeout = 0").execute(&mut *own).await?;
            let gone = AssertSqlSafe(format!("DROP INDEX CONCURRENTLY IF EXISTS {}", quoted(name)));
            Ok(sqlx::raw_sql(gone).execute(own).await.map(drop)?)
        })
        .await?;
    }
    let text = statements(own, &plan, &there).await?;
    tell("removing tables, columns and triggers");
    patiently(own, async |own| {
        let mut tx = own.begin().await?;
        sqlx::raw_sql(AssertSqlSafe(text.clone())).execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    })
    .await
}

/// What drops everything but the indexes. Locks are taken as in the migrations, the account first.
async fn statements(own: &mut PgConnection, plan: &Blueprint, there: &Schema) -> anyhow::Result<String> {
    let ours = plan.ours();
    let (tables, columns) = (remembered(own, Kind::Table).await?, remembered(own, Kind::Column).await?);
    let mut text = String::from("LOCK TABLE \"user\", script, execution IN ACCESS EXCLUSIVE MODE;");
    for (table, name) in ours.triggers.iter().filter(|(table, _)| plan.theirs.tables.contains_key(table)) {
        text.push_str(&format!("DROP TRIGGER IF EXISTS {} ON {};", quoted(name), quoted(table)));
    }
    let whole: BTreeSet<String> = ours.new_tables(&plan.theirs).chain(&tables).map(|table| quoted(table)).collect();
    text.push_str(&format!(
        "DROP TABLE IF EXISTS {}, _sqlx_migrations;",
        whole.into_iter().collect::<Vec<_>>().join(", ")
    ));
    for name in &ours.functions {
        text.push_str(&format!("DROP FUNCTION IF EXISTS {};", quoted(name)));
    }
    let named = columns.iter().filter_map(|name| name.split_once('.'));
    let new = ours.new_columns(&plan.theirs).map(|(table, name, _)| (table.as_str(), name.as_str()));
    for (table, name) in new.chain(named).filter(|(table, _)| there.tables.contains_key(*table)) {
        text.push_str(&format!("ALTER TABLE {} DROP COLUMN IF EXISTS {};", quoted(table), quoted(name)));
    }
    Ok(text)
}
