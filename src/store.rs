//! The database: one file a table, a row struct and its SQL, nothing else.
//! `store` knows nothing of HTTP; `db` holds what the two databases do not share.

pub mod audit;
pub mod boundaries;
pub mod copy;
pub mod credentials;
pub mod db;
pub mod engine_state;
pub mod events;
pub mod execution_count;
pub mod execution_daily;
pub mod execution_output;
pub mod executions;
pub mod idempotency_keys;
pub mod installation;
pub mod jobs;
pub mod loans;
pub mod logs;
pub mod mail_outbox;
pub mod maintenance;
pub mod news;
pub mod news_translations;
pub mod oauth_states;
pub mod password_reset_tokens;
pub mod pool;
pub mod rate_limit_events;
pub mod refresh_tokens;
pub mod revocations;
pub mod roll_up;
pub mod runs;
pub mod script_logs;
pub mod script_secrets;
pub mod script_versions;
pub mod scripts;
pub mod search;
pub mod service_clients;
pub mod status_hourly;
pub mod status_log;
pub mod sweep;
pub mod takeover;
pub mod unknown_logins;
pub mod user_clients;
pub mod users;
pub mod webhook_deliveries;
pub mod workers;

pub use db::{Db, Id, Json, Time, Tx};
