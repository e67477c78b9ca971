//! A run as a container: what it is told, what it may do, and how its end is read.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{
    ContainerCreateBody, ContainerState, ContainerStateStatusEnum, HostConfig, HostConfigLogConfig, Mount, MountType,
    MountVolumeOptions,
};
use bytes::Bytes;
use chrono::DateTime;
use secrecy::ExposeSecret;
use serde_json::json;

use super::{daemon::Daemon, image::Kind};
use crate::engine::{Exit, Limits, Run};

/// The bucket under which a run finds its own objects. Capital letters and underscores keep clients from making a host's name
/// of it.
pub const BUCKET: &str = "TE_objects";
/// The folder of parameters and results in it.
pub const PREFIX: &str = "params";
/// Where the objects of runs are found at the API.
pub const OBJECTS: &str = "/objects";

/// The account of our runner.
pub const NOBODY: u64 = 65_534;
/// Where it finds what is secret, in its folder.
const SECRET_FILE: &str = ".trends-earth";

/// Bytes of printed lines that the daemon keeps of one container.
const OUTPUT_BYTES: &str = "10m";

/// The environment of a run, as the existing server gives it, but for everything that is secret there
/// (contract/scripts-executions.md 5.3). What is secret is among it only for the existing Environment, which knows no other way:
/// whoever may look at the engine reads it there. A variable of ours comes before a secret of the script that has its name.
pub fn environment(run: &Run, api_url: &str, proxy: &str, kind: Kind) -> Vec<String> {
    let execution = run.execution.to_string();
    let user = format!("execution-{execution}");
    let mut env: Vec<(&str, &str)> = vec![
        ("EXECUTION_ID", &execution),
        ("ENV", "prod"),
        ("API_URL", api_url),
        ("API_USER", &user),
        ("API_ENVIRONMENT_USER", &user),
        ("PARAMS_S3_BUCKET", BUCKET),
        ("PARAMS_S3_PREFIX", PREFIX),
        ("TZ", "UTC"),
        ("LANG", "C.UTF-8"),
    ];
    let objects = format!("{api_url}{OBJECTS}");
    if kind == Kind::Environment {
        let password = run.credential.expose_secret();
        env.extend([
            ("API_PASSWORD", password),
            ("API_ENVIRONMENT_USER_PASSWORD", password),
            ("AWS_ACCESS_KEY_ID", &execution),
            ("AWS_SECRET_ACCESS_KEY", run.objects_secret.expose_secret()),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL_S3", &objects),
        ]);
    }
    if !run.uses_gee {
        env.push(("SKIP_GEE_INIT", "true"));
    }
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"] {
        env.push((name, proxy));
    }
    for name in ["NO_PROXY", "no_proxy"] {
        env.push((name, "127.0.0.1,localhost"));
    }
    let cores = run.limits.cpu_nanos.div_ceil(1_000_000_000).to_string();
    for name in ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"] {
        env.push((name, &cores));
    }
    if kind == Kind::Environment {
        let named = run.secrets.iter().filter(|(name, _)| !env.iter().any(|(taken, _)| taken == name));
        let named: Vec<_> = named.map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
        env.extend(named);
    }
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

/// What our own runner reads from a file: its password, and the secrets of its script.
pub fn secret(run: &Run) -> Vec<u8> {
    let variables: BTreeMap<_, _> = run.secrets.iter().map(|(name, value)| (name, value.expose_secret())).collect();
    json!({"password": run.credential.expose_secret(), "variables": variables}).to_string().into_bytes()
}

/// The same as a file for a container that is not started yet, which its runner alone may read.
pub fn secret_file(run: &Run) -> anyhow::Result<Bytes> {
    let mut tar = tar::Builder::new(Vec::new());
    let bytes = secret(run);
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o400);
    header.set_uid(NOBODY);
    header.set_gid(NOBODY);
    tar.append_data(&mut header, SECRET_FILE, bytes.as_slice())?;
    Ok(Bytes::from(tar.into_inner()?))
}

/// The container of a run on a network of ours.
pub fn container(
    daemon: &Daemon,
    run: &Run,
    image: &str,
    kind: Kind,
    env: Vec<String>,
    network: &str,
) -> ContainerCreateBody {
    let limits = &run.limits;
    let amount = |n: u64| Some(i64::try_from(n).unwrap_or(i64::MAX));
    let scratch = Mount {
        target: kind.folder(),
        typ: Some(MountType::VOLUME),
        volume_options: Some(MountVolumeOptions { labels: Some(daemon.mine()), ..MountVolumeOptions::default() }),
        ..Mount::default()
    };
    let host = HostConfig {
        network_mode: Some(network.to_owned()),
        nano_cpus: amount(limits.cpu_nanos),
        memory: amount(limits.memory_bytes),
        // The same as the memory: nothing is swapped out.
        memory_swap: amount(limits.memory_bytes),
        pids_limit: amount(limits.max_processes),
        cap_drop: Some(vec!["ALL".into()]),
        security_opt: Some(vec!["no-new-privileges".into()]),
        // The existing Environment writes beside its program; what it writes goes with the container.
        readonly_rootfs: Some(kind == Kind::Ours),
        tmpfs: Some([("/tmp".to_owned(), format!("rw,nosuid,nodev,size={}", limits.scratch_bytes))].into()),
        mounts: (kind == Kind::Ours).then(|| vec![scratch]),
        // Names of the outside are the gate's to look up.
        dns: Some(vec!["127.0.0.1".into()]),
        extra_hosts: Some(vec!["169.254.169.254:169.254.169.254".into()]),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), OUTPUT_BYTES.to_owned()),
                ("max-file".to_owned(), "2".to_owned()),
            ])),
        }),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(kind.command()),
        user: kind.user(),
        working_dir: kind.folder(),
        env: Some(env),
        labels: Some(daemon.labels(run.execution, run.script_id, limits.timeout_s)),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}

/// Seconds from a time as the daemon writes it until a moment, seconds since 1970.
pub fn since(from: Option<&str>, until: f64) -> Option<f64> {
    let from = DateTime::parse_from_rfc3339(from?).ok()?;
    // What has not begun yet carries the year 1.
    (from.timestamp() > 0).then(|| until - at(&from))
}

fn at(time: &DateTime<chrono::FixedOffset>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "seconds with three digits")]
    let seconds = time.timestamp_millis() as f64 / 1_000.0;
    seconds
}

/// How a container ended, `None` while it has not. `asked` if somebody wanted it to end.
pub fn exit(state: &ContainerState, timeout_s: Option<u64>, asked: bool) -> Option<Exit> {
    if !matches!(state.status, Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD)) {
        return None;
    }
    let finished = state.finished_at.as_deref().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    let lasted = finished.as_ref().and_then(|finished| since(state.started_at.as_deref(), at(finished)));
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let timed_out = timeout_s.zip(lasted).is_some_and(|(limit, lasted)| lasted >= limit as f64);
    let code = state.exit_code.and_then(|code| i32::try_from(code).ok());
    Some(Exit {
        code,
        signal: None,
        oom: state.oom_killed.unwrap_or(false) && code != Some(0),
        timed_out: timed_out && code != Some(0),
        stopped: asked && !timed_out,
        error: state.error.clone().filter(|error| !error.is_empty()),
        ended_at: finished.map(|time| time.naive_utc().to_string()).unwrap_or_default(),
        ..Exit::default()
    })
}

/// Whether the limits of a run let it out to public hosts.
pub fn may_go_out(limits: &Limits) -> bool {
    limits.network != crate::engine::Network::None
}
