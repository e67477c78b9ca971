//! From a spec to the command that a keeper spawns: what a unit sees, and which of the four sandboxes holds it.
//! What happens inside before the unit's own command runs is `enter.rs`; the two meet in `plan.rs`.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::{Uid, getgid, getuid};

use super::{
    plan::{Fence, Mount, PORT, Plan, Rlimits},
    spec::{Bind, GATE, JOURNAL, OUT, PARAMS, Sandbox, Spec, WORK},
};
use crate::engine::Network;

/// Folder of the small files of `/etc` that are made for one unit.
const ETC: &str = "etc";
/// Where a unit finds its scratch folder.
pub const INSIDE_WORK: &str = "/work";
/// Where a unit leaves its result.
pub const INSIDE_OUT: &str = "/te/out";
/// Where a unit writes its words.
pub const INSIDE_JOURNAL: &str = "/te/journal.ndjson";
/// Where a unit finds its parameters.
pub const INSIDE_PARAMS: &str = "/te/params.json";
/// Where a unit finds the folder of the gate's socket.
pub const INSIDE_GATE: &str = "/run/te";
/// Where a unit finds this program.
pub const INSIDE_PROGRAM: &str = "/te/trends-earth";

/// Processes of ours that are counted with the unit's: bubblewrap, the first process, its second thread.
pub const OWN_PROCESSES: u64 = 8;
/// `/dev/shm` at most.
const SHM_BYTES: u64 = 256 << 20;
/// What a process may reserve beyond twice its memory, where no cgroup counts what it really uses: thread stacks,
/// arenas and libraries are reserved in large pieces and hardly touched.
const RESERVE_BYTES: u64 = 4 << 30;
/// Bytes of one file beyond the scratch space.
const SPARE_BYTES: u64 = 64 << 20;
/// CPU seconds of one process beyond wall time and cores, so that the wall time speaks first.
const SPARE_CPU_S: u64 = 10;

/// What of the host's `/etc` is seen, where it exists.
const SEEN_OF_ETC: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "pki/ca-trust/extracted",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
];

/// What a cgroup already counts and limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted {
    pub memory: bool,
    pub processes: bool,
    pub cpu: bool,
}

/// A command to spawn with a socket as standard input, and what to say on that socket.
pub struct Start {
    pub command: Command,
    pub plan: Plan,
}

/// Whether a sandbox has namespaces: its first process is the init of its own processes.
pub fn has_namespaces(sandbox: &Sandbox) -> bool {
    matches!(sandbox, Sandbox::Bwrap(_) | Sandbox::Namespaces)
}

