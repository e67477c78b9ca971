//! The networks of runs and builds, which lead nowhere, and the gates beside them, which are the one way out. Made when they
//! are first needed, and looked at each time.

use std::{collections::HashMap, path::PathBuf};

use anyhow::Context;
use bollard::{
    body_full,
    models::{
        ContainerCreateBody, EndpointSettings, HostConfig, NetworkConnectRequest, NetworkCreateRequest, RestartPolicy,
        RestartPolicyNameEnum,
    },
    query_parameters::{
        BuildImageOptions, CreateContainerOptions, ListNetworksOptions, RemoveContainerOptions, StartContainerOptions,
    },
};
use futures::StreamExt;
use tokio::sync::{Mutex, OnceCell};

use super::{
    daemon::{Daemon, settled, there},
    image::{Journal, program_context},
};
use crate::{
    auth::tokens,
    config::Config,
    engine::process::{environment::Index, keeper},
};

/// Port and name of a gate on its network.
pub const PROXY: &str = "http://gate:3128";
/// Says how a gate was made: one that was made otherwise is made anew.
pub const GATE: &str = "trends-earth.gate";
/// The name of their images at a registry.
pub const GATES: &str = "trends-earth-gate";
/// Bytes of memory of a gate.
const MEMORY: i64 = 256 << 20;

/// Who goes where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// To the API and to public hosts.
    Open,
    /// To the API alone.
    Closed,
    /// To the package index alone.
    Index,
}

impl Way {
    pub fn name(self) -> &'static str {
        match self {
            Way::Open => "open",
            Way::Closed => "closed",
            Way::Index => "index",
        }
    }
}

/// What makes gates.
#[derive(Debug)]
pub struct Gates {
    /// An image that has this program.
    image: Option<String>,
    program: PathBuf,
    /// The name of the image that is made of the program.
    made: OnceCell<String>,
    at_registry: OnceCell<String>,
    /// One at a time opens ways: two would make everything twice.
    pub(in crate::engine) turn: Mutex<()>,
    env: Vec<String>,
}

/// A way that is open: its network, and the proxy there.
#[derive(Debug, Clone)]
pub struct Opened {
    pub network: String,
    pub proxy: &'static str,
}

