//! What clients see, a folder a noun and a file a verb.

mod health;
mod mend;
