//! The engine of this machine.

mod python;