/// Makes the command of a unit. `program` is this program.
pub fn prepare(spec: &Spec, folder: &Path, program: &Path, counted: Counted) -> io::Result<Start> {
    let namespaces = has_namespaces(&spec.sandbox);
    let full = spec.limits.network == Network::Full;
    let cores = spec.limits.cpu_nanos.div_ceil(1_000_000_000).max(1);
    let mut plan = Plan {
        argv: spec.argv.clone(),
        env: spec.env.clone(),
        cwd: spec.cwd.clone(),
        // Without a root of its own another account could not walk through the private folders to its files.
        uid: spec.uid.filter(|_| namespaces && getuid().is_root()),
        rlimits: Rlimits {
            processes: namespaces.then_some(spec.limits.max_processes + OWN_PROCESSES),
            cpu_s: spec.limits.timeout_s.saturating_mul(cores).saturating_add(SPARE_CPU_S),
            // A little more than all of the scratch space: who fills that is told so, and not of a limit that nobody named.
            file_bytes: spec.limits.max_file_bytes.min(spec.limits.scratch_bytes.saturating_add(SPARE_BYTES)),
            address_bytes: (!counted.memory)
                .then(|| spec.limits.memory_bytes.saturating_mul(2).saturating_add(RESERVE_BYTES)),
        },
        nice: !counted.cpu,
        mounts: None,
        loopback: false,
        gate: spec.gate.as_ref().map(|_| Path::new(INSIDE_GATE).join("egress.sock")),
        own_network: namespaces && !full,
        landlock: None,
        seccomp: spec.sandbox != Sandbox::None,
        sample: namespaces && !(counted.memory && counted.processes),
        memory_bytes: spec.limits.memory_bytes,
    };
    let command = match &spec.sandbox {
        Sandbox::Bwrap(bwrap) => {
            // Where the host's network is shared, landlock still closes abstract sockets and foreign signals.
            plan.landlock = full.then(|| fence_inside(spec));
            let mut command = Command::new(bwrap);
            command.args(bwrap_arguments(&layout(spec, folder, program)?, full));
            command.arg("--").arg(INSIDE_PROGRAM).arg("enter");
            command
        }
        Sandbox::Namespaces => {
            plan.mounts = Some(layout(spec, folder, program)?);
            plan.loopback = !full;
            plan.landlock = Some(fence_inside(spec));
            let mut command = Command::new(program);
            command.arg("enter-namespaces");
            command.args((!getuid().is_root()).then_some("--user"));
            command.args(full.then_some("--share-network"));
            command
        }
        Sandbox::Landlock | Sandbox::None => {
            let moves = moves(spec, folder)?;
            if spec.sandbox == Sandbox::Landlock {
                plan.landlock = Some(fence_outside(&moves, full));
            }
            translate(&mut plan, &moves);
            // Nobody else's `/tmp` is shared.
            let scratch = folder.join(WORK).join(".tmp");
            fs::create_dir_all(&scratch)?;
            plan.env.insert("TMPDIR".to_owned(), scratch.to_string_lossy().into_owned());
            let mut command = Command::new(program);
            command.arg("enter");
            command
        }
    };
    Ok(Start { command, plan })
}

/// What a unit sees, in the order in which it is made.
fn layout(spec: &Spec, folder: &Path, program: &Path) -> io::Result<Vec<Mount>> {
    let mut mounts = vec![read_only("/usr", "/usr")];
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        let path = Path::new("/").join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => {
                mounts.push(Mount::Link { to: fs::read_link(&path)?, target: path });
            }
            Ok(_) => mounts.push(read_only(&path, &path)),
            Err(_) => {}
        }
    }
    for name in SEEN_OF_ETC {
        let path = Path::new("/etc").join(name);
        if let Ok(source) = path.canonicalize() {
            mounts.push(Mount::Bind { source, target: path, writable: false });
        }
    }
    if spec.limits.network == Network::Full
        && let Ok(source) = Path::new("/etc/resolv.conf").canonicalize()
    {
        mounts.push(read_only(source, "/etc/resolv.conf"));
    }
    for name in make_etc(spec, folder)? {
        mounts.push(read_only(folder.join(ETC).join(name), Path::new("/etc").join(name)));
    }
    mounts.push(Mount::Proc { target: "/proc".into() });
    mounts.push(Mount::Dev { target: "/dev".into() });
    let held = spec.limits.scratch_bytes.min(spec.limits.memory_bytes);
    mounts.push(Mount::Tmpfs { target: "/dev/shm".into(), bytes: held.min(SHM_BYTES) });
    mounts.push(Mount::ReadOnly { target: "/dev".into() });
    mounts.push(Mount::Tmpfs { target: "/tmp".into(), bytes: held });
    for bind in own_binds(spec, folder) {
        mounts.push(Mount::Bind { source: found(&bind.source)?, target: bind.target, writable: bind.writable });
    }
    mounts.push(read_only(found(program)?, INSIDE_PROGRAM));
    // The root itself is memory, too, and a unit without an account of its own owns it.
    mounts.push(Mount::ReadOnly { target: "/".into() });
    Ok(mounts)
}

/// The spec's binds and the unit's own files.
fn own_binds(spec: &Spec, folder: &Path) -> Vec<Bind> {
    let mut binds = spec.binds.clone();
    let mut own = |name: &str, target: &str, writable| {
        binds.push(Bind { source: folder.join(name), target: target.into(), writable });
    };
    own(WORK, INSIDE_WORK, true);
    own(OUT, INSIDE_OUT, true);
    own(JOURNAL, INSIDE_JOURNAL, true);
    if folder.join(PARAMS).exists() {
        own(PARAMS, INSIDE_PARAMS, false);
    }
    if spec.gate.is_some() {
        own(GATE, INSIDE_GATE, false);
    }
    binds
}

