//! How requests are read: our own error body on bad input, lenient JSON, pages, paths.

pub mod filter;
pub mod json;
pub mod page;
pub mod path;
pub mod query;
pub mod times;
