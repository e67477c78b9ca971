//! Whether a sandbox keeps its promises on this machine: it is started for real, and a program inside tries them all.
//! What `auto` takes is decided here; what is not kept is said by name.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io,
    net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
    os::{
        fd::AsRawFd,
        linux::net::SocketAddrExt,
        unix::{
            fs::DirBuilderExt,
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use nix::unistd::geteuid;

use super::{
    cgroup, keeper, landlock,
    plan::PORT,
    sandbox::{INSIDE_OUT, INSIDE_WORK},
    spec::{Bind, EXIT, Gate, Output, RESULT, SPEC, STDOUT, STOP, Sandbox, Spec},
};
use crate::engine::{Exit, Limits, Network};

/// The program that tries.
const PROGRAM: &str = include_str!("probe.py");
const PROCESSES: u64 = 24;
const MEMORY_BYTES: u64 = 64 << 20;
/// A probe takes a tenth of a second; a machine under load takes longer.
const PATIENCE: Duration = Duration::from_secs(40);
/// Where bubblewrap is looked for.
const BWRAP: &[&str] = &["/usr/bin/bwrap", "/usr/local/bin/bwrap", "/bin/bwrap"];

/// What the probe needs of its caller.
#[derive(Debug, Clone)]
pub struct Place {
    /// This program.
    pub program: PathBuf,
    /// A private folder in which folders of units can be made.
    pub folder: PathBuf,
    /// The interpreter, as its path is inside.
    pub python: PathBuf,
    /// What must be bound for it, if it is not below `/usr`.
    pub binds: Vec<Bind>,
    /// The account of the units, if the server is root.
    pub uid: Option<u32>,
}

/// One promise, tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    /// Which promise: `P1` files, `P2` network, `P3` other processes.
    pub promise: &'static str,
    /// Whether it is kept.
    pub ok: bool,
    /// What the attempt met.
    pub detail: String,
}

/// What the operator wants: `TE_SANDBOX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    Auto,
    Bwrap,
    Namespaces,
    Landlock,
    None,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "bwrap" => Ok(Self::Bwrap),
            "namespaces" => Ok(Self::Namespaces),
            "landlock" => Ok(Self::Landlock),
            "none" => Ok(Self::None),
            _ => Err(format!("'{text}' is not one of auto, bwrap, namespaces, landlock, none")),
        }
    }
}

/// The sandbox that is taken, and what it keeps.
#[derive(Debug, Clone)]
pub struct Choice {
    pub sandbox: Sandbox,
    pub checks: Vec<Check>,
}

/// Takes the first sandbox that keeps every promise; what has fewer only by the operator's word.
/// A sentence says what failed and what can be done.
pub async fn choose(setting: Setting, place: &Place) -> Result<Choice, String> {
    let bwrap = BWRAP.iter().map(PathBuf::from).find(|path| path.exists()).map(Sandbox::Bwrap);
    let candidates = match setting {
        Setting::Landlock | Setting::None => {
            let sandbox = if setting == Setting::Landlock { Sandbox::Landlock } else { Sandbox::None };
            let checks = probe(&sandbox, place).await;
            return Ok(Choice { sandbox, checks });
        }
        Setting::Bwrap => bwrap.into_iter().collect(),
        Setting::Namespaces => vec![Sandbox::Namespaces],
        Setting::Auto => bwrap.into_iter().chain([Sandbox::Namespaces]).collect::<Vec<_>>(),
    };
    let mut failures = Vec::new();
    if !candidates.iter().any(|sandbox| matches!(sandbox, Sandbox::Bwrap(_))) && setting != Setting::Namespaces {
        failures.push("bubblewrap is not installed".to_owned());
    }
    for sandbox in candidates {
        let checks = probe(&sandbox, place).await;
        let broken: Vec<String> = checks
            .iter()
            .filter(|check| !check.ok)
            .map(|check| format!("{} ({}): {}", check.name, check.promise, check.detail))
            .collect();
        if broken.is_empty() {
            return Ok(Choice { sandbox, checks });
        }
        failures.push(format!("{} does not keep {}", title(&sandbox), broken.join(", ")));
    }
    Err(format!(
        "No sandbox for scripts works here: {}. Install bubblewrap 0.8 or newer, allow unprivileged user namespaces \
         (on Ubuntu an AppArmor profile for this program, in a container seccomp=unconfined), or say \
         TE_SANDBOX=landlock or TE_SANDBOX=none to run scripts that you trust with less.",
        failures.join("; ")
    ))
}

