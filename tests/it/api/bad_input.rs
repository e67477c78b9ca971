//! Whatever comes in, the answer is a sentence, nothing is left behind, and the server goes on.

mod fuzz;
mod requests;
mod requirements;
mod scripts;
mod uploads;
