//! Whole tables, as they go from one database into another: which there are, in what order they may be written, and their rows
//! in a form that both databases share.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{NaiveDateTime, SubsecRound};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, ColumnIndex, Decode, QueryBuilder, Row, Sqlite, Type};

use super::{Db, Tx};
use crate::{json::canonical, within};

/// Values in one statement on SQLite, which takes 32,766 at most.
const VALUES: usize = 30_000;

/// Columns of each table by name, with their types in the words of the database.
pub type Tables = BTreeMap<String, BTreeMap<String, String>>;

/// A table as far as both databases have it.
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
}

pub struct Column {
    name: String,
    kind: Kind,
    /// Types where it is read and where it is written.
    types: [String; 2],
}

/// Which of the two databases of a copy.
#[derive(Clone, Copy)]
pub enum End {
    From,
    To,
}

/// What the values of a column are. SQLite knows less about them than PostgreSQL.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Integer,
    Real,
    Time,
    Json,
    Id,
    Text,
}

/// A value, the same whichever database it was read from. JSON stays as it was written.
pub enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
}

/// How many rows there are, and the sum of their hashes, in whatever order they come.
#[derive(Default, Clone, Copy, PartialEq)]
pub struct Sum {
    pub rows: u64,
    pub hash: u64,
}

impl Kind {
    fn of(declared: &str) -> Self {
        match declared {
            "integer" | "bigint" | "smallint" | "boolean" => Kind::Integer,
            "double precision" | "real" => Kind::Real,
            "timestamp without time zone" => Kind::Time,
            "json" | "jsonb" => Kind::Json,
            "uuid" => Kind::Id,
            _ => Kind::Text,
        }
    }

    /// The one spelling of a text of this kind, which is what the server itself writes.
    fn spelled(self, text: String) -> String {
        match self {
            Kind::Time => ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"]
                .iter()
                .find_map(|form| NaiveDateTime::parse_from_str(&text, form).ok())
                .map_or(text, |time| time.trunc_subsecs(6).format("%F %T%.f").to_string()),
            Kind::Id => uuid::Uuid::try_parse(&text).map_or(text, |id| id.to_string()),
            // PostgreSQL has no such character; the API writes this one for it too.
            Kind::Text if text.contains('\0') => text.replace('\0', "\u{fffd}"),
            _ => text,
        }
    }
}

impl Table {
    /// What two databases have of a table; `None` if that is nothing.
    pub fn shared(name: &str, from: &BTreeMap<String, String>, to: &BTreeMap<String, String>) -> Option<Self> {
        let both = from.iter().filter_map(|(column, from)| Some((column, from, to.get(column)?)));
        let columns: Vec<Column> = both
            .map(|(column, from, to)| {
                let kind = match Kind::of(from) {
                    Kind::Text => Kind::of(to),
                    // On SQLite a boolean is an integer; everything else that has no type of its own there is text.
                    kind => kind,
                };
                Column { name: column.clone(), kind, types: [from.clone(), to.clone()] }
            })
            .collect();
        (!columns.is_empty()).then(|| Table { name: name.to_owned(), columns })
    }

    fn names(&self) -> String {
        self.columns.iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ")
    }

    fn select(&self, postgres: bool, end: End) -> String {
        let expression = |column: &Column| {
            let name = &column.name;
            match (postgres, column.kind) {
                (false, _) => format!("\"{name}\""),
                (true, Kind::Integer) if column.types[end as usize] == "boolean" => {
                    format!("CAST(CAST(\"{name}\" AS integer) AS bigint)")
                }
                (true, Kind::Integer) => format!("CAST(\"{name}\" AS bigint)"),
                (true, Kind::Real) => format!("CAST(\"{name}\" AS double precision)"),
                (true, _) => format!("CAST(\"{name}\" AS text)"),
            }
        };
        let columns: Vec<String> = self.columns.iter().map(expression).collect();
        format!("SELECT {} FROM \"{}\"", columns.join(", "), self.name)
    }