/// A sandbox's name for people.
pub fn title(sandbox: &Sandbox) -> &'static str {
    match sandbox {
        Sandbox::Bwrap(_) => "bubblewrap",
        Sandbox::Namespaces => "our own namespaces",
        Sandbox::Landlock => "landlock alone",
        Sandbox::None => "no sandbox",
    }
}

/// Starts a sandbox and tries every promise. What could not be tried counts as not kept.
pub async fn probe(sandbox: &Sandbox, place: &Place) -> Vec<Check> {
    let own = place.folder.join(format!("probe-{}", uuid::Uuid::new_v4()));
    let checks = match try_all(sandbox, place, &own).await {
        Ok(checks) => checks,
        Err(sentence) => vec![check("start", "P1", false, sentence)],
    };
    let _ = fs::remove_dir_all(&own);
    checks
}

async fn try_all(sandbox: &Sandbox, place: &Place, own: &Path) -> Result<Vec<Check>, String> {
    let text = |error: io::Error| format!("the probe cannot be prepared: {error}");
    make(own).map_err(text)?;
    let key = own.join("key");
    fs::write(&key, "secret").map_err(text)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
    let port = listener.local_addr().map_err(text)?.port();
    let name = format!("trends-earth-{}", uuid::Uuid::new_v4());
    let _abstract =
        SocketAddr::from_abstract_name(&name).and_then(|address| UnixListener::bind_addr(&address)).map_err(text)?;
    let path = own.join("socket");
    // By way of the open folder: an address holds 108 bytes, and a data folder may be further down.
    let opened = File::open(own).map_err(text)?;
    let short = Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string()).join("socket");
    let _path = UnixListener::bind(short).map_err(text)?;
    let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(text)?;
    datagrams.set_nonblocking(true).map_err(text)?;
    let udp = datagrams.local_addr().map_err(text)?.port();
    // A machine may have no IPv6; then there is nothing to reach.
    let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).ok();
    let v6_port = v6.as_ref().and_then(|listener| listener.local_addr().ok()).map_or(port, |address| address.port());
    let given = serde_json::json!({
        "key": key,
        "port": port,
        "abstract": name,
        "path": path,
        "udp": udp,
        "port6": v6_port,
        "pid": std::process::id(),
        "program": fs::read_to_string("/proc/self/cmdline").unwrap_or_default().split('\0').next(),
        "processes": PROCESSES,
        "memory": MEMORY_BYTES,
    });
    let folder = own.join("all");
    let exit = run(sandbox, place, &folder, "all", &given.to_string(), MEMORY_BYTES * 4).await?;
    let result = fs::read(folder.join(RESULT)).ok();
    let Some(tried) =
        result.and_then(|result| serde_json::from_slice::<BTreeMap<String, (bool, String)>>(&result).ok())
    else {
        return Err(exit.error.clone().unwrap_or_else(|| last_words(&folder, &exit)));
    };
    let promises = [
        ("key file", "P1"),
        ("write /usr", "P1"),
        ("loopback", "P2"),
        ("metadata address", "P2"),
        ("abstract socket", "P2"),
        ("path socket", "P2"),
        ("ipv6", "P2"),
        ("netlink", "P2"),
        ("gate", "P2"),
        ("user namespace", "P3"),
        ("signal the server", "P3"),
        ("limits of the watcher", "P3"),
        ("fork", "P3"),
    ];
    let mut checks: Vec<Check> = promises
        .into_iter()
        .map(|(name, promise)| {
            let (ok, detail) = tried.get(name).cloned().unwrap_or((false, "not tried".to_owned()));
            check(name, promise, ok, detail)
        })
        .collect();
    let heard = datagrams.recv(&mut [0; 16]).is_ok();
    checks.push(check("udp", "P2", !heard, if heard { "it arrived" } else { "nothing arrived" }.to_owned()));
    let folder = own.join("disk");
    let exit = run(sandbox, place, &folder, "disk", &given.to_string(), MEMORY_BYTES * 4).await?;
    let said = exit.error.clone().unwrap_or_else(|| last_words(&folder, &exit));
    checks.push(check("disk", "P3", said.starts_with("The scratch folder holds more than"), said));
    let folder = own.join("memory");
    let exit = run(sandbox, place, &folder, "memory", &given.to_string(), MEMORY_BYTES).await?;
    let detail = if exit.oom {
        format!("ended at {} bytes", exit.peak_memory_bytes)
    } else {
        exit.error.clone().unwrap_or_else(|| last_words(&folder, &exit))
    };
    checks.push(check("memory", "P3", exit.oom, detail));
    Ok(checks)
}

