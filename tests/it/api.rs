//! What clients see, a folder a noun and a file a verb.

mod auth;
mod bad_input;
mod connections;
mod executions;
mod health;
mod mend;
mod platform;
mod scripts;
mod unsubscribe;
mod users;
