//! The process engine: real keepers, real sandboxes.
//! As root every test of these runs a second time as an account without rights.

mod choice;
mod gate;
mod keeper;
mod limits;
mod probe;
mod python;
mod sandbox;
mod unit;
