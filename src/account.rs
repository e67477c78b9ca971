//! What is more than one table about people: an account begins, ends, and is told whole.

pub mod earth_engine;
pub mod erase;
pub mod fields;
pub mod register;
