//! What a worker tells of its engine, for administrators: nodes, their room and what they hold. Kept in `engine_state`, in the
//! names of the existing server's answer (contract/scripts-executions.md 3).

use serde::{Deserialize, Serialize};

/// What was seen of one engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// Whether it is a Docker Swarm.
    pub swarm_active: bool,
    /// A sentence for people, where there is something to say.
    pub error: Option<String>,
    pub nodes: Vec<Node>,
    /// How long it took to look.
    pub collection_time_seconds: f64,
}

/// One machine.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Node {
    pub id: String,
    pub hostname: String,
    /// `manager` or `worker`.
    pub role: String,
    pub is_manager: bool,
    pub is_leader: bool,
    /// `active`, or `drain` if it takes nothing new.
    pub availability: String,
    /// `ready` or `down`.
    pub state: String,
    pub cpu_count: f64,
    /// GiB.
    pub memory_gb: f64,
    pub running_tasks: usize,
    /// How many more runs of the smallest size fit.
    pub available_capacity: i64,
    pub resource_usage: ResourceUsage,
    #[schema(value_type = Object)]
    pub labels: serde_json::Map<String, serde_json::Value>,
    pub created_at: chrono::NaiveDateTime,
    pub updated_at: chrono::NaiveDateTime,
}

/// What runs have reserved, and may still reserve.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ResourceUsage {
    pub used_cpu_nanos: i64,
    pub used_memory_bytes: i64,
    pub available_cpu_nanos: i64,
    pub available_memory_bytes: i64,
    pub used_cpu_percent: f64,
    pub used_memory_percent: f64,
}
