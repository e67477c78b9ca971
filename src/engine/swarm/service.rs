//! A run as a service, in the words of the existing server where people and tools see it (contract/scripts-executions.md 5.2),
//! and what its task is seen to do.

use bollard::models::{
    EndpointSpec, EndpointSpecModeEnum, Limit, Mount, MountTmpfsOptions, MountType, MountVolumeOptions,
    NetworkAttachmentConfig, ResourceObject, ServiceSpec, ServiceSpecMode, ServiceSpecModeReplicated, Task, TaskSpec,
    TaskSpecContainerSpec, TaskSpecContainerSpecDnsConfig, TaskSpecContainerSpecFile, TaskSpecContainerSpecPrivileges,
    TaskSpecContainerSpecSecrets, TaskSpecResources, TaskSpecRestartPolicy, TaskSpecRestartPolicyConditionEnum,
    TaskState,
};
use chrono::DateTime;

use crate::{
    engine::{
        Exit, Run, Unit,
        docker::{
            daemon::Daemon,
            image::Kind,
            unit::{NOBODY, since},
        },
    },
    store::Id,
};

/// Nanoseconds that a task gets to end.
const STOP_GRACE: i64 = 10_000_000_000;
/// Under which name, below `/run/secrets`, our runner finds what is secret.
const SECRET: &str = "trends-earth";
/// How long a run may last, for whoever looks at its task alone.
const TIMEOUT: &str = "TE_TIMEOUT_S";

fn amount(n: u64) -> Option<i64> {
    Some(i64::try_from(n).unwrap_or(i64::MAX))
}

/// The service of a run.
pub fn spec(
    daemon: &Daemon,
    run: &Run,
    image: &str,
    kind: Kind,
    mut env: Vec<String>,
    network: &str,
    secret: Option<String>,
) -> ServiceSpec {
    let limits = &run.limits;
    env.push(format!("{TIMEOUT}={}", limits.timeout_s));
    let tmp = Mount {
        target: Some("/tmp".into()),
        typ: Some(MountType::TMPFS),
        tmpfs_options: Some(MountTmpfsOptions {
            size_bytes: amount(limits.scratch_bytes),
            mode: Some(0o1777),
            ..MountTmpfsOptions::default()
        }),
        ..Mount::default()
    };
    let scratch = kind.folder().map(|folder| Mount {
        target: Some(folder),
        typ: Some(MountType::VOLUME),
        volume_options: Some(MountVolumeOptions { labels: Some(daemon.mine()), ..MountVolumeOptions::default() }),
        ..Mount::default()
    });
    let name = Unit::Execution(run.execution).to_string();
    let secret = secret.map(|id| TaskSpecContainerSpecSecrets {
        secret_id: Some(id),
        secret_name: Some(name.clone()),
        file: Some(TaskSpecContainerSpecFile {
            name: Some(SECRET.into()),
            uid: Some(NOBODY.to_string()),
            gid: Some(NOBODY.to_string()),
            mode: Some(0o400),
        }),
    });
    let container = TaskSpecContainerSpec {
        image: Some(image.to_owned()),
        command: Some(kind.command()),
        env: Some(env),
        user: kind.user(),
        dir: kind.folder(),
        // The existing Environment writes beside its program; what it writes goes with the container.
        read_only: Some(kind == Kind::Ours),
        mounts: Some(std::iter::once(tmp).chain(scratch).collect()),
        stop_grace_period: Some(STOP_GRACE),
        hosts: Some(vec!["169.254.169.254 169.254.169.254".into()]),
        dns_config: Some(TaskSpecContainerSpecDnsConfig {
            nameservers: Some(vec!["127.0.0.1".into()]),
            ..TaskSpecContainerSpecDnsConfig::default()
        }),
        secrets: secret.map(|secret| vec![secret]),
        capability_drop: Some(vec!["ALL".into()]),
        privileges: Some(TaskSpecContainerSpecPrivileges {
            no_new_privileges: Some(true),
            ..TaskSpecContainerSpecPrivileges::default()
        }),
        ..TaskSpecContainerSpec::default()
    };
    ServiceSpec {
        name: Some(name),
        labels: Some(daemon.labels(run.execution, run.script_id, limits.timeout_s)),
        task_template: Some(TaskSpec {
            container_spec: Some(container),
            resources: Some(TaskSpecResources {
                limits: Some(Limit {
                    nano_cpus: amount(limits.cpu_nanos),
                    memory_bytes: amount(limits.memory_bytes),
                    pids: amount(limits.max_processes),
                }),
                reservations: Some(ResourceObject {
                    nano_cpus: amount(run.reservation.cpu_nanos),
                    memory_bytes: amount(run.reservation.memory_bytes),
                    generic_resources: None,
                }),
                ..TaskSpecResources::default()
            }),
            restart_policy: Some(never()),
            networks: Some(vec![attached(network, &[])]),
            ..TaskSpec::default()
        }),
        mode: Some(one()),
        endpoint_spec: Some(by_name()),
        ..ServiceSpec::default()
    }
}

