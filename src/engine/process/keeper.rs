//! The keeper of one unit, the hidden command `trends-earth keep <folder>`: starts the sandbox, owns its output,
//! enforces its limits, ends all of it, and writes `exit.json` as its last act. It needs no server and no database.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    rc::Rc,
    time::{Duration, SystemTime},
};

use nix::{
    libc,
    sys::{
        prctl,
        resource::{UsageWho, getrusage},
        signal::{Signal, kill},
        stat::{Mode, umask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, dup2_stdin, geteuid, setsid},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines as TokioLines},
    net::unix::{OwnedReadHalf, OwnedWriteHalf, pipe},
    signal::unix::{SignalKind, signal},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    cgroup::Cgroup,
    enter::close_others,
    environment::remove_tree,
    gate::{Gate, SOCKET},
    journal::Journal,
    output::{HeadAndTail, Lines, Sink},
    plan::Report,
    processes,
    sandbox::{self, Counted, Start},
    spec::{EXIT, GATE, JOURNAL, LOCK, OUT, Output, RESULT, SECRETS, SPEC, STDOUT, Spec, WORK},
    watch::{Cause, TICK, Watch},
};
use crate::engine::{Exit, grouped};

/// Bytes of a result document.
const RESULT_BYTES: u64 = 64 << 20;
/// The keeper was not started as a worker does it.
const NOT_LOCKED: u8 = 2;
/// How long processes that were killed may take to be gone.
const LAST_BREATH: Duration = Duration::from_secs(30);
/// How long the rest of the output may take once all processes are gone.
const LAST_OUTPUT: Duration = Duration::from_secs(5);
/// Bytes of output that are read in one tick: a unit that prints without end must not cost the keeper a processor.
const OUTPUT_A_TICK: usize = 16 << 20;
/// Bytes of the first output that are kept for the sentence of a sandbox that did not start.
const FIRST_WORDS: usize = 2000;

