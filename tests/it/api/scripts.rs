//! `/api/v1/script…`: the whole life of a script.

mod create;
mod delete;
mod download;
mod get;
mod list;
mod log;
mod publish;
mod update;
