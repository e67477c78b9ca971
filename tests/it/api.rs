//! What clients see, a folder a noun and a file a verb.

mod auth;
mod bad_input;
mod bodies;
mod connections;
mod cors;
mod etag;
pub mod executions;
mod health;
mod matrix;
mod mend;
mod oauth;
mod platform;
mod scripts;
mod sessions;
mod stats;
mod status;
mod unsubscribe;
mod users;