fn read_only(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Mount {
    Mount::Bind { source: source.into(), target: target.into(), writable: false }
}

fn found(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize().map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// The account files of a unit: nobody but itself is named.
fn make_etc(spec: &Spec, folder: &Path) -> io::Result<[&'static str; 4]> {
    let uid = spec.uid.unwrap_or(getuid().as_raw());
    let gid = spec.uid.unwrap_or(getgid().as_raw());
    let files = [
        ("passwd", format!("root:x:0:0:root:/:/bin/false\nscript:x:{uid}:{gid}:script:{INSIDE_WORK}:/bin/sh\n")),
        ("group", format!("root:x:0:\nscript:x:{gid}:\n")),
        ("hosts", "127.0.0.1 localhost\n::1 localhost\n".to_owned()),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
    ];
    let etc = folder.join(ETC);
    fs::create_dir_all(&etc)?;
    for (name, text) in &files {
        let path = etc.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))?;
    }
    Ok(files.map(|(name, _)| name))
}

fn bwrap_arguments(mounts: &[Mount], share_network: bool) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    let mut say = |line: &[&dyn AsRef<OsStr>]| {
        words.extend(line.iter().map(|word| word.as_ref().to_owned()));
    };
    say(&[
        &"--unshare-pid",
        &"--unshare-ipc",
        &"--unshare-uts",
        &"--unshare-cgroup-try",
        &"--hostname",
        &"trends-earth",
    ]);
    if !share_network {
        say(&[&"--unshare-net"]);
    }
    say(&[&"--new-session", &"--die-with-parent", &"--as-pid-1", &"--clearenv", &"--cap-drop", &"ALL"]);
    if getuid().is_root() {
        // What the first process needs to become the unit's account; it drops all of them.
        say(&[&"--cap-add", &"CAP_SETUID", &"--cap-add", &"CAP_SETGID", &"--cap-add", &"CAP_SETPCAP"]);
    } else {
        say(&[&"--unshare-user", &"--disable-userns"]);
    }
    let mut made = HashSet::from([Path::new("/")]);
    for mount in mounts {
        // Left to itself, bubblewrap makes these for its own account only.
        let above: Vec<&Path> = mount.target().ancestors().skip(1).filter(|folder| made.insert(folder)).collect();
        for folder in above.into_iter().rev() {
            say(&[&"--perms", &"0755", &"--dir", &folder]);
        }
        made.insert(mount.target());
        match mount {
            Mount::Bind { source, target, writable: true } => say(&[&"--bind", source, target]),
            Mount::Bind { source, target, writable: false } => say(&[&"--ro-bind", source, target]),
            Mount::Link { target, to } => say(&[&"--symlink", to, target]),
            Mount::Proc { target } => say(&[&"--proc", target]),
            Mount::Dev { target } => say(&[&"--dev", target]),
            Mount::Tmpfs { target, bytes } => {
                say(&[&"--perms", &"1777", &"--size", &bytes.max(&1).to_string(), &"--tmpfs", target]);
            }
            Mount::ReadOnly { target } => say(&[&"--remount-ro", target]),
        }
    }
    say(&[&"--chdir", &"/"]);
    words
}

/// The fence within namespaces: what can be seen may be read, what is the unit's own may be written.
fn fence_inside(spec: &Spec) -> Fence {
    let mut write: Vec<PathBuf> =
        ["/tmp", "/dev", "/proc", INSIDE_WORK, INSIDE_OUT, INSIDE_JOURNAL].map(PathBuf::from).into();
    write.extend(spec.binds.iter().filter(|bind| bind.writable).map(|bind| bind.target.clone()));
    Fence { read: vec!["/".into()], write, tcp: false, alone: false }
}