/// Keeps the unit of a folder until it has ended. Standard input is the locked `alive.lock` of that folder.
/// There must be no other thread yet.
pub fn keep(folder: &Path) -> ExitCode {
    // What we hold (the script's environment, the lock) is nobody else's, also not of the same account.
    let _ = prctl::set_dumpable(false);
    umask(Mode::from_bits_truncate(0o077));
    // It fails for the leader of a group; then a session of our own was made for us.
    let _ = setsid();
    close_others();
    let Ok(folder) = folder.canonicalize() else { return ExitCode::from(NOT_LOCKED) };
    let Ok(_lock) = take_lock(&folder) else { return ExitCode::from(NOT_LOCKED) };
    if folder.join(EXIT).exists() {
        return ExitCode::SUCCESS;
    }
    let kept = keep_locked(&folder);
    let exit = kept.unwrap_or_else(|error| {
        eprintln!("the unit could not be kept: {error}");
        Exit { error: Some(format!("The unit could not be started: {error}.")), ..Exit::default() }
    });
    match write_exit(&folder, exit) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{EXIT} could not be written: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes the lock out of standard input, so that no child gets it: as long as one had it, the keeper would seem alive.
fn take_lock(folder: &Path) -> io::Result<File> {
    let lock = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let (given, named) = (lock.metadata()?, fs::metadata(folder.join(LOCK))?);
    if (given.dev(), given.ino()) != (named.dev(), named.ino()) {
        return Err(io::Error::other("standard input is not the lock of this folder"));
    }
    lock.try_lock()?;
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(lock)
}

/// Reads the variables that nobody else may read, and takes their file away.
fn take_secrets() -> io::Result<BTreeMap<String, String>> {
    match fs::read(SECRETS) {
        Ok(bytes) => {
            fs::remove_file(SECRETS)?;
            Ok(serde_json::from_slice(&bytes)?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

fn keep_locked(folder: &Path) -> io::Result<Exit> {
    std::env::set_current_dir(folder)?;
    // Whatever a unit leaves behind becomes our child, and can be found and ended.
    prctl::set_child_subreaper(true)?;
    let mut spec: Spec = serde_json::from_slice(&fs::read(SPEC)?)?;
    spec.env.extend(take_secrets()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let exit = runtime.block_on(run(&spec, folder));
    // A name that is still being resolved must not delay the end.
    runtime.shutdown_background();
    exit
}

/// A running unit.
struct Unit {
    child: Child,
    status: Option<ExitStatus>,
    output: pipe::Receiver,
    sink: Sink,
    reports: TokioLines<BufReader<OwnedReadHalf>>,
    /// Its end would end the unit.
    _words: OwnedWriteHalf,
    started: bool,
    first_words: Vec<u8>,
    failed: Option<String>,
    ended: Option<(Option<i32>, Option<i32>)>,
}

async fn run(spec: &Spec, folder: &Path) -> io::Result<Exit> {
    // Only the file `stop` ends a unit; handlers instead of ignoring, because what is ignored stays so over exec.
    let mut deaf = Vec::new();
    for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::terminate(), SignalKind::quit()] {
        deaf.push(signal(kind)?);
    }
    let mut children = signal(SignalKind::child())?;
    if sandbox::has_namespaces(&spec.sandbox) && geteuid().is_root() && spec.uid.is_none_or(|uid| uid == 0) {
        return Err(io::Error::other("a unit of root needs an account of its own"));
    }
    if spec.name.is_empty() || spec.name.contains(['/', '\0']) || spec.name.starts_with('.') {
        return Err(io::Error::other("the unit's name is not one of a folder"));
    }
    let journal = Rc::new(prepare(spec, folder)?);
    let gate = spec.gate.clone().map(|rules| open_gate(rules, journal.clone())).transpose()?;
    let cgroup = Cgroup::make(&spec.name, &spec.limits);
    let counted = cgroup.as_ref().map_or_else(Counted::default, Cgroup::counted);
    let sink = match spec.output {
        Output::File => Sink::File(HeadAndTail::create(Path::new(STDOUT), spec.output_bytes)?),
        Output::Journal => Sink::Journal(Lines::new(journal.clone(), spec.journal_bytes)),
    };
    let start = sandbox::prepare(spec, folder, &this_program()?, counted)?;
    let mut unit = spawn(start, cgroup.as_ref(), sink).await?;
    let mut watch = Watch::new(spec, folder, counted);
    let cause = {
        let mut gate_served = std::pin::pin!(async {
            match &gate {
                Some(gate) => gate.serve().await,
                None => std::future::pending().await,
            }
        });
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut piece = vec![0; 64 * 1024];
        let mut open = true;
        let mut room = OUTPUT_A_TICK;
        let mut heard = true;
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    room = OUTPUT_A_TICK;
                    if let Some(cause) = watch.look(cgroup.as_ref()).await {
                        break Some(cause);
                    }
                }
                read = unit.output.read(&mut piece), if open && room > 0 => match read {
                    Ok(0) | Err(_) => open = false,
                    Ok(count) => {
                        room = room.saturating_sub(count);
                        unit.take(&piece[..count]);
                    }
                },
                line = unit.reports.next_line(), if heard => match line {
                    Ok(Some(line)) => if let Some(cause) = unit.hear(&line, &mut watch) { break Some(cause) },
                    Ok(None) | Err(_) => heard = false,
                },
                _ = children.recv() => if unit.reap() { break None },
                () = &mut gate_served => {}
            }
        }
    };
    end_all(&mut unit, cgroup.as_ref()).await;
    let cause = cause.or_else(|| watch.last_measure());
    unit.drain(&mut watch).await;
    watch.count(cgroup.as_ref());
    let out_of_memory = counted.memory && cgroup.as_ref().is_some_and(Cgroup::out_of_memory);
    if let Some(cgroup) = &cgroup {
        cgroup.remove();
    }
    if let Some(gate) = gate {
        let (connections, bytes) = gate.counted();
        if connections > 0 {
            eprintln!("gate: {connections} connections, {bytes} bytes");
        }
        drop(gate);
        let _ = fs::remove_file(Path::new(GATE).join(SOCKET));
    }
    if let Err(error) = unit.sink.finish() {
        eprintln!("the output could not be completed: {error}");
    }
    let mut exit = unit.exit(cause, out_of_memory);
    // A unit that was shorter than the watch has only what the kernel kept of its greatest process.
    let (cpu_s, greatest) = of_children();
    let limit = spec.limits.memory_bytes;
    // Who ran out of memory had reached the limit, however short that was before the watch could see it.
    exit.peak_memory_bytes = watch.peak_memory_bytes.max(if exit.oom { limit } else { greatest.min(limit) });
    exit.cpu_s = watch.cpu_s.max(cpu_s);
    // A unit may have taken our rights from its own; only without root do we need them back.
    for name in [WORK, OUT, JOURNAL] {
        let mode = if name == JOURNAL { 0o600 } else { 0o700 };
        let _ = fs::set_permissions(name, Permissions::from_mode(mode));
    }
    match take_result() {
        Ok(()) => {}
        Err(sentence) if exit.error.is_none() => exit.error = Some(sentence),
        Err(sentence) => eprintln!("{sentence}"),
    }
    empty(Path::new(WORK));
    empty(Path::new(OUT));
    journal.sync()?;
    Ok(exit)
}

/// Makes the files and folders of a unit, and gives the unit those that are its own.
fn prepare(spec: &Spec, folder: &Path) -> io::Result<Journal> {
    for name in [WORK, OUT, GATE] {
        DirBuilder::new().recursive(true).mode(0o700).create(name)?;
    }
    let journal = Journal::open(Path::new(JOURNAL))?;
    sandbox::hand_over(spec, folder)?;
    Ok(journal)
}

fn open_gate(rules: super::spec::Gate, journal: Rc<Journal>) -> io::Result<Gate> {
    let socket = Path::new(GATE).join(SOCKET);
    let gate = Gate::open(rules, &socket, Box::new(move |sentence| journal.log("WARNING", sentence)))?;
    // The unit's account must get there; nobody else can walk through the unit's folder.
    fs::set_permissions(GATE, Permissions::from_mode(0o755))?;
    fs::set_permissions(&socket, Permissions::from_mode(0o666))?;
    Ok(gate)
}

/// The file of this program. After an upgrade the old one is gone, and the new one of that name serves as well.
pub fn this_program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

async fn spawn(start: Start, cgroup: Option<&Cgroup>, sink: Sink) -> io::Result<Unit> {
    let Start { mut command, plan } = start;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    // One pipe for both, so that the lines stand in the order in which they were printed.
    let (reader, writer) = io::pipe()?;
    command.env_clear().stdin(OwnedFd::from(theirs)).stdout(writer.try_clone()?).stderr(writer).current_dir("/");
    let child = match cgroup {
        Some(cgroup) => cgroup.within(|| spawn_now(&mut command))?,
        None => spawn_now(&mut command)?,
    };
    // Else the pipe would have no end.
    drop(command);
    nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    let output = pipe::Receiver::from_owned_fd(reader.into())?;
    ours.set_nonblocking(true)?;
    let (read, mut words) = tokio::net::UnixStream::from_std(ours)?.into_split();
    let mut line = serde_json::to_vec(&plan)?;
    line.push(b'\n');
    // It fails if bubblewrap is gone already; its own words say why.
    let _ = words.write_all(&line).await;
    Ok(Unit {
        child,
        status: None,
        output,
        sink,
        reports: BufReader::new(read).lines(),
        _words: words,
        started: false,
        first_words: Vec::new(),
        failed: None,
        ended: None,
    })
}

fn spawn_now(command: &mut Command) -> io::Result<Child> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.spawn().map_err(|error| io::Error::new(error.kind(), format!("{program} cannot be started: {error}")))
}

impl Unit {
    fn take(&mut self, bytes: &[u8]) {
        if !self.started && self.first_words.len() < FIRST_WORDS {
            self.first_words.extend_from_slice(&bytes[..bytes.len().min(FIRST_WORDS)]);
        }
        if let Err(error) = self.sink.write(bytes) {
            eprintln!("the output could not be written: {error}");
        }
    }

    fn hear(&mut self, line: &str, watch: &mut Watch) -> Option<Cause> {
        match serde_json::from_str(line) {
            Ok(Report::Started) => self.started = true,
            Ok(Report::Failed(sentence)) => self.failed = Some(sentence),
            Ok(Report::Ended { code, signal }) => self.ended = Some((code, signal)),
            Ok(Report::Sample(sample)) => return watch.judge(sample),
            Err(error) => eprintln!("the first process was not understood: {error}"),
        }
        None
    }

    /// Takes every child that has ended; says whether the sandbox itself has.
    fn reap(&mut self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        let own = self.child.id().cast_signed();
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid.as_raw() == own => {
                    self.status = Some(ExitStatus::from_raw(code << 8));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid.as_raw() == own => {
                    self.status = Some(ExitStatus::from_raw(signal as i32));
                }
                Ok(WaitStatus::StillAlive) | Err(_) => return self.status.is_some(),
                Ok(_) => {}
            }
        }
    }

    /// Reads what was still on its way when the last process went.
    async fn drain(&mut self, watch: &mut Watch) {
        let mut piece = vec![0; 64 * 1024];
        let until = Instant::now() + LAST_OUTPUT;
        while let Ok(Ok(count)) = tokio::time::timeout_at(until, self.output.read(&mut piece)).await {
            if count == 0 {
                break;
            }
            self.take(&piece[..count]);
        }
        while let Ok(Ok(Some(line))) = timeout(TICK, self.reports.next_line()).await {
            self.hear(&line, watch);
        }
    }

    fn exit(&self, cause: Option<Cause>, out_of_memory: bool) -> Exit {
        use std::os::unix::process::ExitStatusExt;
        let mut exit = Exit::default();
        match cause {
            Some(Cause::Stopped) => exit.stopped = true,
            Some(Cause::TimedOut) => exit.timed_out = true,
            Some(Cause::OutOfMemory) => exit.oom = true,
            Some(Cause::Broke(sentence)) => exit.error = Some(sentence),
            None => exit.oom = out_of_memory,
        }
        let ended_by_us = exit != Exit::default() && !exit.oom;
        (exit.code, exit.signal) = match (self.ended, self.status) {
            (Some(ended), _) => ended,
            // It had no time to say so itself: killed, by us or with the whole sandbox.
            (None, _) if self.started => (None, Some(libc::SIGKILL)),
            (None, status) => (status.and_then(|status| status.code()), status.and_then(|status| status.signal())),
        };
        if !self.started && !ended_by_us && !exit.oom {
            let words = String::from_utf8_lossy(&self.first_words);
            let last = words.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it ended at once").to_owned();
            let sentence = self.failed.clone().unwrap_or_else(|| format!("The sandbox could not be started: {last}."));
            exit.error = Some(sentence);
        }
        exit
    }
}

