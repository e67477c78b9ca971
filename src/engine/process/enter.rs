//! The first process inside a sandbox: it gives away every right, then runs the unit's command and waits for it.
//! Within namespaces it is their init: when it ends, so does every process of the unit.

use std::{
    fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpListener},
    os::{
        fd::{AsFd, RawFd},
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use caps::{CapSet, CapsHashSet};
use nix::{
    sys::{
        prctl,
        resource::{Resource, rlim_t, setrlimit},
        signal::Signal,
        stat::{Mode, umask},
        wait::{WaitStatus, waitpid},
    },
    unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid},
};
use tokio::{
    io::{AsyncReadExt, copy_bidirectional},
    time::{MissedTickBehavior, interval},
};

use super::{
    landlock, namespaces,
    plan::{PORT, Plan, Report, Rlimits},
    processes, sandbox, seccomp,
};

/// A plan with a long environment is a few kilobytes; nobody needs more.
const PLAN_BYTES: usize = 4 << 20;
const OPEN_FILES: rlim_t = 1024;
/// What the unit uses is told this often.
const SAMPLE: Duration = Duration::from_millis(100);
/// The exit code of a first process that could not start the command, as `env` and `sh` have it.
const CANNOT_START: u8 = 126;

/// The hidden command `trends-earth enter`.
pub fn enter() -> ExitCode {
    // Before anything else: a keeper that is gone already is seen at the end of the socket.
    die_with_parent();
    // As the init of a pid namespace it is one anyway.
    let _ = prctl::set_child_subreaper(true);
    close_others();
    let Ok(keeper) = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from) else {
        return ExitCode::from(CANNOT_START);
    };
    let started = read_plan(&keeper).and_then(|mut plan| {
        let gate = lock_in(&mut plan)?;
        let child = start(&plan)?;
        Ok((plan, gate, child))
    });
    match started {
        Ok((plan, gate, child)) => {
            tell(&keeper, &Report::Started);
            attend(plan, keeper, gate, &child)
        }
        Err(sentence) => {
            tell(&keeper, &Report::Failed(sentence));
            ExitCode::from(CANNOT_START)
        }
    }
}

/// As the init of a pid namespace we take all others with us. Without one we must live to end them ourselves,
/// when the socket tells that the keeper is gone.
fn die_with_parent() {
    if std::process::id() == 1 {
        let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    }
}

/// Closes every descriptor but the first three, whoever forgot them open.
pub fn close_others() {
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    for fd in open.into_iter().filter(|fd| *fd > 2) {
        // The folder that was just read is among them and is closed already.
        let _ = nix::unistd::close(fd);
    }
}

fn read_plan(mut keeper: &UnixStream) -> Result<Plan, String> {
    let mut line = Vec::new();
    let mut piece = [0; 4096];
    while !line.ends_with(b"\n") && line.len() < PLAN_BYTES {
        match keeper.read(&mut piece) {
            Ok(0) => return Err("The keeper is gone.".to_owned()),
            Ok(count) => line.extend_from_slice(&piece[..count]),
            Err(error) => return Err(format!("The keeper cannot be heard: {error}.")),
        }
    }
    serde_json::from_slice(&line).map_err(|error| format!("The keeper was not understood: {error}."))
}

/// Goes from a process with rights to one with none. The order matters: each step needs what a later one drops.
fn lock_in(plan: &mut Plan) -> Result<Option<TcpListener>, String> {
    if let Some(mounts) = &plan.mounts {
        namespaces::build_root(mounts)?;
    }
    if plan.loopback {
        namespaces::raise_loopback().map_err(|error| format!("The loopback device cannot be raised: {error}."))?;
    }
    let gate = match plan.gate {
        Some(_) => Some(listen(plan)?),
        None => None,
    };
    // If the machine runs out of memory, the kernel shall take a unit and not the server.
    let _ = fs::write("/proc/self/oom_score_adj", "500");
    if plan.nice {
        let _ = rustix::process::nice(10);
    }
    become_account(plan.uid).map_err(|error| format!("The account of the unit cannot be taken: {error}."))?;
    prctl::set_no_new_privs().map_err(|error| format!("New rights cannot be renounced: {error}."))?;
    // A change of account has cleared both.
    die_with_parent();
    let _ = prctl::set_dumpable(false);
    // What a build makes, others will read; the folders around it say who.
    umask(Mode::from_bits_truncate(0o022));
    limit(&plan.rlimits).map_err(|error| format!("The limits of a process cannot be set: {error}."))?;
    if let Some(fence) = &plan.landlock {
        let port = gate.as_ref().and_then(|gate| gate.local_addr().ok()).map(|address| address.port());
        let fenced = landlock::apply(fence, port).map_err(|error| format!("Landlock failed: {error}."))?;
        if fence.alone && !fenced {
            return Err("This kernel has no landlock.".to_owned());
        }
    }
    if plan.seccomp {
        seccomp::apply().map_err(|error| format!("The filter of system calls cannot be set: {error}."))?;
    }
    Ok(gate)
}

fn listen(plan: &mut Plan) -> Result<TcpListener, String> {
    let wanted = if plan.own_network { PORT } else { 0 };
    let open = || -> io::Result<(TcpListener, u16)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        Ok((listener, port))
    };
    let (listener, port) = open().map_err(|error| format!("The gate cannot be opened inside: {error}."))?;
    if port != PORT {
        sandbox::rename_gate(plan, port);
    }
    Ok(listener)
}

