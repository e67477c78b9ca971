//! Every setting: read once, typed, documented. Flags come first, then the environment, then `<NAME>_FILE`, then the
//! default; what is empty counts as unset, and all errors are reported at once. Nothing else reads the environment.

pub mod containers;
pub mod engines;
pub mod google;
pub mod objects;
mod reader;

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf};

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use self::{
    containers::Containers,
    engines::{EngineSetting, Engines},
    google::Google,
    objects::S3,
    reader::Reader,
};
use crate::{
    auth::passwords::Form,
    limits::{Limits, Storage, address::Proxies},
};

/// What flags may say before the environment is asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// Folder for everything that is kept on this machine
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Where the server stands: `ENVIRONMENT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Environment {
    Dev,
    Test,
    Staging,
    Prod,
}

/// What may hold a script in: `TE_SANDBOX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SandboxSetting {
    /// The first of bubblewrap and our own namespaces that passes its probe.
    Auto,
    Bwrap,
    Namespaces,
    /// Landlock and seccomp alone: less than the promises; by the operator's word.
    Landlock,
    /// Nothing at all; by the operator's word.
    None,
}

/// What was installed, and where; `unknown` what nobody says.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct Deployment {
    pub branch: String,
    pub commit_sha: String,
    pub environment: String,
}

