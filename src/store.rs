//! The database: one file a table, a row struct and its SQL, nothing else.
//! `store` knows nothing of HTTP; `db` holds what the two databases do not share.

pub mod audit;
pub mod boundaries;
pub mod credentials;
pub mod db;
pub mod events;
pub mod executions;
pub mod jobs;
pub mod logs;
pub mod mail_outbox;
pub mod news;
pub mod password_reset_tokens;
pub mod rate_limit_events;
pub mod refresh_tokens;
pub mod revocations;
pub mod runs;
pub mod script_logs;
pub mod script_versions;
pub mod scripts;
pub mod search;
pub mod service_clients;
pub mod status_log;
pub mod sweep;
pub mod unknown_logins;
pub mod user_clients;
pub mod users;
pub mod workers;

pub use db::{Db, Id, Json, Time, Tx};
