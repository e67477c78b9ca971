//! A server on one engine, and what a test may do to its units from outside.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
};

use secrecy::ExposeSecret;
use tokio::{
    net::{UnixListener, UnixStream},
    task::{JoinHandle, JoinSet},
};
use trends_earth::{
    config::{Config, Flags},
    engine::{Engine, docker::Docker, swarm::Swarm},
    store,
};

use crate::support::{Options, Server, keeper_of, until};

/// The engine under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Process,
    Docker,
    Swarm,
}

pub struct Arena {
    pub server: Server,
    pub kind: Kind,
    /// How many runs are at work side by side.
    pub many: usize,
    /// Where its daemon listens.
    host: String,
    /// By which the server reaches it, if that can be cut.
    pub wire: Option<Wire>,
}

/// A daemon's socket that can be cut.
pub struct Wire {
    host: String,
    path: PathBuf,
    target: PathBuf,
    at_work: Mutex<Option<JoinHandle<()>>>,
}

impl Wire {
    fn to(host: &str) -> Self {
        let path = std::env::temp_dir().join(format!("te-wire-{}", store::Id::random()));
        let target = host.strip_prefix("unix://").unwrap().into();
        let wire = Wire { host: format!("unix://{}", path.display()), path, target, at_work: Mutex::default() };
        wire.mend();
        wire
    }

    pub fn mend(&self) {
        let (listener, target) = (UnixListener::bind(&self.path).unwrap(), self.target.clone());
        let work = async move {
            let mut open = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let target = target.clone();
                open.spawn(async move {
                    let mut far = UnixStream::connect(target).await.unwrap();
                    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                });
            }
        };
        *self.at_work.lock().unwrap() = Some(tokio::spawn(work));
    }

    /// Also what is under way ends.
    pub fn cut(&self) {
        if let Some(work) = self.at_work.lock().unwrap().take() {
            work.abort();
        }
        drop(std::fs::remove_file(&self.path));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
    }
}

fn setting(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} is not set; tests/docker starts what it names"))
}

/// A port that is free now; a container has to find the server there after a restart, too.
fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

/// What stands for the existing Environment.
const ENVIRONMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/conformance/environment");