/// Becomes the unit's account and drops every capability; makes sure that none is left.
fn become_account(uid: Option<u32>) -> Result<(), Box<dyn std::error::Error>> {
    // Needs CAP_SETPCAP. Where we never had it, the bounding set says nothing more: no_new_privs stands.
    let _ = caps::clear(None, CapSet::Bounding);
    if let Some(uid) = uid {
        let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
        setgroups(&[])?;
        setresgid(group, group, group)?;
        setresuid(user, user, user)?;
    }
    caps::clear(None, CapSet::Ambient)?;
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        caps::set(None, set, &CapsHashSet::new())?;
    }
    let none = [CapSet::Effective, CapSet::Permitted]
        .iter()
        .all(|set| caps::read(None, *set).is_ok_and(|held| held.is_empty()));
    if none { Ok(()) } else { Err("capabilities are left".into()) }
}

fn limit(limits: &Rlimits) -> nix::Result<()> {
    let mut all = vec![
        // Where a program of the machine takes core files, the kernel asks it even at 0; at 1 it does not.
        (Resource::RLIMIT_CORE, 1),
        (Resource::RLIMIT_NOFILE, OPEN_FILES),
        (Resource::RLIMIT_CPU, limits.cpu_s),
        (Resource::RLIMIT_FSIZE, limits.file_bytes),
    ];
    all.extend(limits.processes.map(|processes| (Resource::RLIMIT_NPROC, processes)));
    all.extend(limits.address_bytes.map(|bytes| (Resource::RLIMIT_AS, bytes)));
    for (resource, value) in all {
        // Never more than what was left to us.
        let (_, hard) = nix::sys::resource::getrlimit(resource)?;
        setrlimit(resource, value.min(hard), value.min(hard))?;
    }
    Ok(())
}

fn start(plan: &Plan) -> Result<Child, String> {
    let Some((program, arguments)) = plan.argv.split_first() else {
        return Err("The unit has no command.".to_owned());
    };
    Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&plan.env)
        .current_dir(&plan.cwd)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("{program} cannot be started: {error}."))
}

fn tell(mut keeper: &UnixStream, report: &Report) {
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let _ = keeper.write_all(&line);
    }
}

/// Waits for the command, reaps everything else, and serves the gate meanwhile.
fn attend(plan: Plan, keeper: UnixStream, gate: Option<TcpListener>, child: &Child) -> ExitCode {
    let pid = Pid::from_raw(child.id().cast_signed());
    let words = keeper.try_clone();
    // Its own thread, because a blocking wait is the only one that misses no child.
    thread::spawn(move || serve(&plan, keeper, gate));
    let status = loop {
        let status = match waitpid(None, None) {
            Ok(WaitStatus::Exited(who, code)) if who == pid => ExitStatus::from_raw(code << 8),
            Ok(WaitStatus::Signaled(who, signal, _)) if who == pid => ExitStatus::from_raw(signal as i32),
            Ok(_) | Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => ExitStatus::from_raw(i32::from(CANNOT_START) << 8),
        };
        break status;
    };
    if let Ok(words) = words {
        tell(&words, &Report::Ended { code: status.code(), signal: status.signal() });
    }
    end_others();
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    ExitCode::from(u8::try_from(code).unwrap_or(CANNOT_START))
}

/// Ends what the command has left. The end of a pid namespace's init does that by itself.
fn end_others() {
    if std::process::id() != 1 {
        processes::end_all_below(Pid::this());
    }
}

/// The second thread: ends everything when the keeper is gone, tells what is used, forwards to the gate.
fn serve(plan: &Plan, keeper: UnixStream, gate: Option<TcpListener>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.and_then(|runtime| runtime.block_on(serve_all(plan, keeper, gate)));
    if let Err(error) = served {
        eprintln!("trends-earth: the first process of the unit cannot go on: {error}");
    }
    end_others();
    std::process::exit(i32::from(CANNOT_START));
}

async fn serve_all(plan: &Plan, keeper: UnixStream, gate: Option<TcpListener>) -> io::Result<()> {
    let words = keeper.try_clone()?;
    keeper.set_nonblocking(true)?;
    let mut keeper = tokio::net::UnixStream::from_std(keeper)?;
    let listener = gate.map(tokio::net::TcpListener::from_std).transpose()?;
    let socket = plan.gate.clone().unwrap_or_default();
    let mut connections = tokio::task::JoinSet::new();
    let mut tick = interval(SAMPLE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut byte = [0; 16];
    loop {
        tokio::select! {
            // The keeper says nothing more; only its end is heard.
            read = keeper.read(&mut byte) => if read? == 0 { return Ok(()) },
            _ = tick.tick(), if plan.sample => {
                let tmpfs = [Path::new("/tmp"), Path::new("/dev/shm")];
                tell(&words, &Report::Sample(processes::sample(&processes::all(), &tmpfs, plan.memory_bytes)));
            }
            Ok(stream) = accept(listener.as_ref()) => {
                let socket = socket.clone();
                connections.spawn(forward(stream, socket));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept(listener: Option<&tokio::net::TcpListener>) -> io::Result<tokio::net::TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

async fn forward(mut inside: tokio::net::TcpStream, socket: PathBuf) -> io::Result<()> {
    let mut outside = tokio::net::UnixStream::connect(socket).await?;
    copy_bidirectional(&mut inside, &mut outside).await?;
    Ok(())
}
