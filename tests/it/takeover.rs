//! A database of the existing server is taken over beside its work, and given back as it was.

mod load;
mod revisions;
mod ways;

use std::process::Command;

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::{self, Place, skip};

/// A place with a copy of the recorded reference's database; `None`, and the test is skipped, where it cannot be had.
async fn reference(test: &str) -> Option<Place> {
    let Some(folder) = support::reference() else {
        skip(test, "the recorded reference does not lie beside the checkout");
        return None;
    };
    let place = on_postgres(test).await?;
    place.load(&folder.join("database.sql"));
    Some(place)
}

/// A place with an empty database on PostgreSQL.
async fn on_postgres(test: &str) -> Option<Place> {
    if support::database_url().is_none() {
        skip(test, "the existing server works on PostgreSQL");
        return None;
    }
    Some(Place::new().await)
}

/// A connection as the existing server has it.
async fn connect(place: &Place) -> PgConnection {
    PgConnection::connect(&place.url()).await.unwrap()
}

async fn execute(on: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(on).await.unwrap();
}

async fn number(on: &mut PgConnection, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(on).await.unwrap()
}

/// The schema as `pg_dump` writes it, without the word that it draws anew each time.
fn dump(place: &Place) -> String {
    let said = Command::new("pg_dump").args(["--schema-only", &place.url()]).output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout).unwrap();
    text.lines().filter(|line| !line.contains("restrict ")).collect::<Vec<_>>().join("\n")
}