fn docker(host: &str, words: &[&str]) -> String {
    let mut command = Command::new("docker");
    // What it remembers of registries is the tests' own.
    command.env("DOCKER_BUILDKIT", "0").env("DOCKER_CONFIG", std::env::temp_dir().join("te-test-docker"));
    let output = command.args(["-H", host]).args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Arena {
    pub async fn process() -> Self {
        let options = Options::default().set("TE_MAX_RUNS", 12);
        let server = Server::with(options).await;
        Arena { server, kind: Kind::Process, many: 8, host: String::new(), wire: None }
    }

    /// A server on the daemon of the tests, or why there is none.
    pub async fn docker() -> Result<Self, String> {
        let host = setting("TE_TEST_DOCKER_HOST")?;
        let wire = Wire::to(&host);
        let base = ["build", "-q", "-t", "te-test/environment:1", "--build-arg", "BASE=te-test/python:base"];
        docker(&host, &[base.as_slice(), &[ENVIRONMENT]].concat());
        let options = Options::default()
            .set("TE_ENGINE", "docker,process")
            .set("TE_ENGINE_FOR", "near=process")
            .set("TE_COEXIST", "on")
            .set("TE_ENVIRONMENT_IMAGES", "reported=te-test/environment:1")
            .set("DOCKER_HOST", &wire.host)
            .set("TE_MAX_RUNS", 12)
            .set("TE_LEASE_S", 15)
            .set("REGISTRY_URL", format!("http://{}", setting("TE_TEST_REGISTRY")?))
            .set("TE_REGISTRY_USER", "tests")
            .set("TE_REGISTRY_PASSWORD", setting("TE_TEST_REGISTRY_PASSWORD")?)
            .set("TE_PYTHON_IMAGES", "trends.earth-environment=te-test/python:base,near=te-test/python:base");
        let options = Options { listen: Some(format!("0.0.0.0:{}", free_port())), ..options };
        let server = Server::with(options).await;
        server.may_log_errors();
        Ok(Arena { server, kind: Kind::Docker, many: 4, host, wire: Some(wire) })
    }

    /// A server on the manager of the tests' Swarm, or why there is none.
    pub async fn swarm() -> Result<Self, String> {
        let host = setting("TE_TEST_SWARM_HOST")?;
        let (registry, address) = (setting("TE_TEST_SWARM_REGISTRY")?, setting("TE_TEST_SWARM_ADDRESS")?);
        let port = free_port();
        let options = Options::default()
            .set("TE_ENGINE", "swarm")
            .set("DOCKER_HOST", &host)
            .set("TE_MAX_RUNS", 12)
            .set("TE_LEASE_S", 15)
            .set("TE_UNIT_LOST_S", 5)
            .set("REGISTRY_URL", &registry)
            .set("API_INTERNAL_URL", format!("http://{address}:{port}"))
            .set("TE_PYTHON_IMAGES", format!("trends.earth-environment={registry}/te-test/python:base"));
        let options = Options { listen: Some(format!("0.0.0.0:{port}")), ..options };
        let server = Server::with(options).await;
        server.may_log_errors();
        Ok(Arena { server, kind: Kind::Swarm, many: 4, host, wire: None })
    }

    /// Whether runs can be held at all.
    pub async fn works(&self) -> bool {
        self.server.has_sandbox().await
    }

    pub fn has_containers(&self) -> bool {
        self.kind != Kind::Process
    }

    /// Another handle of the same engine of containers; a sandbox is held by the program itself.
    pub async fn engine(&self) -> Arc<dyn Engine> {
        let app = &self.server.app;
        let instance = store::installation::id(&app.db).await.unwrap();
        match self.kind {
            Kind::Process => unreachable!("the tests are not the program"),
            Kind::Docker => Arc::new(Docker::open(&app.config, instance).await.unwrap()),
            Kind::Swarm => Arc::new(Swarm::open(&app.config, instance).await.unwrap()),
        }
    }

    fn docker_says(&self, words: &[&str]) -> String {
        docker(&self.host, words)
    }

    /// The place of the daemon, as it is told to who comes by TLS, with or without a key.
    pub async fn by_tls(&self, has_key: bool) -> anyhow::Result<String> {
        let (door, socket) = (setting("TE_TEST_DOCKER_TLS").unwrap(), self.host.strip_prefix("unix://").unwrap());
        let folder = PathBuf::from(socket).with_file_name("tls").display().to_string();
        let mut env = vec![("DOCKER_HOST", door), ("DOCKER_CERT_PATH", folder)];
        if has_key {
            env.push(("DOCKER_TLS_VERIFY", "1".into()));
        }
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let config = Config::read(&Flags::default(), env).unwrap();
        Ok(Docker::open(&config, store::Id::random()).await?.scope().to_owned())
    }

    /// Whether the tests' registry has an image.
    pub async fn registry_has(&self, name: &str, tag: &str) -> bool {
        let registry = setting("TE_TEST_REGISTRY").unwrap();
        let request = reqwest::Client::new().head(format!("http://{registry}/v2/{name}/manifests/{tag}"));
        let request = request.header("accept", "application/vnd.docker.distribution.manifest.v2+json");
        let password = setting("TE_TEST_REGISTRY_PASSWORD").unwrap();
        request.basic_auth("tests", Some(password)).send().await.unwrap().status().is_success()
    }

    /// Puts an image of the existing server into the registry.
    pub fn push_as_the_existing_server(&self, slug: &str) {
        let registry = setting("TE_TEST_REGISTRY").unwrap();
        let (name, recipe) = (format!("{registry}/{slug}"), format!("{ENVIRONMENT}/script.Dockerfile"));
        self.docker_says(&["build", "-q", "-t", &name, "-f", &recipe, ENVIRONMENT]);
        let password = setting("TE_TEST_REGISTRY_PASSWORD").unwrap();
        self.docker_says(&["login", "-u", "tests", "-p", &password, &registry]);
        self.docker_says(&["push", &name]);
        self.docker_says(&["rmi", "-f", &name]);
        self.docker_says(&["logout", &registry]);
    }

    /// The node that a service's task is on.
    pub fn node_of(&self, execution: &str) -> String {
        self.docker_says(&["service", "ps", "--format", "{{.Node}}", &format!("execution-{execution}")])
    }

    fn swarm_script(&self, verb: &str, node: &str) {
        let folder = self.host.strip_prefix("unix://").unwrap().strip_suffix("/n1/docker.sock").unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/docker/swarm");
        let number = node.strip_prefix("node").unwrap();
        assert!(Command::new(script).args([verb, folder, number]).status().unwrap().success());
    }

    /// Takes a node off the network.
    pub fn cut(&self, node: &str) {
        self.swarm_script("cut", node);
    }

    /// And back.
    pub fn mend(&self, node: &str) {
        self.swarm_script("mend", node);
    }

    /// Containers of a run on one node.
    pub fn containers_on(&self, node: &str, execution: &str) -> String {
        let host = self.host.replace("/n1/", &format!("/n{}/", node.strip_prefix("node").unwrap()));
        let filter = format!("name=execution-{execution}");
        let output = Command::new("docker").args(["-H", &host, "ps", "-aqf", &filter]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Takes the unit of a run away, so that it leaves no word.
    pub async fn destroy(&self, execution: &str) {
        match self.kind {
            Kind::Process => {
                let keeper = keeper_of(&self.server.unit(execution)).unwrap();
                nix::sys::signal::kill(keeper, nix::sys::signal::Signal::SIGKILL).unwrap();
            }
            Kind::Docker => drop(self.docker_says(&["rm", "-fv", &format!("execution-{execution}")])),
            Kind::Swarm => drop(self.docker_says(&["service", "rm", &format!("execution-{execution}")])),
        }
    }

    /// Waits until nothing of a run's unit lives.
    pub async fn unit_is_gone(&self, execution: &str) {
        match self.kind {
            Kind::Process => self.server.unit_is_gone(execution).await,
            Kind::Docker => {
                let filter = format!("name=execution-{execution}");
                until("its container is gone", async || self.docker_says(&["ps", "-aqf", &filter]).is_empty()).await;
            }
            Kind::Swarm => {
                let filter = format!("name=execution-{execution}");
                let words = ["service", "ls", "-qf", &filter];
                until("its service is gone", async || self.docker_says(&words).is_empty()).await;
            }
        }
    }

    /// Which unit a run has, by the name that another one would not have.
    pub async fn begun(&self, execution: &str) -> String {
        match self.kind {
            Kind::Process => String::new(),
            Kind::Docker => self.docker_says(&["ps", "-aqf", &format!("name=execution-{execution}")]),
            Kind::Swarm => self.docker_says(&["service", "ls", "-qf", &format!("name=execution-{execution}")]),
        }
    }

    /// The names of all images.
    pub fn images(&self) -> String {
        self.docker_says(&["images", "--format", "{{.Repository}}"])
    }

    /// How many images have no name.
    pub async fn nameless_images(&self) -> usize {
        match self.kind {
            Kind::Process => 0,
            Kind::Docker | Kind::Swarm => self.docker_says(&["images", "-qf", "dangling=true"]).lines().count(),
        }
    }

    /// Everything that the engine tells whoever may look at it.
    pub async fn inspect_all(&self) -> String {
        let instance = store::installation::id(&self.server.app.db).await.unwrap();
        let filter = format!("label=trends-earth.instance={instance}");
        let ids = match self.kind {
            Kind::Swarm => self.docker_says(&["service", "ls", "-qf", &filter]),
            _ => self.docker_says(&["ps", "-aqf", &filter]),
        };
        let ids: Vec<&str> = ids.lines().collect();
        assert!(!ids.is_empty(), "there are gates at least");
        self.docker_says(&[&["inspect"], ids.as_slice()].concat())
    }

    /// Where the server itself is found on this machine.
    pub fn own_addresses(&self) -> Vec<(String, u16)> {
        let port = self.server.base.rsplit(':').next().unwrap().parse().unwrap();
        trends_earth::net::own().into_iter().filter(|a| a.is_ipv4()).map(|a| (a.to_string(), port)).collect()
    }

    /// After the last run nothing of it is left in the engine.
    pub async fn leaves_nothing(&self) {
        if self.kind == Kind::Docker {
            let instance = store::installation::id(&self.server.app.db).await.unwrap();
            let filter = format!("label=trends-earth.instance={instance}");
            let filters = ["ps", "-aqf", &filter, "-f", "label=execution.id"];
            until("no container of a run is left", async || self.docker_says(&filters).is_empty()).await;
            assert_eq!(self.docker_says(&["volume", "ls", "-qf", &filter]), "", "no scratch folder is left");
        }
        if self.kind == Kind::Swarm {
            let filters = ["service", "ls", "-qf", "label=execution.id"];
            until("no service of a run is left", async || self.docker_says(&filters).is_empty()).await;
            let instance = store::installation::id(&self.server.app.db).await.unwrap();
            let filter = format!("label=trends-earth.instance={instance}");
            assert_eq!(self.docker_says(&["secret", "ls", "-qf", &filter]), "", "no secret is left");
        }
        let jobs = self.server.rows("job WHERE state IN ('waiting', 'running')").await;
        assert_eq!(jobs, 0, "no job is left");
        assert!(!token_is_logged(&self.server), "no credential stands in the log");
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if self.kind == Kind::Process {
            return;
        }
        // Gates and networks stay for the next start of a server; these tests have none.
        self.server.kill();
        if self.kind == Kind::Swarm {
            let services = self.docker_says(&["service", "ls", "-q"]);
            services.lines().for_each(|id| drop(self.docker_says(&["service", "rm", id])));
        }
        let containers = self.docker_says(&["ps", "-aqf", "label=trends-earth.instance"]);
        for id in containers.lines() {
            self.docker_says(&["rm", "-fv", id]);
        }
        let networks = self.docker_says(&["network", "ls", "-qf", "label=trends-earth.instance"]);
        for id in networks.lines() {
            self.docker_says(&["network", "rm", id]);
        }
    }
}

/// Whether the signing key stands in the server's log.
fn token_is_logged(server: &Server) -> bool {
    let secret = server.app.config.jwt_secret.as_ref().map(|secret| secret.expose_secret().to_owned());
    secret.is_some_and(|secret| server.log().contains(&secret))
}
