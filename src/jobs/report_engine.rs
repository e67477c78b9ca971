//! What this worker's engine holds, written down for `/status/cluster`: the API never asks an engine itself.

use std::time::Instant;

use super::Worker;
use crate::{
    engine::{
        Machine,
        state::{Node, ResourceUsage, Snapshot},
    },
    store::{self, Time},
};

/// The reservation of a script that says nothing of it: nano-CPUs, and bytes.
const SMALLEST: i64 = 100_000_000;

/// Writes what is there now. `up` is false when the worker goes: its units go on, and nothing new is taken.
pub async fn report(worker: &Worker, since: Time, up: bool) -> anyhow::Result<()> {
    let (begun, now) = (Instant::now(), worker.app.clock.now());
    let nodes = worker.engine.nodes().await?;
    let swarm_active = nodes.is_some();
    let snapshot = Snapshot {
        swarm_active,
        error: (!swarm_active).then(|| "No Docker Swarm: runs are held by the engine of each node.".into()),
        nodes: nodes.unwrap_or_else(|| vec![node(worker, since, up, now)]),
        collection_time_seconds: begun.elapsed().as_secs_f64(),
    };
    let snapshot = sqlx::types::Json(serde_json::value::to_raw_value(&snapshot)?);
    Ok(store::engine_state::put(&worker.app.db, worker.engine.scope(), &snapshot, now).await?)
}

fn node(worker: &Worker, since: Time, up: bool, now: Time) -> Node {
    let (used, free) = (worker.used(), worker.free());
    let Machine { id, hostname, cpu_nanos: cpu, memory_bytes: memory } = worker.engine.machine(&worker.data.node);
    let room = up && worker.has_room_on_disk();
    let fits = free.cpu_nanos.min(free.memory_bytes).max(0) / SMALLEST;
    Node {
        id,
        hostname,
        role: "worker".into(),
        is_manager: false,
        is_leader: false,
        availability: if room { "active" } else { "drain" }.into(),
        state: if up { "ready" } else { "down" }.into(),
        cpu_count: share(cpu, 1_000_000_000, 1.0),
        memory_gb: share(memory, 1 << 30, 1.0),
        running_tasks: used.runs + used.builds,
        available_capacity: if room { fits } else { 0 },
        resource_usage: ResourceUsage {
            used_cpu_nanos: used.cpu_nanos,
            used_memory_bytes: used.memory_bytes,
            available_cpu_nanos: free.cpu_nanos.max(0),
            available_memory_bytes: free.memory_bytes.max(0),
            used_cpu_percent: share(used.cpu_nanos.unsigned_abs(), cpu, 100.0),
            used_memory_percent: share(used.memory_bytes.unsigned_abs(), memory, 100.0),
        },
        labels: [("scope".to_owned(), worker.engine.scope().into())].into_iter().collect(),
        created_at: since,
        updated_at: now,
    }
}

/// A part of a whole, with two digits.
fn share(part: u64, whole: u64, times: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "it is rounded to two digits")]
    let share = part as f64 / whole.max(1) as f64 * times;
    (share * 100.0).round() / 100.0
}
