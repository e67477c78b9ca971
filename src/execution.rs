//! What is more than one table: the life of an execution, from submit to its end.

pub mod adopt;
pub mod cancel;
pub mod dispatch;
pub mod failure;
pub mod idempotency;
pub mod inherited;
pub mod journal;
pub mod loan;
pub mod log;
pub mod order;
pub mod parameters;
pub mod queue;
pub mod report;
pub mod results;
pub mod secrets;
pub mod status;
pub mod submit;
pub mod webhook;
