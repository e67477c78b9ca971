//! `/api/v1/execution…` and `/script/<s>/run`: the whole life of a run.

mod cancel;
mod docker_logs;
mod get;
mod history;
mod list;
mod log;
mod report;
mod results;
mod run;
mod slots;
mod stream;
