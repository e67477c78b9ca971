//! `/api/v1/user…`: people, their profiles, passwords and the end of an account.

mod create;
mod delete;
mod export;
mod list;
mod me;
mod passwords;
mod update;