impl Gates {
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let proxies = config.machine.iter().filter(|(name, _)| name.to_ascii_uppercase().ends_with("_PROXY"));
        let mut env: Vec<String> = proxies.map(|(name, value)| format!("{name}={value}")).collect();
        // Names of hosts are all that a gate needs of the index: no password of it.
        let index = Index::from_env(&config.machine);
        match index.urls.split_first() {
            Some((first, more)) => {
                env.push(format!("PIP_INDEX_URL={first}"));
                env.push(format!("PIP_EXTRA_INDEX_URL={}", more.join(" ")));
            }
            None => env.push("PIP_NO_INDEX=true".into()),
        }
        env.push(format!("API_INTERNAL_URL={}", config.internal_url()));
        if let Some(hosts) = &config.egress_hosts {
            env.push(format!("TE_EGRESS_HOSTS={}", hosts.join(",")));
        }
        let program = keeper::this_program().context("this program's own file is not found")?;
        Ok(Gates {
            image: config.containers.gate_image.clone(),
            program,
            made: OnceCell::new(),
            at_registry: OnceCell::new(),
            turn: Mutex::default(),
            env,
        })
    }

    /// The network of a way, with a gate that lives.
    pub async fn open(&self, daemon: &Daemon, way: Way) -> anyhow::Result<Opened> {
        let _turn = self.turn.lock().await;
        let network = daemon.name(way.name());
        let name = format!("{network}-gate");
        let image = self.image(daemon).await?;
        let made = tokens::digest(&format!("{image} {:?} {:?}", self.env, daemon.settings.gate_network));
        let opened = Opened { network: network.clone(), proxy: PROXY };
        if let Some(found) = there(daemon.docker.inspect_container(&name, None).await)? {
            let label = found.config.as_ref().and_then(|config| config.labels.as_ref()?.get(GATE));
            if label == Some(&made) {
                if !found.state.and_then(|state| state.running).unwrap_or(false) {
                    settled(daemon.docker.start_container(&name, None::<StartContainerOptions>).await)?;
                }
                return Ok(opened);
            }
            let options = RemoveContainerOptions { force: true, ..RemoveContainerOptions::default() };
            settled(daemon.docker.remove_container(&name, Some(options)).await)?;
        }
        ensure_network(daemon, &network).await?;
        let mut labels = daemon.mine();
        labels.insert(GATE.to_owned(), made);
        let outside = daemon.settings.gate_network.clone().unwrap_or_else(|| "bridge".into());
        let body = ContainerCreateBody {
            image: Some(image),
            cmd: Some(arguments(way)),
            env: Some(self.env.clone()),
            labels: Some(labels),
            host_config: Some(HostConfig {
                network_mode: Some(outside),
                memory: Some(MEMORY),
                pids_limit: Some(256),
                cap_drop: Some(vec!["ALL".into()]),
                security_opt: Some(vec!["no-new-privileges".into()]),
                readonly_rootfs: Some(true),
                extra_hosts: Some(vec!["host.docker.internal:host-gateway".into()]),
                restart_policy: Some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
                    maximum_retry_count: None,
                }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptions { name: Some(name.clone()), ..CreateContainerOptions::default() };
        settled(daemon.docker.create_container(Some(options), body).await)?;
        let endpoint = EndpointSettings { aliases: Some(vec!["gate".into()]), ..EndpointSettings::default() };
        let request = NetworkConnectRequest { container: name.clone(), endpoint_config: Some(endpoint) };
        daemon.docker.connect_network(&network, request).await.context("the gate is not on its network")?;
        settled(daemon.docker.start_container(&name, None::<StartContainerOptions>).await)?;
        tracing::info!(network, "a way out for containers is open");
        Ok(opened)
    }

    /// The image of gates: the setting, else made of this program's own file.
    pub async fn image(&self, daemon: &Daemon) -> anyhow::Result<String> {
        if let Some(image) = &self.image {
            return Ok(image.clone());
        }
        self.made.get_or_try_init(|| self.make(daemon)).await.cloned()
    }

    async fn make(&self, daemon: &Daemon) -> anyhow::Result<String> {
        let program = self.program.clone();
        let digest =
            tokio::task::spawn_blocking(move || anyhow::Ok(tokens::hex(digest_of(&program)?.as_ref()))).await??;
        let repository = match &daemon.settings.registry {
            Some(registry) => format!("{registry}/{GATES}"),
            None => "trends-earth/gate".into(),
        };
        let name = format!("{repository}:{}", &digest[..32]);
        if there(daemon.docker.inspect_image(&name).await)?.is_some() {
            return Ok(name);
        }
        let journal = Journal::default();
        let base = daemon.settings.python_images.values().next().cloned().unwrap_or_default();
        daemon.pull(&base, &journal).await?.with_context(|| {
            format!("the image {base}, on which the gate of runs is made, cannot be had; or set TE_GATE_IMAGE")
        })?;
        let program = self.program.clone();
        let context = tokio::task::spawn_blocking(move || program_context(&base, &program)).await??;
        let options = BuildImageOptions {
            t: Some(name.clone()),
            rm: true,
            forcerm: true,
            networkmode: Some("none".into()),
            ..BuildImageOptions::default()
        };
        let docker = daemon.docker.clone().with_timeout(std::time::Duration::from_secs(600));
        let mut said = docker.build_image(options, None, Some(body_full(context)));
        while let Some(info) = said.next().await {
            if let Some(error) = info?.error_detail.and_then(|error| error.message) {
                anyhow::bail!("the image of the gate could not be made: {error}");
            }
        }
        Ok(name)
    }

    /// The same where the nodes of a cluster find it.
    pub async fn pushed(&self, daemon: &Daemon) -> anyhow::Result<String> {
        if let Some(image) = &self.image {
            return Ok(image.clone());
        }
        self.at_registry
            .get_or_try_init(|| async {
                let name = self.image(daemon).await?;
                let (repository, tag) = name.rsplit_once(':').context("an image of ours has a tag")?;
                if !daemon.has(&name, false).await? {
                    daemon.push(repository, tag, &Journal::default()).await?.map_err(anyhow::Error::msg)?;
                }
                Ok(name)
            })
            .await
            .cloned()
    }

    /// The environment of a gate.
    pub fn env(&self) -> &[String] {
        &self.env
    }
}

/// What a gate of a way is started with.
pub fn arguments(way: Way) -> Vec<String> {
    match way {
        Way::Open => Vec::new(),
        Way::Closed => vec!["--closed".to_owned()],
        Way::Index => vec!["--index".to_owned()],
    }
}

fn digest_of(file: &PathBuf) -> anyhow::Result<aws_lc_rs::digest::Digest> {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut file = std::fs::File::open(file)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = std::io::Read::read(&mut file, &mut buffer)?;
        if n == 0 {
            return Ok(context.finish());
        }
        context.update(&buffer[..n]);
    }
}

/// A network without a way out, on which not even the daemon's machine has an address. Two of one name would be two networks.
async fn ensure_network(daemon: &Daemon, name: &str) -> anyhow::Result<()> {
    let filters = HashMap::from([("name".to_owned(), vec![name.to_owned()])]);
    let found = daemon.docker.list_networks(Some(ListNetworksOptions { filters: Some(filters) })).await?;
    if found.iter().any(|network| network.name.as_deref() == Some(name)) {
        return Ok(());
    }
    let request = NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".into()),
        internal: Some(true),
        options: Some(HashMap::from([("com.docker.network.bridge.inhibit_ipv4".to_owned(), "true".to_owned())])),
        labels: Some(daemon.mine()),
        ..NetworkCreateRequest::default()
    };
    Ok(settled(daemon.docker.create_network(request).await)?)
}
