//! Filters and sorts of lists. Names come from a fixed table of columns, literals are bound: nothing that a client wrote is
//! ever part of a statement.

use std::fmt::Write;

use super::{Db, Id, Time};

/// What a column holds, and so what it may be compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Id,
    Number,
    Flag,
    Time,
}

/// A column that a list can be filtered and sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// As clients write it, lower case.
    pub name: &'static str,
    /// The expression in the list's statement.
    pub sql: &'static str,
    pub kind: Kind,
}

impl Column {
    pub const fn new(name: &'static str, sql: &'static str, kind: Kind) -> Self {
        Column { name, sql, kind }
    }
}

/// How a column is compared. Text is equal in any case, and ordered by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Eq,
    Ne,
    Ge,
    Le,
    Gt,
    Lt,
    /// `%` is anything, `_` one character, `\` takes their meaning away; in any case.
    Like,
}

/// A literal, of the column's kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Text(String),
    Id(Id),
    Number(f64),
    Integer(i64),
    Flag(bool),
    Time(Time),
}

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Clause {
    pub column: Column,
    pub op: Op,
    pub value: Value,
}

/// What a list is asked for: every group must hold, and of each group one clause.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Search {
    pub filter: Vec<Vec<Clause>>,
    /// Columns, and whether downwards. Where a value is missing the row comes last, downwards first, as PostgreSQL has it.
    pub sort: Vec<(Column, bool)>,
    /// Names that the list does not know; they change nothing, and the client is told.
    pub ignored: Vec<String>,
}

impl Search {
    /// The condition (`TRUE` if nothing is asked for), its first literal being `$first`, and the literals.
    pub fn condition(&self, db: &Db, first: usize) -> (String, Vec<Value>) {
        let (mut text, mut values) = (String::from("TRUE"), Vec::new());
        for group in &self.filter {
            text.push_str(" AND (");
            for (i, clause) in group.iter().enumerate() {
                let or = if i > 0 { " OR " } else { "" };
                let _ = write!(text, "{or}{}", comparison(db, clause, first + values.len()));
                values.push(clause.value.clone());
            }
            text.push(')');
        }
        (text, values)
    }

    /// `ORDER BY …`; without a sort the list's own order. `id` decides between equals.
    pub fn order(&self, db: &Db, id: &str, default: &str) -> String {
        if self.sort.is_empty() {
            return format!("ORDER BY {default}");
        }
        let mut text = String::from("ORDER BY ");
        for (column, down) in &self.sort {
            let expression = match column.kind {
                Kind::Text => db.text_order(column.sql),
                _ => column.sql.to_owned(),
            };
            let direction = if *down { "DESC NULLS FIRST" } else { "ASC NULLS LAST" };
            let _ = write!(text, "{expression} {direction}, ");
        }
        text.push_str(id);
        text
    }
}

fn comparison(db: &Db, clause: &Clause, n: usize) -> String {
    let Clause { column: Column { sql, kind, .. }, op, .. } = clause;
    let text = *kind == Kind::Text;
    match op {
        Op::Eq if text => format!("lower({sql}) = lower(${n})"),
        Op::Ne if text => format!("lower({sql}) <> lower(${n})"),
        Op::Like => format!("CAST({sql} AS TEXT) {} ${n} ESCAPE '\\'", db.like()),
        Op::Eq => format!("{sql} = ${n}"),
        Op::Ne => format!("{sql} <> ${n}"),
        Op::Ge | Op::Le | Op::Gt | Op::Lt => {
            let sign = match op {
                Op::Ge => ">=",
                Op::Le => "<=",
                Op::Gt => ">",
                _ => "<",
            };
            let sql = if text { db.bytewise(sql) } else { (*sql).to_owned() };
            format!("{sql} {sign} ${n}")
        }
    }
}

/// `$first, $first+1, …` for a list of values; of none, a list that nothing is in.
pub fn placeholders(first: usize, n: usize) -> String {
    if n == 0 {
        return "NULL".to_owned();
    }
    (first..first + n).map(|i| format!("${i}")).collect::<Vec<_>>().join(", ")
}

/// Binds the literals of a search, in their order, after what is bound already.
#[macro_export]
macro_rules! bind_values {
    ($query:expr, $values:expr) => {
        $values.iter().fold($query, |query, value| match value {
            $crate::store::search::Value::Text(text) => query.bind(text.clone()),
            $crate::store::search::Value::Id(id) => query.bind(*id),
            $crate::store::search::Value::Number(number) => query.bind(*number),
            $crate::store::search::Value::Integer(number) => query.bind(*number),
            $crate::store::search::Value::Flag(flag) => query.bind(*flag),
            $crate::store::search::Value::Time(time) => query.bind(*time),
        })
    };
}
