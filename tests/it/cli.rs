//! What people see of the program on a shell, a file a command.

mod check;
mod client;
mod copy;
mod demo;
mod migrate;
mod openapi;
mod run_local;
mod script;
mod serve;
mod user;
