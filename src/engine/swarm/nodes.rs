//! The nodes of a cluster as its manager sees them, for administrators.

use bollard::models::{
    Node as Seen, NodeSpecAvailabilityEnum, NodeSpecRoleEnum, NodeState, ResourceObject, Task, TaskState,
};
use chrono::{DateTime, NaiveDateTime};

use crate::engine::state::{Node, ResourceUsage};

/// The reservation of a script that says nothing of it: nano-CPUs, and bytes.
const SMALLEST: i64 = 100_000_000;

/// A node, with what the tasks on it have reserved.
pub fn shown(node: &Seen, tasks: &[Task]) -> Node {
    let id = node.id.clone().unwrap_or_default();
    let spec = node.spec.clone().unwrap_or_default();
    let description = node.description.clone().unwrap_or_default();
    let (cpu, memory) = amounts(description.resources.as_ref());
    let here = |task: &&Task| task.node_id.as_ref() == Some(&id) && task.desired_state == Some(TaskState::RUNNING);
    let mut used = (0, 0);
    let mut running = 0;
    for task in tasks.iter().filter(here) {
        let resources = task.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.reservations.as_ref());
        let (cpu, memory) = amounts(resources);
        used = (used.0 + cpu, used.1 + memory);
        running += usize::from(task.status.as_ref().and_then(|status| status.state) == Some(TaskState::RUNNING));
    }
    let free = ((cpu - used.0).max(0), (memory - used.1).max(0));
    let ready = node.status.as_ref().and_then(|status| status.state) == Some(NodeState::READY);
    let active = spec.availability == Some(NodeSpecAvailabilityEnum::ACTIVE);
    let manager = node.manager_status.as_ref();
    Node {
        hostname: description.hostname.unwrap_or_else(|| id.clone()),
        role: if spec.role == Some(NodeSpecRoleEnum::MANAGER) { "manager" } else { "worker" }.into(),
        is_manager: manager.is_some(),
        is_leader: manager.and_then(|manager| manager.leader).unwrap_or(false),
        availability: if active { "active" } else { "drain" }.into(),
        state: if ready { "ready" } else { "down" }.into(),
        cpu_count: share(cpu, 1_000_000_000, 1.0),
        memory_gb: share(memory, 1 << 30, 1.0),
        running_tasks: running,
        available_capacity: if ready && active { free.0.min(free.1) / SMALLEST } else { 0 },
        resource_usage: ResourceUsage {
            used_cpu_nanos: used.0,
            used_memory_bytes: used.1,
            available_cpu_nanos: free.0,
            available_memory_bytes: free.1,
            used_cpu_percent: share(used.0, cpu, 100.0),
            used_memory_percent: share(used.1, memory, 100.0),
        },
        labels: spec.labels.unwrap_or_default().into_iter().map(|(name, value)| (name, value.into())).collect(),
        created_at: time(node.created_at.as_deref()),
        updated_at: time(node.updated_at.as_deref()),
        id,
    }
}

fn amounts(resources: Option<&ResourceObject>) -> (i64, i64) {
    let amount = |n: Option<i64>| n.unwrap_or(0).max(0);
    resources.map_or((0, 0), |resources| (amount(resources.nano_cpus), amount(resources.memory_bytes)))
}

fn time(text: Option<&str>) -> NaiveDateTime {
    text.and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        .map_or_else(NaiveDateTime::default, |time| time.naive_utc())
}

/// A part of a whole, with two digits.
fn share(part: i64, whole: i64, times: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "it is rounded to two digits")]
    let share = part as f64 / whole.max(1) as f64 * times;
    (share * 100.0).round() / 100.0
}
