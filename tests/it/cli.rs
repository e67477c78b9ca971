//! What people see of the program on a shell, a file a command.

mod check;
mod demo;
mod migrate;
mod openapi;
mod run_local;
mod serve;
mod user;
