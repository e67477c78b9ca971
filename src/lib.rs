//! Trends.Earth: registers scripts, runs them as executions on an engine, and serves status, logs and results.
//! Start reading at `docs/ARCHITECTURE.md`; the URL names the file in `api`, the table names the file in `store`.

pub mod account;
pub mod api;
pub mod app;
pub mod auth;
pub mod boundaries;
pub mod build;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod error;
pub mod execution;
pub mod fernet;
pub mod google;
pub mod html;
pub mod jobs;
pub mod json;
pub mod limits;
pub mod mail;
pub mod net;
pub mod objects;
pub mod openeo;
pub mod outside;
pub mod pulse;
pub mod redis;
pub mod server;
pub mod store;
pub mod telemetry;