/// Ends every process of a unit, and waits until none is left.
async fn end_all(unit: &mut Unit, cgroup: Option<&Cgroup>) {
    let until = Instant::now() + LAST_BREATH;
    loop {
        if unit.status.is_none() {
            let _ = kill(Pid::from_raw(unit.child.id().cast_signed()), Signal::SIGKILL);
        }
        for pid in cgroup.map(Cgroup::processes).unwrap_or_default() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        unit.reap();
        let gone = waitpid(None, Some(WaitPidFlag::WNOHANG)) == Err(nix::errno::Errno::ECHILD);
        if gone && cgroup.is_none_or(|cgroup| cgroup.processes().is_empty()) {
            return;
        }
        if Instant::now() > until {
            eprintln!("some processes of the unit could not be ended");
            return;
        }
        processes::end_all_below(Pid::this());
        sleep(Duration::from_millis(5)).await;
    }
}

/// Moves the result out of the unit's reach, if it is a file of an allowed size: a sentence if not.
fn take_result() -> Result<(), String> {
    let left = Path::new(OUT).join(RESULT);
    let open = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&left);
    let mut file = match open {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A link is `ELOOP`, a socket `ENXIO`.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => {
            return Err(NOT_A_FILE.to_owned());
        }
        Err(error) => return Err(format!("The result cannot be read: {error}.")),
    };
    let meta = file.metadata().map_err(|error| format!("The result cannot be read: {error}."))?;
    if !meta.is_file() {
        return Err(NOT_A_FILE.to_owned());
    }
    if meta.len() > RESULT_BYTES {
        return Err(format!("The result is larger than {} bytes.", grouped(RESULT_BYTES)));
    }
    let own = meta.uid() == geteuid().as_raw() && meta.nlink() == 1;
    let moved = if own {
        file.set_permissions(Permissions::from_mode(0o600))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::rename(&left, RESULT))
    } else {
        // A copy: the file may have other names, and it belongs to an account that other units will have.
        copy(&mut file)
    };
    moved.map_err(|error| format!("The result cannot be taken: {error}."))
}

