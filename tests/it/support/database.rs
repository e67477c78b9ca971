//! A database for each test: a SQLite file, or a copy of a migrated template on PostgreSQL.

use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use std::str::FromStr;

/// The URL of the PostgreSQL server that the suite runs on; `None` for SQLite.
pub fn server_url() -> Option<String> {
    std::env::var("TEST_DATABASE_URL").ok().filter(|url| !url.is_empty())
}

/// An empty database of its own on the PostgreSQL server; its name and URL.
pub async fn create(server: &str) -> (String, String) {
    let name = format!("te_test_{}", uuid::Uuid::new_v4().simple());
    let mut admin = PgConnection::connect(server).await.expect("the PostgreSQL server of TEST_DATABASE_URL answers");
    sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut admin).await.unwrap();
    admin.close().await.unwrap();
    let options = PgConnectOptions::from_str(server).unwrap().database(&name);
    let password = url::Url::parse(server).ok().and_then(|u| u.password().map(str::to_owned)).unwrap_or_default();
    let url = format!(
        "postgresql://{}:{password}@{}:{}/{name}",
        options.get_username(),
        options.get_host(),
        options.get_port()
    );
    (name, url)
}

/// Takes the database away, with whoever is still connected to it.
pub fn drop_later(server: &str, name: &str) {
    let _ = std::process::Command::new("psql")
        .args([server, "-qc", &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
}
