//! `/api/v1/execution…` and `/script/<s>/run`: the whole life of a run.

pub mod cancel;
mod docker_logs;
mod get;
mod history;
mod idempotency;
mod list;
mod loan;
mod log;
mod report;
mod rerun;
mod results;
pub mod run;
mod slots;
mod stream;
mod webhook;
