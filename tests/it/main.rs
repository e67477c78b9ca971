//! One binary with all integration tests: they speak HTTP to a real server on a real database.
//! `TEST_DATABASE_URL=postgresql://…` runs them on PostgreSQL; without it each test has a SQLite file of its own.

#![expect(clippy::unwrap_used, reason = "a test that meets what it did not expect fails")]
#![expect(clippy::disallowed_methods, reason = "tests have settings and tasks of their own")]
#![expect(clippy::print_stdout, reason = "what a test measured is shown when it fails")]
#![expect(clippy::needless_pass_by_value, reason = "a test that is easy to write is worth a copy")]

mod api;
mod beside;
mod boundaries;
mod build;
mod cli;
mod clients;
mod conformance;
mod contract;
mod database;
mod durability;
mod engine;
mod fernet;
mod limits;
mod mail;
mod migrations;
mod net;
mod objects;
mod pressure;
mod promises;
mod reconcile;
mod redis;
mod rehearsal;
mod search;
mod support;
mod takeover;
