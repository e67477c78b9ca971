//! How often one may call, and who calls.

pub mod address;
