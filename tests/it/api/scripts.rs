//! `/api/v1/script…`: the whole life of a script.

mod access;
mod config;
mod create;
mod delete;
mod download;
mod export;
mod get;
mod list;
mod log;
mod publish;
mod schema;
mod secrets;
mod update;
mod versions;
