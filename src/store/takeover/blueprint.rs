//! What the migrations make, as PostgreSQL itself describes it: they are run in a schema of their own, in a transaction that is
//! rolled back. So what a database lacks, and what in it is ours, is written down nowhere but in the migrations.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use sqlx::{AssertSqlSafe, Connection, PgConnection, migrate::Migrator};

/// The first migration makes what the existing server has; all others make what is ours.
pub const REFERENCE: i64 = 1;

/// A column as it would be declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub kind: String,
    pub not_null: bool,
    pub default: Option<String>,
}

/// An index that belongs to no constraint.
#[derive(Debug, Clone)]
pub struct Index {
    pub table: String,
    /// `CREATE INDEX …`, without the name of the schema.
    pub definition: String,
    /// False for what an interrupted build has left.
    pub valid: bool,
}

/// What is in a schema.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    pub tables: BTreeMap<String, BTreeMap<String, Column>>,
    pub indexes: BTreeMap<String, Index>,
    /// Table and name.
    pub triggers: BTreeSet<(String, String)>,
    pub functions: BTreeSet<String>,
}

/// What the migrations make.
#[derive(Debug)]
pub struct Blueprint {
    /// Tables, columns and indexes that the existing server has.
    pub theirs: Schema,
    /// These and ours.
    pub whole: Schema,
}

impl Blueprint {
    /// Learns it. Only the catalogues are written, and nothing of that stays.
    pub async fn learn(own: &mut PgConnection) -> anyhow::Result<Self> {
        let mut tx = own.begin().await?;
        let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *tx).await?;
        let schema = format!("te_blueprint_{pid}");
        let make =
            format!("CREATE SCHEMA {schema}; SET LOCAL search_path = {schema}; SET LOCAL client_min_messages = error");
        sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut *tx).await.context(
            "The account of DATABASE_URL must own the database: a schema is made in it, and taken back, to see what is missing",
        )?;
        let mut theirs = Schema::default();
        for step in migrations().iter() {
            sqlx::raw_sql(step.sql.clone()).execute(&mut *tx).await?;
            if step.version == REFERENCE {
                theirs = Schema::read(&mut tx).await?;
            }
        }
        let whole = Schema::read(&mut tx).await?;
        tx.rollback().await?;
        Ok(Blueprint { theirs, whole })
    }

    /// What is ours of a database: all that is not the existing server's.
    pub fn ours(&self) -> Schema {
        self.whole.without(&self.theirs)
    }
}

/// The migrations for PostgreSQL.
pub fn migrations() -> Migrator {
    let mut migrations = sqlx::migrate!("migrations/postgres");
    // Who waits in `pg_advisory_lock` holds a snapshot, for which an index that is made concurrently waits in turn; see `steps`.
    migrations.set_locking(false);
    migrations
}

impl Schema {
    /// What is in the schema that comes first for this connection.
    pub async fn read(own: &mut PgConnection) -> sqlx::Result<Self> {
        let mut schema = Schema::default();
        let columns: Vec<(String, String, String, bool, Option<String>)> = sqlx::query_as(
            "SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull,
                 pg_get_expr(d.adbin, d.adrelid)
             FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                 LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
             WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')",
        )
        .fetch_all(&mut *own)
        .await?;
        for (table, name, kind, not_null, default) in columns {
            schema.tables.entry(table).or_default().insert(name, Column { kind, not_null, default });
        }
        let indexes: Vec<(String, String, String, bool)> = sqlx::query_as(
            "SELECT i.relname::text, t.relname::text,
                 replace(pg_get_indexdef(i.oid), ' ON ' || quote_ident(current_schema()) || '.', ' ON '), x.indisvalid
             FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
             WHERE t.relnamespace = current_schema()::regnamespace AND t.relkind IN ('r', 'p')
                 AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.oid AND k.contype IN ('p', 'u', 'x'))",
        )
        .fetch_all(&mut *own)
        .await?;
        for (name, table, definition, valid) in indexes {
            schema.indexes.insert(name, Index { table, definition, valid });
        }
        let triggers: Vec<(String, String)> = sqlx::query_as(
            "SELECT c.relname::text, t.tgname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
             WHERE c.relnamespace = current_schema()::regnamespace AND NOT t.tgisinternal",
        )
        .fetch_all(&mut *own)
        .await?;
        schema.triggers.extend(triggers);
        let functions: Vec<String> =
            sqlx::query_scalar("SELECT proname::text FROM pg_proc WHERE pronamespace = current_schema()::regnamespace")
                .fetch_all(&mut *own)
                .await?;
        schema.functions.extend(functions);
        Ok(schema)
    }

    /// What is here and not there; of tables that are in both, the columns that are missing there. An index that is not valid
    /// counts as missing.
    pub fn without(&self, there: &Schema) -> Schema {
        let mut rest = Schema::default();
        for (table, columns) in &self.tables {
            let known = there.tables.get(table);
            let left: BTreeMap<_, _> = columns
                .iter()
                .filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)))
                .map(|(name, column)| (name.clone(), column.clone()))
                .collect();
            if !left.is_empty() {
                rest.tables.insert(table.clone(), left);
            }
        }
        let missing = |name: &String| there.indexes.get(name).is_none_or(|index| !index.valid);
        rest.indexes =
            self.indexes.iter().filter(|(name, _)| missing(name)).map(|(n, i)| (n.clone(), i.clone())).collect();
        rest.triggers = self.triggers.difference(&there.triggers).cloned().collect();
        rest.functions = self.functions.difference(&there.functions).cloned().collect();
        rest
    }

    /// Whole tables of what is left of this schema beside another.
    pub fn new_tables<'a>(&'a self, beside: &'a Schema) -> impl Iterator<Item = &'a String> {
        self.tables.keys().filter(|table| !beside.tables.contains_key(*table))
    }

    /// Columns of what is left of this schema, of tables that another has.
    pub fn new_columns<'a>(&'a self, beside: &'a Schema) -> impl Iterator<Item = (&'a String, &'a String, &'a Column)> {
        self.tables
            .iter()
            .filter(|(table, _)| beside.tables.contains_key(*table))
            .flat_map(|(table, columns)| columns.iter().map(move |(name, column)| (table, name, column)))
    }
}
