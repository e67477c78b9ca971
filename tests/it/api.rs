//! What clients see, a folder a noun and a file a verb.

mod auth;
mod bad_input;
mod bodies;
mod boundaries;
mod connections;
mod cors;
mod etag;
pub mod executions;
mod gee_credentials;
mod google_groups;
mod health;
mod maintenance;
mod matrix;
mod mend;
mod news;
mod oauth;
mod old_web_app;
mod openeo_credentials;
mod platform;
mod scripts;
mod sessions;
mod stats;
mod status;
mod unsubscribe;
mod users;