/// Every setting of the server.
#[derive(Debug, Clone)]
pub struct Config {
    /// `--listen`, else `0.0.0.0:PORT`: where the API listens. Default 127.0.0.1:3000.
    pub listen: SocketAddr,
    /// `--data-dir`, `TE_DATA_DIR`: folder for everything that is kept on this machine. Default `trends-earth-data`.
    pub data_dir: PathBuf,
    /// `DATABASE_URL`: `postgresql://…` or `sqlite://path`. Default: a SQLite file in the data folder.
    pub database_url: Option<SecretString>,
    /// `TE_DATABASE_CONNECTIONS`: connections of this process to PostgreSQL at most, beside the one that watches it. Default 16.
    pub database_connections: u32,
    /// `TE_CLOCK_SKEW_S`: for tests: seconds by which the machine's clock is taken to be ahead. Default 0.
    pub clock_skew_s: i64,
    /// `JWT_SECRET_KEY`, else `SECRET_KEY`: signs access tokens. Without one, outside prod and on SQLite, a random one is kept in the data folder.
    pub jwt_secret: Option<SecretString>,
    /// `ENVIRONMENT`: dev, test, staging or prod. Default dev.
    pub environment: Environment,
    /// `CORS_ORIGINS`: comma list of web addresses whose pages may call the API.
    pub cors_origins: Vec<String>,
    /// `TRUSTED_PROXY_COUNT`: proxies in a row before the server; 0, the default, believes nobody's `X-Forwarded-For`.
    /// `TE_TRUSTED_PROXIES`: networks that they stand in. Default: this machine and private networks.
    pub proxies: Proxies,
    /// `RATE_LIMITING_ENABLED`, `RATE_LIMIT_STORAGE_URI`, `DEFAULT_LIMITS`, `AUTH_LIMITS`, `PASSWORD_RESET_LIMITS`, `USER_CREATION_LIMITS`,
    /// `EXECUTION_RUN_LIMITS`, `TE_TRUSTED_CLIENTS`; and `INTERNAL_NETWORKS`, `EXECUTION_SUBNET`, `DOCKER_SUBNET`: networks without
    /// limits, only with `TE_TRUST_INTERNAL_NETWORKS=true`; otherwise `ignored` names them.
    pub limits: Limits,
    /// `REDIS_URL`, else `REDIS_PORT_6379_TCP_ADDR` and `REDIS_PORT_6379_TCP_PORT`: counters of all nodes, and ended tokens beside
    /// the existing server.
    pub redis_url: Option<SecretString>,
    /// Settings that are set and have no effect, a sentence each.
    pub ignored: Vec<String>,
    /// `API_ENVIRONMENT_USER`: e-mail of the account that containers of the existing server sign in with; lower case.
    pub environment_user: Option<String>,
    /// `TE_ENVIRONMENT_USER_SUPERADMIN`: the environment account counts as SUPERADMIN, as on the existing server. Default false.
    pub environment_user_superadmin: bool,
    /// `TE_COEXIST`: auto, on or off. Whether the existing server goes on beside this one and has to be able to read what this
    /// one writes. `None` is auto: yes if the database is one of the existing server.
    pub coexist: Option<bool>,
    /// `--rehearse`, `TE_REHEARSE`: this is a copy of a live database. The server answers and writes as ever, but starts, sends,
    /// calls and deletes nothing. Default false.
    pub rehearse: bool,
    /// `GEE_ENCRYPTION_KEY`, else outside prod `SECRET_KEY`: what people's credentials for Earth Engine and openEO are encrypted with.
    pub gee_secret: Option<SecretString>,
    /// What the server may ask of Google, and runs of Earth Engine.
    pub google: Google,
    /// `OPENEO_DEFAULT_BACKEND_URL`: the openEO service at which people's credentials are tried. Default: none.
    pub openeo_url: Option<String>,
    /// `TE_PASSWORD_HASH`: argon2id or scrypt. Default: scrypt beside the existing server, else argon2id.
    pub password_hash: Option<Form>,
    /// `API_PUBLIC_URL`: how this server is reached from outside, for links in mails. Default: where it listens.
    pub public_url: Option<String>,
    /// `API_UI_URL`: the web application, to which links in mails lead on. Default: none, and pages of our own.
    pub ui_url: Option<String>,
    /// `TE_SMTP_URL`: `smtps://user:password@host`, `smtp://host:25`: the mail server.
    pub smtp_url: Option<SecretString>,
    /// `SPARKPOST_API_KEY`: mail goes by SparkPost, if no mail server is set.
    pub sparkpost_key: Option<SecretString>,
    /// `TE_SPARKPOST_URL`: where SparkPost is found. Default https://api.sparkpost.com.
    pub sparkpost_url: String,
    /// `TE_MAIL_FROM`: who mails come from. Default `Trends.Earth <api@trends.earth>`.
    pub mail_from: String,
    /// `UNSUBSCRIBE_JWT_SECRET`: key of links to unsubscribe that the existing server mailed. Default: that of access tokens.
    pub unsubscribe_secret: Option<SecretString>,
    /// `UNSUBSCRIBE_TOKEN_EXPIRY_DAYS`: days that such links of ours work. Default 180.
    pub unsubscribe_days: i64,
    /// `OAUTH2_TOKEN_LIFETIME_SECONDS`: seconds that a service client's token lives. Default 1800.
    pub client_token_s: i64,
    /// `TE_ADMIN_EMAIL` and `TE_ADMIN_PASSWORD`: create the first SUPERADMIN of an empty installation.
    pub admin: Option<(String, SecretString)>,
    /// `TE_ENGINE`, `TE_ENGINE_FOR`: what runs scripts.
    pub engines: Engines,
    /// Settings of the engines that run scripts in containers.
    pub containers: Containers,
    /// `API_INTERNAL_URL`: how runs reach this server. Default: where it listens; in containers the machine of the daemon at
    /// that port.
    pub internal_url: Option<String>,
    /// `TE_SANDBOX`: auto, bwrap, namespaces, landlock or none. Default auto.
    pub sandbox: SandboxSetting,
    /// `TE_PYTHON`: the interpreter for scripts. Default: the first python3 (3.9 or newer) that answers.
    pub python: Option<PathBuf>,
    /// `TE_RUN_TIMEOUT_S`: seconds that a run may last if its script does not say. Default 259200 (three days).
    pub run_timeout_s: u64,
    /// `TE_RUN_TIMEOUT_MAX_S`: seconds that a script may ask for at most. Default 604800.
    pub run_timeout_max_s: u64,
    /// `TE_BUILD_TIMEOUT_S`: seconds that a build may last. Default 900.
    pub build_timeout_s: u64,
    /// `TE_LOG_MAX_BYTES`: bytes of log text kept of one run. Default 20,000,000.
    pub log_max_bytes: u64,
    /// `TE_MAX_RUNS`: runs at one time on this worker, and as many of a Swarm. See `max_runs`.
    most_runs: Option<usize>,
    /// `TE_MAX_BUILDS`: builds at one time on this worker. Default 1.
    pub max_builds: usize,
    /// `MAX_CONCURRENT_EXECUTIONS_PER_USER`: active runs of one user. Default 3.
    pub max_runs_per_user: i64,
    /// `TE_MAX_WAITING_PER_USER`: waiting runs of one user before submits are refused. Default 1,000.
    pub max_waiting_per_user: i64,
    /// `TE_RUN_UID_BASE`: first host account id for runs, when the server is root. Default 2,000,000.
    pub run_uid_base: u32,
    /// `TE_LEASE_S`: seconds after which a silent worker has lost its jobs. Default 30.
    pub lease_s: u64,
    /// `TE_HEARTBEAT_S`: seconds between two signs of life. Default 5.
    pub heartbeat_s: u64,
    /// `TE_NODE_LOST_S`: seconds after which a place without a worker is given up. Default 600.
    pub node_lost_s: u64,
    /// `TE_STATEMENT_TIMEOUT_S`: seconds that one SQL statement may take on PostgreSQL. Default 10.
    pub statement_timeout_s: u64,
    /// `TE_MIN_FREE_BYTES`: bytes of disk below which nothing new starts. Default 1 GiB.
    pub min_free_bytes: u64,
    /// `TE_SCRATCH_BYTES`: bytes of scratch space of one run. Default 2 GiB.
    pub scratch_bytes: u64,
    /// `TE_EGRESS_HOSTS`: comma list of the only hosts that runs may reach; unset = every public one.
    pub egress_hosts: Option<Vec<String>>,
    /// `MAX_DECOMPRESSED_REQUEST_SIZE`: bytes of an unpacked request body. Default 50 MiB.
    pub max_unpacked_bytes: usize,
    /// `TE_MAX_BODIES_BYTES`: bytes of all request bodies at one time, packed and unpacked. Default 512 MiB.
    pub max_bodies_bytes: usize,
    /// `TE_SILENCE_S`: seconds without a byte of a body, and seconds for the head of a request, after which it ends; however
    /// long it takes in all. Default 30.
    pub silence_s: u64,
    /// `GIT_BRANCH`, `GIT_COMMIT_SHA`, `DEPLOYMENT_ENVIRONMENT`: what `/api-health` tells of this installation.
    pub deployment: Deployment,
    /// `HEALTH_CHECK_TOKEN`: who sends it is told that in prod too.
    pub health_token: Option<SecretString>,
    /// `TE_KEEP_RUNS_S`: seconds that the folder of a run stays on its machine after the end. Default 86400.
    pub keep_runs_s: u64,
    /// `TE_CACHE_MAX_BYTES`: bytes of unpacked versions and built environments on this machine, above which what was used
    /// longest ago goes. Default 20 GiB.
    pub cache_max_bytes: u64,
    /// `TE_LOGS_DAYS`: days that the log of a run is kept after its end; 0, the default, is for ever.
    pub logs_days: u64,
    /// `TE_RESULTS_DAYS`: days that the results of a run are kept after its end; 0, the default, is for ever.
    pub results_days: u64,
    /// `TE_TOKEN_IN_URL`: the links of the two downloads may carry their token as `?token=`. Default false.
    pub token_in_url: bool,
    /// `TE_WEBHOOK_ALLOW_PRIVATE`: callers may have addresses of this machine and of private networks called, and without TLS.
    /// Default false.
    pub webhook_allow_private: bool,
    /// `SCRIPTS_S3_BUCKET`, `PARAMS_S3_BUCKET` and more: objects lie in S3. Default: in the data folder.
    pub s3: Option<S3>,
    /// `TE_OBJECTS_SHARED`: the folder `objects` of the data folder is on a disk that all nodes share. Default false.
    pub objects_shared: bool,
    /// `TE_GEOBOUNDARIES_URL`: where geoBoundaries is asked, such as https://www.geoboundaries.org/api/current. Default: nowhere,
    /// and boundaries are as they were imported.
    pub geoboundaries_url: Option<String>,
    /// `TE_BOUNDARIES_REFRESH_DAYS`: days between two such questions by the server itself; 0 is never. Default 7.
    pub boundaries_refresh_days: i64,
    /// What the machine's own package tools are told (`PIP_*`, `UV_*`, proxies, certificates) and what finds programs (`PATH`, `HOME`).
    pub machine: BTreeMap<String, String>,
}

