//! The ways out for services: networks across the nodes that lead nowhere, and gates as services beside them.

use std::collections::HashMap;

use bollard::{
    models::{
        Limit, NetworkCreateRequest, ServiceSpec, TaskSpec, TaskSpecContainerSpec, TaskSpecContainerSpecPrivileges,
        TaskSpecResources, TaskSpecRestartPolicy, TaskSpecRestartPolicyConditionEnum,
    },
    query_parameters::{InspectServiceOptions, ListNetworksOptions},
};

use super::service::{attached, by_name, one};
use crate::{
    auth::tokens,
    engine::docker::{
        daemon::{Daemon, settled, there},
        network::{GATE, Gates, Opened, PROXY, Way, arguments},
    },
};

/// Bytes of memory of a gate.
const MEMORY: i64 = 256 << 20;

/// The network of a way, with a gate that the cluster keeps alive.
pub async fn open(gates: &Gates, daemon: &Daemon, way: Way) -> anyhow::Result<Opened> {
    let _turn = gates.turn.lock().await;
    let network = daemon.name(way.name());
    let name = format!("{network}-gate");
    let image = gates.pushed(daemon).await?;
    let outside = daemon.settings.gate_network.clone();
    let made = tokens::digest(&format!("{image} {:?} {outside:?}", gates.env()));
    let opened = Opened { network: network.clone(), proxy: PROXY };
    if let Some(found) = there(daemon.docker.inspect_service(&name, None::<InspectServiceOptions>).await)? {
        let label = found.spec.and_then(|spec| spec.labels?.get(GATE).cloned());
        if label.as_ref() == Some(&made) {
            return Ok(opened);
        }
        settled(daemon.docker.delete_service(&name).await)?;
    }
    ensure_network(daemon, &network, true).await?;
    let outside = match outside {
        Some(outside) => outside,
        None => {
            let outside = daemon.name("outside");
            ensure_network(daemon, &outside, false).await?;
            outside
        }
    };
    let mut labels = daemon.mine();
    labels.insert(GATE.to_owned(), made);
    let spec = ServiceSpec {
        name: Some(name),
        labels: Some(labels),
        task_template: Some(TaskSpec {
            container_spec: Some(TaskSpecContainerSpec {
                image: Some(image),
                args: Some(arguments(way)),
                env: Some(gates.env().to_vec()),
                read_only: Some(true),
                capability_drop: Some(vec!["ALL".into()]),
                privileges: Some(TaskSpecContainerSpecPrivileges {
                    no_new_privileges: Some(true),
                    ..TaskSpecContainerSpecPrivileges::default()
                }),
                ..TaskSpecContainerSpec::default()
            }),
            resources: Some(TaskSpecResources {
                limits: Some(Limit { memory_bytes: Some(MEMORY), pids: Some(256), nano_cpus: None }),
                ..TaskSpecResources::default()
            }),
            restart_policy: Some(TaskSpecRestartPolicy {
                condition: Some(TaskSpecRestartPolicyConditionEnum::ANY),
                ..TaskSpecRestartPolicy::default()
            }),
            networks: Some(vec![attached(&network, &["gate"]), attached(&outside, &[])]),
            ..TaskSpec::default()
        }),
        mode: Some(one()),
        endpoint_spec: Some(by_name()),
        ..ServiceSpec::default()
    };
    settled(daemon.docker.create_service(spec, daemon.credentials()).await)?;
    tracing::info!(network, "a way out for services is open");
    Ok(opened)
}

async fn ensure_network(daemon: &Daemon, name: &str, internal: bool) -> anyhow::Result<()> {
    let filters = HashMap::from([("name".to_owned(), vec![name.to_owned()])]);
    let found = daemon.docker.list_networks(Some(ListNetworksOptions { filters: Some(filters) })).await?;
    if found.iter().any(|network| network.name.as_deref() == Some(name)) {
        return Ok(());
    }
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("overlay".into()),
        internal: Some(internal),
        labels: Some(daemon.mine()),
        ..NetworkCreateRequest::default()
    };
    Ok(settled(daemon.docker.create_network(request).await)?)
}