fn check(name: &str, promise: &'static str, ok: bool, detail: String) -> Check {
    Check { name: name.to_owned(), promise, ok, detail }
}

/// Runs one unit through a real keeper.
async fn run(
    sandbox: &Sandbox,
    place: &Place,
    folder: &Path,
    part: &str,
    given: &str,
    memory: u64,
) -> Result<Exit, String> {
    make(folder).map_err(|error| format!("the probe cannot be prepared: {error}"))?;
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let spec = Spec {
        name: format!("probe-{part}-{}", uuid::Uuid::new_v4()),
        sandbox: sandbox.clone(),
        uid: place.uid,
        argv: [vec![place.python.to_string_lossy().into_owned()], words(&["-I", "-S", "-c", PROGRAM, part])].concat(),
        env: [
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("HOME", INSIDE_WORK),
            ("HTTPS_PROXY", &format!("http://127.0.0.1:{PORT}")),
            ("PROBE", given),
            ("PROBE_RESULT", &format!("{INSIDE_OUT}/{RESULT}")),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into(),
        binds: place.binds.clone(),
        cwd: INSIDE_WORK.into(),
        limits: Limits {
            cpu_nanos: 1_000_000_000,
            memory_bytes: memory,
            timeout_s: PATIENCE.as_secs() / 2,
            max_processes: PROCESSES,
            max_file_bytes: 1 << 20,
            scratch_bytes: 16 << 20,
            network: Network::Https,
        },
        gate: Some(Gate { ports: vec![443], ..Gate::default() }),
        output: Output::File,
        journal_bytes: 1 << 20,
        output_bytes: 1 << 16,
        floor_bytes: 0,
    };
    let (program, inside) = (place.program.clone(), folder.to_owned());
    let waiting = tokio::task::spawn_blocking(move || -> io::Result<()> {
        fs::write(inside.join(SPEC), serde_json::to_vec(&spec)?)?;
        keeper::start(&program, &inside)?.wait().map(drop)
    });
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => return Err(format!("the keeper cannot be started: {error}")),
        Ok(Err(error)) => return Err(format!("the keeper cannot be waited for: {error}")),
        Err(_) => {
            let _ = fs::write(folder.join(STOP), "");
            return Err("the keeper does not end".to_owned());
        }
    }
    let exit = fs::read(folder.join(EXIT)).map_err(|error| format!("the keeper left no word: {error}"))?;
    serde_json::from_slice(&exit).map_err(|error| format!("the keeper is not understood: {error}"))
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)
}

fn last_words(folder: &Path, exit: &Exit) -> String {
    let printed = fs::read(folder.join(STDOUT)).unwrap_or_default();
    let printed = String::from_utf8_lossy(&printed);
    let last = printed.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("nothing was printed");
    format!("it ended with {:?}: {last}", exit.code.or(exit.signal))
}

/// What holds a unit on this machine beside the sandbox itself, a line each; and what does not.
pub fn in_force() -> Vec<String> {
    let mut lines = vec![
        cgroup::describe().unwrap_or_else(|| {
            "no cgroup can be made: memory and processes are watched ten times a second, the processor is shared by nice; \
             a script that means harm can hide memory from such a watch, in buffers of sockets: P3 is not whole".into()
        }),
        if geteuid().is_root() {
            "each unit has a host account of its own, without capabilities".to_owned()
        } else {
            "every unit has this server's account, in a user namespace of its own".to_owned()
        },
    ];
    lines.push(match landlock::version() {
        0 => "this kernel has no landlock".to_owned(),
        1..=3 => "landlock guards files; this kernel's does not know TCP, signals and abstract sockets".to_owned(),
        4..=5 => "landlock guards files and TCP; this kernel's does not know signals and abstract sockets".to_owned(),
        version => format!("landlock (version {version} or newer) guards files, TCP, signals and abstract sockets"),
    });
    lines.push(match fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) if actions.contains("errno") => "seccomp refuses system calls that no script needs".to_owned(),
        _ => "this kernel has no seccomp filter: no sandbox but `none` will start".to_owned(),
    });
    lines
}