const NOT_A_FILE: &str = "The result is not a regular file.";

fn copy(from: &mut File) -> io::Result<()> {
    let part = Path::new("result.json.part");
    let mut to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part)?;
    io::copy(&mut from.take(RESULT_BYTES), &mut to)?;
    to.sync_all()?;
    fs::rename(part, RESULT)
}

/// Removes what is in a folder; scratch is not kept.
fn empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // However deep, and whatever rights a unit has taken from its own folders.
        let removed = remove_tree(&path);
        if let Err(error) = removed {
            eprintln!("{} cannot be removed: {error}", path.display());
        }
    }
}

/// Seconds of processor time of all processes that were waited for, and bytes of the greatest of them.
fn of_children() -> (f64, u64) {
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or((0.0, 0), |usage| {
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let cpu_s = seconds(usage.user_time()) + seconds(usage.system_time());
        (cpu_s, usage.max_rss().max(0).cast_unsigned() * 1024)
    })
}

/// Writes the end of the unit so that it is there whole or not at all, also after a power cut.
fn write_exit(folder: &Path, mut exit: Exit) -> io::Result<()> {
    let now = chrono::DateTime::<chrono::Utc>::from(SystemTime::now()).naive_utc();
    exit.ended_at = now.format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
    let part = folder.join(format!("{EXIT}.part"));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(&serde_json::to_vec(&exit)?)?;
    file.sync_all()?;
    fs::rename(&part, folder.join(EXIT))?;
    File::open(folder)?.sync_all()
}

/// Starts the keeper of a folder that holds a spec, as a worker does it: with the lock taken before.
pub fn start(program: &Path, folder: &Path) -> io::Result<Child> {
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK))?;
    lock.try_lock()?;
    command(program, folder, lock)?.spawn()
}

/// The command that starts the keeper of a folder; `lock` is the folder's locked file.
pub fn command(program: &Path, folder: &Path, lock: File) -> io::Result<Command> {
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(folder.join("keeper.log"))?;
    let mut command = Command::new(program);
    command
        .arg("keep")
        .arg(folder)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(lock))
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

/// Whether the keeper of a folder lives.
pub fn is_alive(folder: &Path) -> bool {
    let Ok(lock) = File::open(folder.join(LOCK)) else { return false };
    // A shared lock, so that two who ask do not take each other for a keeper.
    matches!(lock.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
}