/// Everything that is wrong with the settings, a line each.
#[derive(Debug)]
pub struct Errors(Vec<String>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("The settings are not right:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl std::error::Error for Errors {}

impl Config {
    /// Reads flags and the environment of this process.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn from_process(flags: &Flags) -> Result<Self, Errors> {
        let env =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
        Self::read(flags, env)
    }

    /// The folder in which the command line keeps who is signed in: `TE_CONFIG_DIR`, else `trends-earth` in the account's
    /// folder for configurations.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn client_dir() -> Option<PathBuf> {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let configurations = || path("XDG_CONFIG_HOME").or_else(|| Some(path("HOME")?.join(".config")));
        path("TE_CONFIG_DIR").or_else(|| Some(configurations()?.join("trends-earth")))
    }

    /// Reads flags and the given environment.
    pub fn read(flags: &Flags, env: BTreeMap<String, String>) -> Result<Self, Errors> {
        let mut r = Reader::new(env);
        let port = r.text("PORT");
        let listen = match (flags.listen, port) {
            (Some(listen), _) => listen,
            (None, Some(port)) => {
                let port = port.parse().unwrap_or_else(|_| {
                    r.errors.push(format!("PORT is {port:?}; it must be a number from 1 to 65535."));
                    3000
                });
                SocketAddr::from(([0, 0, 0, 0], port))
            }
            (None, None) => SocketAddr::from(([127, 0, 0, 1], 3000)),
        };
        let environment = r.choice(
            "ENVIRONMENT",
            Environment::Dev,
            &[
                ("dev", Environment::Dev),
                ("test", Environment::Test),
                ("staging", Environment::Staging),
                ("prod", Environment::Prod),
                ("production", Environment::Prod),
            ],
        );
        let jwt_secret = r.secret("JWT_SECRET_KEY");
        let secret_key = r.secret("SECRET_KEY");
        let admin_email = r.text("TE_ADMIN_EMAIL");
        let admin_password = r.secret("TE_ADMIN_PASSWORD");
        let admin = match (admin_email, admin_password) {
            (Some(email), Some(password)) => Some((email, password)),
            (None, None) => None,
            _ => {
                r.errors.push("TE_ADMIN_EMAIL and TE_ADMIN_PASSWORD must be set together.".into());
                None
            }
        };
        let engines = Engines::read(&mut r);
        let machine = r
            .env
            .iter()
            .filter(|(name, _)| {
                let upper = name.to_ascii_uppercase();
                matches!(
                    upper.as_str(),
                    "PATH"
                        | "HOME"
                        | "XDG_CONFIG_HOME"
                        | "REQUESTS_CA_BUNDLE"
                        | "CURL_CA_BUNDLE"
                        | "SSL_CERT_FILE"
                        | "SSL_CERT_DIR"
                ) || upper.starts_with("PIP_")
                    || upper.starts_with("UV_")
                    || upper.ends_with("_PROXY")
            })
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let gee_secret = r.gee_secret(secret_key.as_ref().filter(|_| environment != Environment::Prod));
        let (unlimited, ignored) = r.internal();
        let (trusted_networks, trusted_clients) = r.front_ends();
        let mut config = Config {
            listen,
            data_dir: flags
                .data_dir
                .clone()
                .or_else(|| r.text("TE_DATA_DIR").map(PathBuf::from))
                .unwrap_or_else(|| PathBuf::from("trends-earth-data")),
            database_url: r.secret("DATABASE_URL"),
            database_connections: r.number("TE_DATABASE_CONNECTIONS", 16, 4..=1_000),
            clock_skew_s: r.number("TE_CLOCK_SKEW_S", 0, -86_400..=86_400),
            jwt_secret: jwt_secret.or(secret_key),
            environment,
            cors_origins: r
                .list("CORS_ORIGINS")
                .unwrap_or_else(|| vec!["http://localhost:3000".into(), "http://localhost:8080".into()]),
            proxies: Proxies {
                count: r.number("TRUSTED_PROXY_COUNT", 0, 0..=16),
                trusted: r.networks("TE_TRUSTED_PROXIES").unwrap_or_else(near),
            },
            limits: Limits {
                enabled: r.switch("RATE_LIMITING_ENABLED", true),
                storage: r.storage(),
                default: r.limits("DEFAULT_LIMITS", "100 per minute, 1000 per hour"),
                auth: r.limits("AUTH_LIMITS", "60 per minute, 600 per hour"),
                password_reset: r.limits("PASSWORD_RESET_LIMITS", "1 per minute, 3 per hour"),
                user_creation: r.limits("USER_CREATION_LIMITS", "100 per hour"),
                execution_run: r.limits("EXECUTION_RUN_LIMITS", "10 per minute, 40 per hour"),
                unlimited,
                trusted_networks,
                trusted_clients,
            },
            redis_url: r.redis(),
            ignored,
            environment_user: r.text("API_ENVIRONMENT_USER").map(|email| email.to_lowercase()),
            environment_user_superadmin: r.switch("TE_ENVIRONMENT_USER_SUPERADMIN", false),
            coexist: r.choice("TE_COEXIST", None, &[("auto", None), ("on", Some(true)), ("off", Some(false))]),
            rehearse: false,
            gee_secret,
            google: Google::read(&mut r),
            openeo_url: r.url("OPENEO_DEFAULT_BACKEND_URL"),
            password_hash: r.choice(
                "TE_PASSWORD_HASH",
                None,
                &[("argon2id", Some(Form::Argon2id)), ("scrypt", Some(Form::Werkzeug))],
            ),
            public_url: r.url("API_PUBLIC_URL"),
            ui_url: r.url("API_UI_URL"),
            smtp_url: r.secret("TE_SMTP_URL"),
            sparkpost_key: r.secret("SPARKPOST_API_KEY"),
            sparkpost_url: r.url("TE_SPARKPOST_URL").unwrap_or_else(|| "https://api.sparkpost.com".into()),
            mail_from: r.text("TE_MAIL_FROM").unwrap_or_else(|| "Trends.Earth <api@trends.earth>".into()),
            unsubscribe_secret: r.secret("UNSUBSCRIBE_JWT_SECRET"),
            unsubscribe_days: r.number("UNSUBSCRIBE_TOKEN_EXPIRY_DAYS", 180, 1..=36_500),
            client_token_s: r.number("OAUTH2_TOKEN_LIFETIME_SECONDS", 1_800, 60..=86_400),
            admin,
            engines,
            containers: Containers::read(&mut r),
            internal_url: r.url("API_INTERNAL_URL"),
            sandbox: r.choice(
                "TE_SANDBOX",
                SandboxSetting::Auto,
                &[
                    ("auto", SandboxSetting::Auto),
                    ("bwrap", SandboxSetting::Bwrap),
                    ("namespaces", SandboxSetting::Namespaces),
                    ("landlock", SandboxSetting::Landlock),
                    ("none", SandboxSetting::None),
                ],
            ),
            python: r.text("TE_PYTHON").map(PathBuf::from),
            run_timeout_s: r.number("TE_RUN_TIMEOUT_S", 259_200, 1..=31_536_000),
            run_timeout_max_s: r.number("TE_RUN_TIMEOUT_MAX_S", 604_800, 1..=31_536_000),
            build_timeout_s: r.number("TE_BUILD_TIMEOUT_S", 900, 10..=86_400),
            log_max_bytes: r.number("TE_LOG_MAX_BYTES", 20_000_000, 10_000..=10_000_000_000),
            most_runs: Some(r.number("TE_MAX_RUNS", 0, 1..=100_000)).filter(|most| *most > 0),
            max_builds: r.number("TE_MAX_BUILDS", 1, 1..=1_000),
            max_runs_per_user: r.number("MAX_CONCURRENT_EXECUTIONS_PER_USER", 3, 1..=100_000),
            max_waiting_per_user: r.number("TE_MAX_WAITING_PER_USER", 1_000, 1..=10_000_000),
            run_uid_base: r.number("TE_RUN_UID_BASE", 2_000_000, 1_000..=4_000_000_000),
            lease_s: r.number("TE_LEASE_S", 30, 1..=3_600),
            heartbeat_s: r.number("TE_HEARTBEAT_S", 5, 1..=1_200),
            node_lost_s: r.number("TE_NODE_LOST_S", 600, 1..=864_000),
            statement_timeout_s: r.number("TE_STATEMENT_TIMEOUT_S", 10, 1..=3_600),
            min_free_bytes: r.number("TE_MIN_FREE_BYTES", 1 << 30, 0..=u64::MAX),
            scratch_bytes: r.number("TE_SCRATCH_BYTES", 2 << 30, 1 << 20..=u64::MAX),
            egress_hosts: r.list("TE_EGRESS_HOSTS"),
            max_unpacked_bytes: r.number("MAX_DECOMPRESSED_REQUEST_SIZE", 50 << 20, 1 << 10..=1 << 32),
            max_bodies_bytes: r.number("TE_MAX_BODIES_BYTES", 512 << 20, 1 << 16..=1 << 40),
            deployment: Deployment {
                branch: r.text("GIT_BRANCH").unwrap_or_else(unknown),
                commit_sha: r.text("GIT_COMMIT_SHA").unwrap_or_else(unknown),
                environment: r.text("DEPLOYMENT_ENVIRONMENT").unwrap_or_else(unknown),
            },
            health_token: r.secret("HEALTH_CHECK_TOKEN"),
            silence_s: r.number("TE_SILENCE_S", 30, 1..=3_600),
            keep_runs_s: r.number("TE_KEEP_RUNS_S", 86_400, 0..=315_360_000),
            cache_max_bytes: r.number("TE_CACHE_MAX_BYTES", 20 << 30, 0..=u64::MAX),
            logs_days: r.number("TE_LOGS_DAYS", 0, 0..=36_500),
            results_days: r.number("TE_RESULTS_DAYS", 0, 0..=36_500),
            token_in_url: r.switch("TE_TOKEN_IN_URL", false),
            webhook_allow_private: r.switch("TE_WEBHOOK_ALLOW_PRIVATE", false),
            s3: S3::read(&mut r),
            objects_shared: r.switch("TE_OBJECTS_SHARED", false),
            geoboundaries_url: r.url("TE_GEOBOUNDARIES_URL"),
            boundaries_refresh_days: r.number("TE_BOUNDARIES_REFRESH_DAYS", 7, 0..=3_650),
            machine,
        };
        if config.mail_from.parse::<lettre::message::Mailbox>().is_err() {
            r.errors.push(format!(
                "TE_MAIL_FROM is {:?}; it must be an address such as Trends.Earth <api@example.org>.",
                config.mail_from
            ));
        }
        let is_cluster = config.engines.has(EngineSetting::Swarm);
        if is_cluster && config.containers.registry.is_none() {
            r.errors.push(
                "With TE_ENGINE=swarm REGISTRY_URL must name the registry from which the nodes pull images.".into(),
            );
        }
        if is_cluster && config.internal_url.is_none() {
            r.errors.push("With TE_ENGINE=swarm API_INTERNAL_URL must say how the nodes reach this server.".into());
        }
        for origin in &config.cors_origins {
            let local = ["localhost", "127.0.0.1"].iter().any(|host| origin.contains(host));
            if local && config.environment == Environment::Prod {
                r.errors.push(format!("CORS_ORIGINS holds {origin:?}, which is refused with ENVIRONMENT=prod."));
            }
            if origin == "*" || origin.parse::<axum::http::HeaderValue>().is_err() {
                r.errors
                    .push(format!("CORS_ORIGINS holds {origin:?}; name each origin, such as https://app.example.org."));
            }
        }
        if config.cors_origins.is_empty() && config.environment == Environment::Prod {
            r.errors.push(
                "With ENVIRONMENT=prod CORS_ORIGINS must name a web address, such as https://app.example.org.".into(),
            );
        }
        if config.heartbeat_s * 3 > config.lease_s {
            r.errors.push(format!(
                "TE_HEARTBEAT_S is {} and TE_LEASE_S {}; a lease must last at least three heartbeats.",
                config.heartbeat_s, config.lease_s
            ));
        }
        if config.environment == Environment::Prod
            && matches!(config.sandbox, SandboxSetting::None | SandboxSetting::Landlock)
        {
            r.errors.push("TE_SANDBOX=none and TE_SANDBOX=landlock are refused with ENVIRONMENT=prod.".into());
        }
        let texts = [&config.jwt_secret, &config.gee_secret].map(|key| key.as_ref().map(ExposeSecret::expose_secret));
        if config.environment == Environment::Prod && texts[0].is_some() && texts[0] == texts[1] {
            r.errors.push("With ENVIRONMENT=prod GEE_ENCRYPTION_KEY must be another one than JWT_SECRET_KEY.".into());
        }
        let key_length = config.jwt_secret.as_ref().map_or(0, |key| key.expose_secret().len());
        if config.environment == Environment::Prod && key_length < 32 {
            r.errors.push("With ENVIRONMENT=prod JWT_SECRET_KEY must be set, to 32 characters or more.".into());
        }
        if r.switch("TE_REHEARSE", false) {
            config.rehearse();
        }
        // The command line's own, see `client_dir`.
        r.text("TE_CONFIG_DIR");
        r.report_unknown();
        if r.errors.is_empty() { Ok(config) } else { Err(Errors(r.errors)) }
    }

    /// Makes it a rehearsal. What nodes share by Redis may be the live system's: it is not even asked.
    pub fn rehearse(&mut self) {
        self.rehearse = true;
        self.redis_url = None;
        self.limits.storage = Storage::Here;
    }

    /// Runs at one time on an engine: twice the cores of a machine, and 200 of a cluster, if nothing else is said.
    pub fn max_runs(&self, kind: EngineSetting) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.most_runs.unwrap_or(if kind == EngineSetting::Swarm { 200 } else { 2 * cores })
    }

    /// How this server is reached from outside: the setting, else where it listens.
    pub fn public_url(&self) -> String {
        self.public_url.clone().unwrap_or_else(|| match self.listen.ip().is_unspecified() {
            true => format!("http://localhost:{}", self.listen.port()),
            false => format!("http://{}", self.listen),
        })
    }

    /// How runs in containers reach this server: the setting, else the machine of their daemon.
    pub fn internal_url(&self) -> String {
        self.internal_url.clone().unwrap_or_else(|| format!("http://host.docker.internal:{}", self.listen.port()))
    }

    /// How this machine reaches the server.
    pub fn near_url(&self) -> String {
        match self.listen.ip().is_unspecified() {
            true => format!("http://127.0.0.1:{}", self.listen.port()),
            false => format!("http://{}", self.listen),
        }
    }

    /// Whether the database is PostgreSQL.
    pub fn is_postgres(&self) -> bool {
        self.database_url.as_ref().is_some_and(|url| url.expose_secret().starts_with("postgres"))
    }
}

fn unknown() -> String {
    "unknown".into()
}

/// This machine and private networks.
fn near() -> Vec<IpNet> {
    let near = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"];
    near.iter().filter_map(|network| network.parse().ok()).collect()
}