/// One task.
pub fn one() -> ServiceSpecMode {
    ServiceSpecMode { replicated: Some(ServiceSpecModeReplicated { replicas: Some(1) }), ..ServiceSpecMode::default() }
}

/// Found by its tasks' own addresses: nothing here needs a virtual one.
pub fn by_name() -> EndpointSpec {
    EndpointSpec { mode: Some(EndpointSpecModeEnum::DNSRR), ports: None }
}

pub fn attached(network: &str, aliases: &[&str]) -> NetworkAttachmentConfig {
    let aliases: Vec<String> = aliases.iter().map(|alias| (*alias).to_owned()).collect();
    NetworkAttachmentConfig {
        target: Some(network.to_owned()),
        aliases: (!aliases.is_empty()).then_some(aliases),
        driver_opts: None,
    }
}

/// A task that has ended is never started again.
fn never() -> TaskSpecRestartPolicy {
    TaskSpecRestartPolicy {
        condition: Some(TaskSpecRestartPolicyConditionEnum::NONE),
        delay: Some(0),
        max_attempts: Some(0),
        window: Some(0),
    }
}

/// A task as it was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    pub state: TaskState,
    pub desired: Option<TaskState>,
    pub node: Option<String>,
    pub error: String,
    /// When it was made, as the cluster writes it.
    pub made: String,
    /// Since when it is in its state.
    since: String,
    code: Option<i32>,
    timeout_s: Option<u64>,
}

/// The task of a run, by the variables that its container gets: a task's own labels are not its service's.
pub fn seen(task: &Task) -> Option<(Id, Seen)> {
    let env = task.spec.as_ref()?.container_spec.as_ref()?.env.as_ref()?;
    let value = |name: &str| env.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    let execution = Id::parse(value("EXECUTION_ID")?)?;
    let status = task.status.clone().unwrap_or_default();
    let code = status.container_status.and_then(|container| container.exit_code);
    let seen = Seen {
        state: status.state?,
        desired: task.desired_state,
        node: task.node_id.clone().filter(|node| !node.is_empty()),
        error: status.err.or(status.message).unwrap_or_default(),
        made: task.created_at.clone().unwrap_or_default(),
        since: status.timestamp.unwrap_or_default(),
        code: code.and_then(|code| i32::try_from(code).ok()),
        timeout_s: value(TIMEOUT).and_then(|text| text.parse().ok()),
    };
    Some((execution, seen))
}

impl Seen {
    /// Nothing of it is at work any more.
    pub fn is_over(&self) -> bool {
        use TaskState::{COMPLETE, FAILED, ORPHANED, REJECTED, REMOVE, SHUTDOWN};
        matches!(self.state, COMPLETE | FAILED | ORPHANED | REJECTED | REMOVE | SHUTDOWN)
    }

    /// Whether it runs longer than it may, at a moment in seconds since 1970.
    pub fn is_late(&self, now: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let late = self.timeout_s.zip(since(Some(&self.since), now)).is_some_and(|(limit, age)| age >= limit as f64);
        late
    }

    /// How it ended by itself. Only the state tells that it did: an exit code stands there before. Out of memory is nothing but
    /// 137, which nobody else here makes: who is told to end is told by the removal of its service.
    pub fn exit(&self) -> Exit {
        let code = if self.state == TaskState::COMPLETE { Some(0) } else { self.code };
        let ended = DateTime::parse_from_rfc3339(&self.since).map(|time| time.naive_utc().to_string());
        let started = code.is_some_and(|code| code != 0);
        Exit {
            code: code.filter(|_| self.state == TaskState::COMPLETE || started),
            oom: code == Some(137),
            error: (self.state == TaskState::FAILED && !started)
                .then(|| format!("The run could not be started: {}", self.error)),
            ended_at: ended.unwrap_or_default(),
            ..Exit::default()
        }
    }
}
