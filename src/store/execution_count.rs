//! Table `execution_count`: executions per state, kept by triggers; only sums over the shards mean something.

use super::Db;
use crate::{reading, writing};

/// A state whose kept number is not the true one.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Wrong {
    pub status: String,
    pub kept: i64,
    pub counted: i64,
}

/// Every state with what is kept and what is counted, of one moment: the triggers write in the transactions of the changes.
const BOTH: &str = "SELECT status, CAST(SUM(kept) AS BIGINT) AS kept, CAST(SUM(counted) AS BIGINT) AS counted FROM (
        SELECT status, n AS kept, 0 AS counted FROM execution_count
        UNION ALL SELECT COALESCE(status, ''), 0, count(*) FROM execution GROUP BY 1
    ) AS c GROUP BY status HAVING SUM(kept) <> SUM(counted)";

/// How many executions there are.
pub async fn total(db: &Db) -> sqlx::Result<i64> {
    let total: Option<i64> =
        reading!(db, |on| sqlx::query_scalar("SELECT CAST(SUM(n) AS BIGINT) FROM execution_count")
            .fetch_one(on)
            .await)?;
    Ok(total.unwrap_or(0))
}

/// Numbers that are not the true ones.
pub async fn wrong(db: &Db) -> sqlx::Result<Vec<Wrong>> {
    reading!(db, |on| sqlx::query_as(BOTH).fetch_all(on).await)
}

/// Makes them true. It adds the difference of one moment, and changes that come meanwhile add theirs: so nobody has to wait.
pub async fn repair(db: &Db) -> sqlx::Result<()> {
    let text = sqlx::AssertSqlSafe(format!(
        "INSERT INTO execution_count (status, shard, n) SELECT status, 0, counted - kept FROM ({BOTH}) AS w WHERE TRUE
         ON CONFLICT (status, shard) DO UPDATE SET n = execution_count.n + EXCLUDED.n"
    ));
    writing!(db, |on| sqlx::query(text).execute(on).await.map(drop))
}