    fn decode<'r, R: Row>(&self, row: &'r R) -> sqlx::Result<Vec<Value>>
    where
        usize: ColumnIndex<R>,
        i64: Decode<'r, R::Database> + Type<R::Database>,
        f64: Decode<'r, R::Database> + Type<R::Database>,
        String: Decode<'r, R::Database> + Type<R::Database>,
    {
        let value = |(at, column): (usize, &Column)| {
            Ok(match column.kind {
                Kind::Integer => row.try_get::<Option<i64>, _>(at)?.map_or(Value::Null, Value::Integer),
                // There are two zeros, and SQLite keeps one.
                Kind::Real => row.try_get::<Option<f64>, _>(at)?.map_or(Value::Null, |real| Value::Real(real + 0.0)),
                kind => {
                    row.try_get::<Option<String>, _>(at)?.map_or(Value::Null, |text| Value::Text(kind.spelled(text)))
                }
            })
        };
        self.columns.iter().enumerate().map(value).collect()
    }

    /// Adds a row to a sum.
    pub fn add(&self, sum: &mut Sum, row: &[Value]) {
        let mut hash = Sha256::new();
        for (column, value) in self.columns.iter().zip(row) {
            let text = match value {
                Value::Null => {
                    hash.update([0]);
                    continue;
                }
                Value::Integer(integer) => integer.to_string(),
                Value::Real(real) => format!("{real:?}"),
                Value::Text(text) if column.kind == Kind::Json => {
                    canonical::json(text, canonical::value).unwrap_or_else(|_| text.clone())
                }
                Value::Text(text) => text.clone(),
            };
            hash.update([1]);
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        let digest: [u8; 32] = hash.finalize().into();
        sum.rows += 1;
        sum.hash = sum.hash.wrapping_add(digest.iter().take(8).fold(0, |all, byte| all << 8 | u64::from(*byte)));
    }
}

impl Value {
    /// Bytes that it takes, roughly.
    pub fn size(&self) -> usize {
        if let Value::Text(text) = self { text.len() + 16 } else { 16 }
    }

    fn text(self) -> Option<String> {
        match self {
            Value::Null => None,
            Value::Integer(integer) => Some(integer.to_string()),
            Value::Real(real) => Some(format!("{real:?}")),
            Value::Text(text) => Some(text),
        }
    }
}

