//! One binary with all integration tests: they speak HTTP to a real server on a real database.
//! `TEST_DATABASE_URL=postgresql://…` runs them on PostgreSQL; without it each test has a SQLite file of its own.

mod api;
mod build;
mod cli;
mod clients;
mod contract;
mod durability;
mod engine;
mod migrations;
mod net;
mod promises;
mod support;
