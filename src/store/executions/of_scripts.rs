//! Table `execution`: the newest runs of each of several scripts, in one query.

use super::{Execution, ORDER, Parts};
use crate::{
    bind_values, reading,
    store::{
        Db, Id,
        search::{Value, placeholders},
    },
};

/// The first runs of each of these scripts in the order of every list, without hidden ones; those of one person if named.
pub async fn newest(db: &Db, scripts: &[Id], owner: Option<Id>, each: i64) -> sqlx::Result<Vec<Execution>> {
    let values: Vec<Value> = scripts.iter().map(|id| Value::Id(*id)).collect();
    // Rows are numbered by narrow columns; only those that are shown are read whole.
    let text = sqlx::AssertSqlSafe(format!(
        "SELECT {} FROM (
             SELECT x.id, ROW_NUMBER() OVER (PARTITION BY x.script_id
                 ORDER BY COALESCE(x.end_date, '9999-12-29') DESC, x.start_date DESC, x.id) AS nth
             FROM execution x LEFT JOIN execution_flag h ON h.execution_id = x.id
             WHERE x.script_id IN ({}) AND ($2 IS NULL OR x.user_id = $2) AND (h.deleted IS NULL OR NOT h.deleted)
         ) n JOIN execution e ON e.id = n.id
         LEFT JOIN execution_flag f ON f.execution_id = e.id LEFT JOIN execution_run r ON r.execution_id = e.id
         WHERE n.nth <= $1 {ORDER}",
        Parts { run: false, ..Parts::ALL }.columns(),
        placeholders(3, scripts.len())
    ));
    reading!(db, |on| bind_values!(sqlx::query_as(text).bind(each).bind(owner), values).fetch_all(on).await)
}
