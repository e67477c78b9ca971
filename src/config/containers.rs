//! Settings of the engines that run scripts in containers.

use std::{collections::BTreeMap, path::PathBuf};

use secrecy::SecretString;

use super::reader::Reader;

/// Settings of the engines `docker` and `swarm`.
#[derive(Debug, Clone)]
pub struct Containers {
    /// `DOCKER_HOST`: the daemon, `unix:///path` or `tcp://host:port`. Default unix:///var/run/docker.sock.
    pub host: String,
    /// `DOCKER_TLS_VERIFY`, `DOCKER_CERT_PATH`: a daemon at `tcp://` is reached by TLS, and the folder with `ca.pem`, `cert.pem` and `key.pem`.
    /// Default folder: `.docker` of the account's home.
    pub tls: Option<PathBuf>,
    /// `REGISTRY_URL`: where images are pushed to, such as `registry.example.org:5000`. Docker alone does without one.
    pub registry: Option<String>,
    /// `TE_REGISTRY_USER` and `TE_REGISTRY_PASSWORD`: if the registry asks who comes.
    pub registry_login: Option<(String, SecretString)>,
    /// `TE_PYTHON_IMAGES`: comma list of `environment=image`: images with Python 3.9 or newer into which our own runner is put.
    /// An image without a tag gets the script's `environment_version`. Default `python=python:3.12-slim-bookworm`.
    pub python_images: BTreeMap<String, String>,
    /// `TE_ENVIRONMENT_IMAGES`: the same for images of the existing Environment, which report by themselves.
    /// Default `trends.earth-environment=conservationinternational/trends.earth-environment`.
    pub environment_images: BTreeMap<String, String>,
    /// `TE_GATE_NETWORK`: the network by which the gate of runs goes out and finds `API_INTERNAL_URL`. Default: one of its own,
    /// on a single daemon its usual one.
    pub gate_network: Option<String>,
    /// `TE_GATE_IMAGE`: an image that has this program as its entry point's first word. Default: made of the program's own file on
    /// the first of `TE_PYTHON_IMAGES`.
    pub gate_image: Option<String>,
    /// `TE_UNIT_LOST_S`: seconds for which a run of a Swarm whose node is gone is waited for. Default 120.
    pub lost_s: u64,
}

impl Containers {
    /// Reads them.
    pub fn read(r: &mut Reader) -> Self {
        let registry = r.text("REGISTRY_URL").map(|url| {
            let bare = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            bare.trim_end_matches('/').to_owned()
        });
        let registry_login = match (r.text("TE_REGISTRY_USER"), r.secret("TE_REGISTRY_PASSWORD")) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            _ => {
                r.errors.push("TE_REGISTRY_USER and TE_REGISTRY_PASSWORD must be set together.".into());
                None
            }
        };
        let host = r.text("DOCKER_HOST").unwrap_or_else(|| "unix:///var/run/docker.sock".into());
        let certificates = r.text("DOCKER_CERT_PATH").map(PathBuf::from);
        let home = r.env.get("HOME").map(PathBuf::from).unwrap_or_default();
        let tls = r.text("DOCKER_TLS_VERIFY").filter(|_| host.starts_with("tcp://"));
        let tls = tls.map(|_| certificates.unwrap_or_else(|| home.join(".docker")));
        Containers {
            host,
            tls,
            registry,
            registry_login,
            python_images: images(r, "TE_PYTHON_IMAGES", "python=python:3.12-slim-bookworm"),
            environment_images: images(
                r,
                "TE_ENVIRONMENT_IMAGES",
                "trends.earth-environment=conservationinternational/trends.earth-environment",
            ),
            gate_network: r.text("TE_GATE_NETWORK"),
            gate_image: r.text("TE_GATE_IMAGE"),
            lost_s: r.number("TE_UNIT_LOST_S", 120, 1..=86_400),
        }
    }
}

fn images(r: &mut Reader, name: &str, default: &str) -> BTreeMap<String, String> {
    let parts = r.list(name).unwrap_or_else(|| vec![default.to_owned()]);
    let mut images = BTreeMap::new();
    for part in parts {
        match part.split_once('=') {
            Some((environment, image)) if !environment.is_empty() && !image.is_empty() => {
                images.insert(environment.trim().to_owned(), image.trim().to_owned());
            }
            _ => r.errors.push(format!("{name} holds {part:?}; it must be a pair such as python=python:3.12-slim.")),
        }
    }
    images
}
