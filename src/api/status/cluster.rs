//! `/api/v1/status/cluster`, also by its older name `/status/swarm`: the nodes that runs are held on, as their workers saw them.

use axum::{Json, extract::State};
use chrono::TimeDelta;
use serde::Serialize;
use serde_json::{Value, json};

use crate::engine::state::{Node, Snapshot};
use crate::{
    api::{Data, data, health::timestamp},
    app::App,
    auth::User,
    error::{Error, Result},
    store::{self, Time, users::Role},
};

/// How long what a worker saw counts, in seconds. It looks every minute.
const FRESH_S: i64 = 300;
/// The existing server's name of the place where this is kept.
const KEY: &str = "docker_swarm_status";

/// The nodes.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Cluster {
    /// Whether they are a Docker Swarm.
    swarm_active: bool,
    total_nodes: usize,
    total_managers: usize,
    total_workers: usize,
    /// What there is to say, a sentence.
    error: Option<String>,
    nodes: Vec<Node>,
    #[serde(rename = "_performance", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object)]
    performance: Option<Value>,
    #[schema(value_type = Object)]
    cache_info: Value,
}

/// The nodes that hold runs: room, reservations, running tasks. By role ADMIN or SUPERADMIN.
#[utoipa::path(get, path = "/api/v1/status/cluster", tag = "status", security(("bearerAuth" = [])),
    responses((status = 200, body = Data<Cluster>), (status = 403, body = crate::api::ErrorBody)))]
pub async fn cluster(State(app): State<App>, user: User) -> Result<Json<Data<Cluster>>> {
    // The account of the containers has no share in this by a setting, only by its own role.
    let role = if user.is_environment {
        let profile = store::users::profile(&app.db, user.id).await?;
        Role::of(profile.and_then(|profile| profile.role).as_deref())
    } else {
        user.role
    };
    if role < Role::Admin {
        return Err(Error::Forbidden("Access denied. Admin privileges required.".into()));
    }
    let now = app.clock.now();
    let states = store::engine_state::list(&app.db, now - TimeDelta::seconds(FRESH_S)).await?;
    let collected_at = states.iter().map(|state| state.collected_at).max();
    // What another release wrote may have another form.
    let read = |state: &store::engine_state::EngineState| serde_json::from_str(state.snapshot.0.get()).ok();
    let snapshots: Vec<Snapshot> = states.iter().filter_map(read).collect();
    Ok(data(match collected_at {
        Some(at) if !snapshots.is_empty() => Cluster::seen(snapshots, at),
        _ => Cluster::unseen(&app),
    }))
}

/// The same.
#[utoipa::path(get, path = "/api/v1/status/swarm", tag = "status", security(("bearerAuth" = [])),
    responses((status = 200, body = Data<Cluster>), (status = 403, body = crate::api::ErrorBody)))]
pub async fn swarm(app: State<App>, user: User) -> Result<Json<Data<Cluster>>> {
    cluster(app, user).await
}

impl Cluster {
    fn seen(snapshots: Vec<Snapshot>, at: Time) -> Self {
        let swarm_active = snapshots.iter().any(|snapshot| snapshot.swarm_active);
        let error = snapshots.iter().find_map(|snapshot| snapshot.error.clone()).filter(|_| !swarm_active);
        let seconds: f64 = snapshots.iter().map(|snapshot| snapshot.collection_time_seconds).sum();
        let mut nodes: Vec<Node> = snapshots.into_iter().flat_map(|snapshot| snapshot.nodes).collect();
        nodes.sort_by(|a, b| (!a.is_manager, &a.hostname, &a.id).cmp(&(!b.is_manager, &b.hostname, &b.id)));
        let managers = nodes.iter().filter(|node| node.is_manager).count();
        let at = format!("{}+00:00", at.format("%Y-%m-%dT%H:%M:%S%.6f"));
        Cluster {
            swarm_active,
            total_nodes: nodes.len(),
            total_managers: managers,
            total_workers: nodes.len() - managers,
            error,
            performance: Some(json!({
                "collection_time_seconds": seconds, "task_collection_time_seconds": seconds,
                "node_count": nodes.len(), "cache_used": true, "timestamp": at,
            })),
            nodes,
            cache_info: json!({"cached_at": at, "cache_ttl": FRESH_S, "cache_key": KEY}),
        }
    }

    /// No worker has said anything lately.
    fn unseen(app: &App) -> Self {
        Cluster {
            swarm_active: false,
            total_nodes: 0,
            total_managers: 0,
            total_workers: 0,
            error: Some("Docker Swarm status unavailable - cache not accessible".into()),
            nodes: Vec::new(),
            performance: None,
            cache_info: json!({
                "cached_at": timestamp(app), "cache_ttl": 0, "cache_key": KEY, "source": "cache_unavailable",
            }),
        }
    }
}
