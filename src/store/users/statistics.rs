//! How many people there are, since when, and from where.

use std::collections::HashMap;

use crate::{
    bind_values, reading,
    store::{
        Db, Id, Time,
        db::Unit,
        roll_up::beginning,
        search::{Value, placeholders},
    },
};

/// How many came at or after `since`; all if that is `None`.
pub async fn count(db: &Db, since: Option<Time>) -> sqlx::Result<i64> {
    reading!(db, |on| sqlx::query_scalar(r#"SELECT count(*) FROM "user" WHERE $1 IS NULL OR created_at >= $1"#)
        .bind(since)
        .fetch_one(on)
        .await)
}

/// How many of them come from where, for who has said so.
pub async fn countries(db: &Db, since: Option<Time>) -> sqlx::Result<Vec<(String, i64)>> {
    reading!(db, |on| sqlx::query_as(
        r#"SELECT country, count(*) FROM "user" WHERE country <> '' AND ($1 IS NULL OR created_at >= $1)
           GROUP BY country ORDER BY count(*) DESC, country"#
    )
    .bind(since)
    .fetch_all(on)
    .await)
}

/// How many came in each quarter of an hour, from one country if that is given.
pub async fn registered(db: &Db, since: Option<Time>, country: Option<&str>) -> sqlx::Result<Vec<(Time, i64)>> {
    let text = sqlx::AssertSqlSafe(format!(
        r#"SELECT {}, count(*) FROM "user" WHERE created_at >= $1 AND ($2 IS NULL OR country = $2) GROUP BY 1 ORDER BY 1"#,
        db.floor("created_at", Unit::QuarterHour)
    ));
    let since = since.unwrap_or_else(beginning);
    reading!(db, |on| sqlx::query_as(text).bind(since).bind(country).fetch_all(on).await)
}

/// The country of everybody who has said so.
pub async fn places(db: &Db) -> sqlx::Result<Vec<(Id, String)>> {
    reading!(db, |on| sqlx::query_as(r#"SELECT id, country FROM "user" WHERE country <> ''"#).fetch_all(on).await)
}

/// The addresses of some people.
pub async fn emails(db: &Db, ids: &[Id]) -> sqlx::Result<HashMap<Id, String>> {
    let text = format!(r#"SELECT id, email FROM "user" WHERE id IN ({})"#, placeholders(1, ids.len()));
    let (text, values) = (sqlx::AssertSqlSafe(text), ids.iter().map(|id| Value::Id(*id)).collect::<Vec<_>>());
    let rows: Vec<(Id, String)> = reading!(db, |on| bind_values!(sqlx::query_as(text), values).fetch_all(on).await)?;
    Ok(rows.into_iter().collect())
}

/// How many have never had a run.
pub async fn without_runs(db: &Db) -> sqlx::Result<i64> {
    reading!(db, |on| sqlx::query_scalar(
        r#"SELECT count(*) FROM "user" u WHERE NOT EXISTS (SELECT 1 FROM execution e WHERE e.user_id = u.id)"#
    )
    .fetch_one(on)
    .await)
}
