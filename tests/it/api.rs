//! What clients see, a folder a noun and a file a verb.

mod connections;
mod health;
mod mend;