/// Begins to read a database as it is at one moment, however long it takes.
pub async fn begin_reading(db: &Db) -> sqlx::Result<Tx> {
    Ok(match db {
        Db::Sqlite { read, .. } => Tx::Sqlite(read.begin().await?),
        Db::Postgres(pool) => Tx::Postgres(pool.begin_as("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?),
    })
}

/// Every table of the database but those that the database itself keeps.
pub async fn tables(tx: &mut Tx) -> sqlx::Result<Tables> {
    let sql = match tx {
        Tx::Sqlite(_) => {
            "SELECT t.name, c.name, lower(c.type) FROM sqlite_master t, pragma_table_info(t.name) c
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%'"
        }
        Tx::Postgres(_) => {
            "SELECT CAST(t.relname AS text), CAST(c.attname AS text), format_type(c.atttypid, NULL)
             FROM pg_class t JOIN pg_attribute c ON c.attrelid = t.oid
             WHERE t.relkind IN ('r', 'p') AND NOT t.relispartition
                 AND t.relnamespace = CAST(current_schema() AS regnamespace)
                 AND c.attnum > 0 AND NOT c.attisdropped AND c.attgenerated = ''"
        }
    };
    let rows: Vec<(String, String, String)> = within!(tx, |on| sqlx::query_as(sql).fetch_all(on).await)?;
    let mut tables = Tables::new();
    for (table, column, declared) in rows {
        tables.entry(table).or_default().insert(column, declared);
    }
    Ok(tables)
}

/// Puts tables behind those that their rows refer to.
pub async fn ordered(tx: &mut Tx, mut tables: Vec<Table>) -> sqlx::Result<Vec<Table>> {
    let sql = match tx {
        Tx::Sqlite(_) => {
            "SELECT t.name, f.\"table\" FROM sqlite_master t, pragma_foreign_key_list(t.name) f WHERE t.type = 'table'"
        }
        Tx::Postgres(_) => {
            "SELECT CAST(t.relname AS text), CAST(f.relname AS text)
             FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid JOIN pg_class f ON f.oid = k.confrelid
             WHERE k.contype = 'f' AND k.connamespace = CAST(current_schema() AS regnamespace)"
        }
    };
    let references: Vec<(String, String)> = within!(tx, |on| sqlx::query_as(sql).fetch_all(on).await)?;
    let mut order = Vec::with_capacity(tables.len());
    while !tables.is_empty() {
        let waiting: BTreeSet<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        let free = |table: &Table| {
            references.iter().all(|(of, to)| *of != table.name || of == to || !waiting.contains(to.as_str()))
        };
        // Tables in a circle could only go in together; the database says so when their rows come.
        let next = tables.iter().position(free).unwrap_or(0);
        order.push(tables.remove(next));
    }
    Ok(order)
}

/// Whether a table has any row.
pub async fn has_rows(tx: &mut Tx, table: &str) -> sqlx::Result<bool> {
    let sql = AssertSqlSafe(format!("SELECT CAST(1 AS bigint) FROM \"{table}\" LIMIT 1"));
    let row: Option<i64> = within!(tx, |on| sqlx::query_scalar(sql).fetch_optional(on).await)?;
    Ok(row.is_some())
}

/// Keeps everybody else from writing to these tables until the end of the transaction; SQLite has one writer anyway.
pub async fn lock(tx: &mut Tx, tables: &[Table]) -> sqlx::Result<()> {
    let Tx::Postgres(tx) = tx else { return Ok(()) };
    let names: Vec<String> = tables.iter().map(|table| format!("\"{}\"", table.name)).collect();
    let sql = AssertSqlSafe(format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", names.join(", ")));
    sqlx::query(sql).execute(&mut **tx).await.map(drop)
}

/// Reads every row of a table, one after the other; the database waits for whoever takes them.
pub async fn read(
    tx: &mut Tx,
    table: &Table,
    end: End,
    mut each: impl AsyncFnMut(Vec<Value>) -> sqlx::Result<()>,
) -> sqlx::Result<()> {
    let sql = AssertSqlSafe(table.select(matches!(tx, Tx::Postgres(_)), end));
    within!(tx, |on| {
        let mut rows = sqlx::query(sql).fetch(on);
        while let Some(row) = rows.try_next().await? {
            each(table.decode(&row)?).await?;
        }
    });
    Ok(())
}

/// Writes rows to a table.
pub async fn write(tx: &mut Tx, table: &Table, rows: Vec<Vec<Value>>) -> sqlx::Result<()> {
    let names = table.names();
    match tx {
        Tx::Sqlite(tx) => {
            let mut rows = rows.into_iter().peekable();
            while rows.peek().is_some() {
                let some = rows.by_ref().take(VALUES / table.columns.len());
                let mut insert = QueryBuilder::<Sqlite>::new(format!("INSERT INTO \"{}\" ({names}) ", table.name));
                insert.push_values(some, |mut values, row| {
                    for value in row {
                        match value {
                            Value::Null => values.push("NULL"),
                            Value::Integer(integer) => values.push_bind(integer),
                            Value::Real(real) => values.push_bind(real),
                            Value::Text(text) => values.push_bind(text),
                        };
                    }
                });
                insert.build().persistent(false).execute(&mut **tx).await?;
            }
        }
        Tx::Postgres(tx) => {
            let mut lists: Vec<Vec<Option<String>>> = table.columns.iter().map(|_| Vec::new()).collect();
            for row in rows {
                for (list, value) in lists.iter_mut().zip(row) {
                    list.push(value.text());
                }
            }
            let cast = |column: &Column| format!("CAST(\"{}\" AS {})", column.name, column.types[End::To as usize]);
            let casts: Vec<String> = table.columns.iter().map(cast).collect();
            let arrays: Vec<String> = (1..=lists.len()).map(|n| format!("CAST(${n} AS text[])")).collect();
            let sql = AssertSqlSafe(format!(
                "INSERT INTO \"{}\" ({names}) SELECT {} FROM unnest({}) AS row ({names})",
                table.name,
                casts.join(", "),
                arrays.join(", ")
            ));
            lists.into_iter().fold(sqlx::query(sql), |query, list| query.bind(list)).execute(&mut **tx).await?;
        }
    }
    Ok(())
}

/// Executions by status: as they are, or as the triggers have counted them.
pub async fn counts(tx: &mut Tx, kept: bool) -> sqlx::Result<Vec<(String, i64)>> {
    let sql = if kept {
        "SELECT status, CAST(SUM(n) AS bigint) FROM execution_count GROUP BY status HAVING SUM(n) <> 0"
    } else {
        "SELECT COALESCE(status, ''), count(*) FROM execution GROUP BY 1"
    };
    let mut counts: Vec<(String, i64)> = within!(tx, |on| sqlx::query_as(sql).fetch_all(on).await)?;
    counts.sort();
    Ok(counts)
}

/// Tables that number their rows (in a column `id`), with the last number that was ever given; it may be that of a row that is gone.
pub async fn numbered(tx: &mut Tx) -> sqlx::Result<BTreeMap<String, i64>> {
    let sql = match tx {
        Tx::Sqlite(_) => "SELECT name, seq FROM sqlite_sequence",
        Tx::Postgres(_) => {
            "SELECT CAST(t.relname AS text), COALESCE(pg_sequence_last_value(CAST(s.oid AS regclass)), 0)
             FROM pg_class s JOIN pg_depend d ON d.objid = s.oid AND d.classid = CAST('pg_class' AS regclass)
             JOIN pg_class t ON t.oid = d.refobjid
             JOIN pg_attribute c ON c.attrelid = t.oid AND c.attnum = d.refobjsubid
             WHERE s.relkind = 'S' AND d.deptype IN ('a', 'i') AND c.attname = 'id'
                 AND t.relnamespace = CAST(current_schema() AS regnamespace)"
        }
    };
    let rows: Vec<(String, i64)> = within!(tx, |on| sqlx::query_as(sql).fetch_all(on).await)?;
    Ok(rows.into_iter().collect())
}

/// The next row of a table gets a number above those of its rows and above `last`.
pub async fn number_from(tx: &mut Tx, table: &str, last: i64) -> sqlx::Result<()> {
    let sql = AssertSqlSafe(format!("SELECT COALESCE(MAX(id), 0) FROM \"{table}\""));
    let largest: i64 = match tx {
        Tx::Sqlite(tx) => sqlx::query_scalar(sql).fetch_one(&mut **tx).await?,
        Tx::Postgres(tx) => sqlx::query_scalar(sql).fetch_one(&mut **tx).await?,
    };
    let last = last.max(largest);
    if last < 1 {
        return Ok(());
    }
    match tx {
        Tx::Sqlite(tx) => {
            sqlx::query("DELETE FROM sqlite_sequence WHERE name = $1").bind(table).execute(&mut **tx).await?;
            let insert = sqlx::query("INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)");
            insert.bind(table).bind(last).execute(&mut **tx).await?;
        }
        Tx::Postgres(tx) => {
            let set = sqlx::query("SELECT setval(pg_get_serial_sequence(quote_ident($1), 'id'), $2)");
            set.bind(table).bind(last).execute(&mut **tx).await?;
        }
    }
    Ok(())
}
