//! A Docker daemon as the engines speak to it: the connection, the names and labels of what is ours, its errors.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::Context;
use bollard::{Docker, auth::DockerCredentials, errors::Error};
use secrecy::ExposeSecret;

use crate::{
    config::{Config, containers::Containers},
    engine::{Machine, Unit},
    store::Id,
};

/// Which installation a container, service, network or image is of.
pub const INSTANCE: &str = "trends-earth.instance";
/// The labels by which the existing server and its tools know executions.
pub const EXECUTION: &str = "execution.id";
/// Seconds that a unit may last.
pub const TIMEOUT: &str = "trends-earth.timeout";

/// How long one question may take. What takes longer is asked again; nothing is done twice by that.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a daemon that does not answer is waited for before a run is given up that was never started.
const AWAY: Duration = Duration::from_secs(120);
/// How long it is left alone meanwhile.
const PAUSE: Duration = Duration::from_secs(1);

/// The daemon of the settings.
#[derive(Debug)]
pub struct Daemon {
    pub docker: Docker,
    /// By which the daemon knows itself.
    pub id: String,
    /// This installation.
    pub instance: Id,
    pub settings: Containers,
    /// What it stands on.
    pub machine: Machine,
}

impl Daemon {
    /// Connects, and asks who is there.
    pub async fn open(config: &Config, instance: Id) -> anyhow::Result<Self> {
        let settings = config.containers.clone();
        let connected = match &settings.tls {
            Some(folder) => {
                let [key, certificate, authority] = ["key.pem", "cert.pem", "ca.pem"].map(|name| folder.join(name));
                let (patience, version) = (PATIENCE.as_secs(), bollard::API_DEFAULT_VERSION);
                Docker::connect_with_ssl(&settings.host, &key, &certificate, &authority, patience, version)
                    .with_context(|| {
                        format!("the certificates of DOCKER_CERT_PATH, {}, are not to be used", folder.display())
                    })
            }
            None => Docker::connect_with_host(&settings.host)
                .with_context(|| format!("DOCKER_HOST is {:?}, which is not understood", settings.host)),
        };
        let docker = connected?.with_timeout(PATIENCE);
        let info = async { docker.clone().negotiate_version().await?.info().await };
        let info = info.await.with_context(|| format!("the Docker daemon at {} does not answer", settings.host))?;
        let docker = docker.negotiate_version().await?;
        let number = |n: Option<i64>| u64::try_from(n.unwrap_or(0)).unwrap_or(0);
        let id = info.id.filter(|id| !id.is_empty()).context("the Docker daemon has no id")?;
        let machine = Machine {
            hostname: info.name.unwrap_or_else(|| id.clone()),
            id: id.clone(),
            cpu_nanos: number(info.ncpu) * 1_000_000_000,
            memory_bytes: number(info.mem_total),
        };
        Ok(Daemon { docker, id, instance, settings, machine })
    }

    /// A name of ours for what every installation has one of.
    pub fn name(&self, what: &str) -> String {
        format!("trends-earth-{}-{what}", &self.instance.to_string()[..8])
    }

    /// What only this installation touches.
    pub fn mine(&self) -> HashMap<String, String> {
        [(INSTANCE.to_owned(), self.instance.to_string())].into()
    }

    /// The labels of an execution's unit, as the existing server writes them, and ours.
    pub fn labels(&self, execution: Id, script: Id, timeout_s: u64) -> HashMap<String, String> {
        let mut labels = self.mine();
        for (name, value) in [
            (EXECUTION, execution.to_string()),
            ("execution.script_id", script.to_string()),
            ("service.type", "execution".into()),
            ("managed.by", "trends.earth-api".into()),
            (TIMEOUT, timeout_s.to_string()),
        ] {
            labels.insert(name.to_owned(), value);
        }
        labels
    }

    /// A filter that only units of this installation pass.
    pub fn units(&self) -> HashMap<String, Vec<String>> {
        [("label".to_owned(), vec![format!("{INSTANCE}={}", self.instance), EXECUTION.to_owned()])].into()
    }

    /// With which the registry is asked.
    pub fn credentials(&self) -> Option<DockerCredentials> {
        let (user, password) = self.settings.registry_login.as_ref()?;
        Some(DockerCredentials {
            username: Some(user.clone()),
            password: Some(password.expose_secret().to_owned()),
            serveraddress: self.settings.registry.clone(),
            ..DockerCredentials::default()
        })
    }
}

/// The unit that labels speak of.
pub fn unit_of(labels: Option<&HashMap<String, String>>) -> Option<Unit> {
    Id::parse(labels?.get(EXECUTION)?).map(Unit::Execution)
}

/// `None` for what is not there.
pub fn there<T>(answer: Result<T, Error>) -> Result<Option<T>, Error> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error) if status(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is there already, or is gone already, is as it should be.
pub fn settled<T>(answer: Result<T, Error>) -> Result<(), Error> {
    match answer {
        Err(error) if !matches!(status(&error), Some(304 | 404 | 409)) => Err(error),
        _ => Ok(()),
    }
}

/// The status that the daemon answered with, if it answered.
pub fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Asks again while the daemon does not answer at all. Nothing may be done twice by that.
pub async fn patiently<T, F: Future<Output = anyhow::Result<T>>>(ask: impl Fn() -> F) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(error) if is_away(&error) && begun.elapsed() < AWAY => {
                tracing::warn!(error = format!("{error:#}"), "the daemon does not answer");
                tokio::time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}

/// Whether the daemon did not answer at all: nothing is known of what was asked.
pub fn is_away(error: &anyhow::Error) -> bool {
    let Some(error) = error.downcast_ref::<Error>() else { return false };
    !matches!(
        error,
        Error::DockerResponseServerError { .. } | Error::JsonDataError { .. } | Error::DockerStreamError { .. }
    )
}