/// The fence without namespaces. `/proc` shows the names and arguments of other processes; what is private in it
/// (environment, memory, open files) landlock keeps from processes outside the fence.
fn fence_outside(moves: &[Move], full: bool) -> Fence {
    let mut read: Vec<PathBuf> =
        ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"].map(PathBuf::from).into();
    read.extend(SEEN_OF_ETC.iter().map(|name| Path::new("/etc").join(name)));
    read.extend(["/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf"].map(PathBuf::from));
    // Which system this is: installers ask, and an answer that is there but refused ends them.
    read.extend(["/etc/os-release", "/etc/lsb-release", "/etc/debian_version", "/etc/mime.types"].map(PathBuf::from));
    if full {
        read.push("/etc/resolv.conf".into());
    }
    read.extend(["/proc", "/dev/zero", "/dev/random", "/dev/urandom"].map(PathBuf::from));
    let mut write = vec![PathBuf::from("/dev/null")];
    for made in moves {
        if made.writable { write.push(made.to.clone()) } else { read.push(made.to.clone()) }
    }
    Fence { read, write, tcp: !full, alone: true }
}

/// A path inside and what it is outside, for the sandboxes that cannot move it.
struct Move {
    from: String,
    to: PathBuf,
    writable: bool,
}

fn moves(spec: &Spec, folder: &Path) -> io::Result<Vec<Move>> {
    let mut moves = Vec::new();
    for bind in own_binds(spec, folder) {
        let from = bind.target.to_string_lossy().into_owned();
        moves.push(Move { from, to: found(&bind.source)?, writable: bind.writable });
    }
    // `/te/out/x` is below `/te/out` and not below `/te`.
    moves.sort_by_key(|made| std::cmp::Reverse(made.from.len()));
    Ok(moves)
}

/// Writes the paths outside wherever a path inside stands in command, environment or working folder.
fn translate(plan: &mut Plan, moves: &[Move]) {
    for word in plan.argv.iter_mut().chain(plan.env.values_mut()) {
        *word = moved(word, moves);
    }
    plan.cwd = moved(&plan.cwd.to_string_lossy(), moves).into();
    plan.gate = plan.gate.take().map(|gate| moved(&gate.to_string_lossy(), moves).into());
}

fn moved(text: &str, moves: &[Move]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut at_start = true;
    while let Some(character) = rest.chars().next() {
        let hit = moves.iter().find(|made| {
            at_start
                && rest
                    .strip_prefix(made.from.as_str())
                    .is_some_and(|after| after.is_empty() || after.starts_with(['/', ':', ',', ';']))
        });
        if let Some(made) = hit {
            out.push_str(&made.to.to_string_lossy());
            rest = &rest[made.from.len()..];
            at_start = false;
        } else {
            out.push(character);
            rest = &rest[character.len_utf8()..];
            at_start = matches!(character, ':' | '=' | ',' | ';');
        }
    }
    out
}

/// Gives what a unit writes to its account, and lets that account look into what it reads.
pub fn hand_over(spec: &Spec, folder: &Path) -> io::Result<()> {
    let etc = folder.join(ETC);
    fs::create_dir_all(&etc)?;
    let account = spec.uid.filter(|_| getuid().is_root() && has_namespaces(&spec.sandbox));
    let Some(uid) = account.map(Uid::from_raw) else { return Ok(()) };
    let own = [WORK, OUT, JOURNAL, PARAMS].map(|name| folder.join(name));
    let bound = spec.binds.iter().filter(|bind| bind.writable).map(|bind| bind.source.clone());
    for path in own.into_iter().chain(bound) {
        if path.exists() {
            std::os::unix::fs::lchown(&path, Some(uid.as_raw()), Some(uid.as_raw()))?;
        }
    }
    Ok(())
}

/// The proxy's address in the environment, for a gate at another port than the usual one.
pub fn rename_gate(plan: &mut Plan, port: u16) {
    for value in plan.env.values_mut() {
        *value = value.replace(&format!("127.0.0.1:{PORT}"), &format!("127.0.0.1:{port}"));
    }
}
