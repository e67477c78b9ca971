//! `/api/v1/status…`: changes of states over time, and the nodes.

mod cluster;
mod list;
