//! Our own namespaces, where bubblewrap is missing: the process that makes them, and the root that their init builds.
//! Two processes, because a process cannot move into a pid namespace; only its children are born there.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use caps::{CapSet, Capability};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::Signal,
        socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket},
        stat::{Mode, umask},
        wait::{WaitStatus, waitpid},
    },
    unistd::{chdir, getgid, getuid, pivot_root, sethostname},
};

use super::{enter::close_others, plan::Mount};

/// The old root while the new one is built.
const OLD: &str = "/old";
/// The new root while it is built.
const NEW: &str = "/new";
const CANNOT_START: u8 = 126;
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
/// Parts of `/proc` that an account of root could write to without any capability.
const COVERED: &[&str] = &["sys", "sysrq-trigger", "irq", "bus"];

/// The hidden command `trends-earth enter-namespaces [--user] [--share-network]`: makes the namespaces, starts
/// `trends-earth enter` as their init and waits for it.
pub fn enter(words: &[OsString]) -> ExitCode {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    close_others();
    match make(words.iter().any(|word| word == "--user"), words.iter().any(|word| word == "--share-network")) {
        Ok(code) => ExitCode::from(code),
        Err(sentence) => {
            eprintln!("trends-earth: {sentence}");
            ExitCode::from(CANNOT_START)
        }
    }
}

fn make(user: bool, share_network: bool) -> Result<u8, String> {
    let (uid, gid) = (getuid(), getgid());
    let mut flags = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    flags.set(CloneFlags::CLONE_NEWUSER, user);
    flags.set(CloneFlags::CLONE_NEWNET, !share_network);
    unshare(flags).map_err(|error| format!("namespaces cannot be made: {error}"))?;
    if user {
        // Without this the kernel refuses the map of groups.
        let write = |file: &str, text: String| {
            fs::write(Path::new("/proc/self").join(file), text)
                .map_err(|error| format!("{file} cannot be written: {error}"))
        };
        write("setgroups", "deny".to_owned())?;
        write("uid_map", format!("{uid} {uid} 1"))?;
        write("gid_map", format!("{gid} {gid} 1"))?;
        // An account other than 0 keeps over exec only what is ambient.
        for capability in [Capability::CAP_SYS_ADMIN, Capability::CAP_NET_ADMIN, Capability::CAP_SETPCAP] {
            caps::raise(None, CapSet::Inheritable, capability)
                .and_then(|()| caps::raise(None, CapSet::Ambient, capability))
                .map_err(|error| format!("{capability} cannot be kept: {error}"))?;
        }
    }
    let child = Command::new("/proc/self/exe")
        .arg("enter")
        .env_clear()
        .stdin(Stdio::inherit())
        .spawn()
        .map_err(|error| format!("the first process cannot be started: {error}"))?;
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    // The socket to the keeper must end with the first process, not with us.
    let _ = File::open("/dev/null").map(nix::unistd::dup2_stdin);
    loop {
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(u8::try_from(code).unwrap_or(CANNOT_START)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(128 + signal as u8),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(format!("the first process cannot be waited for: {error}")),
        }
    }
}

/// Builds the root that the unit sees and moves into it; nothing of the old one stays.
pub fn build_root(mounts: &[Mount]) -> Result<(), String> {
    let mode = umask(Mode::empty());
    let built = build(mounts);
    umask(mode);
    let _ = sethostname("trends-earth");
    built
}

fn build(mounts: &[Mount]) -> Result<(), String> {
    let text =
        |step: &'static str| move |error: nix::Error| format!("The unit's root cannot be built ({step}): {error}.");
    let none = None::<&str>;
    // What is mounted on the machine later must not appear inside, and nothing of ours outside.
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(text("propagation"))?;
    // `/tmp` is only the place to hang the new tree on; the old root keeps its own, which may hold sources.
    tmpfs(Path::new("/tmp"), "mode=755,size=1m").map_err(text("base"))?;
    let folders = fs::create_dir("/tmp/old").and_then(|()| fs::create_dir("/tmp/new"));
    folders.map_err(|error| format!("The unit's root cannot be built (folders): {error}."))?;
    pivot_root("/tmp", "/tmp/old").map_err(text("old root"))?;
    chdir("/").map_err(text("old root"))?;
    tmpfs(Path::new(NEW), "mode=755,size=1m").map_err(text("new root"))?;
    for made in mounts {
        make_mount(made)
            .map_err(|error| format!("The unit's root cannot be built ({}): {error}.", made.target().display()))?;
    }
    umount2(OLD, MntFlags::MNT_DETACH).map_err(text("farewell"))?;
    chdir(NEW).map_err(text("new root"))?;
    pivot_root(".", ".").map_err(text("new root"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(text("farewell"))?;
    chdir("/").map_err(text("new root"))
}

fn make_mount(made: &Mount) -> io::Result<()> {
    match made {
        Mount::Bind { source, target, writable } => bind(&below(OLD, source), &below(NEW, target), *writable, false)?,
        Mount::Link { target, to } => {
            let target = below(NEW, target);
            make_folder(target.parent().unwrap_or(&target))?;
            symlink(to, target)?;
        }
        Mount::Proc { target } => {
            let target = below(NEW, target);
            make_folder(&target)?;
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("proc"), &target, Some("proc"), flags, None::<&str>)?;
            for part in COVERED.iter().map(|part| target.join(part)).filter(|_| getuid().is_root()) {
                if part.exists() {
                    bind(&part, &part, false, false)?;
                }
            }
        }
        Mount::Dev { target } => {
            let target = below(NEW, target);
            for device in DEVICES {
                let source = below(OLD, &Path::new("/dev").join(device));
                if source.exists() {
                    bind(&source, &target.join(device), false, true)?;
                }
            }
            for (link, to) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
                symlink(format!("/proc/self/fd{to}"), target.join(link))?;
            }
        }
        Mount::Tmpfs { target, bytes } => {
            let target = below(NEW, target);
            make_folder(&target)?;
            tmpfs(&target, &format!("mode=1777,size={bytes}"))?;
        }
        Mount::ReadOnly { target } => {
            let target = below(NEW, target);
            // A folder of the root itself becomes read-only with the root.
            if target == Path::new(NEW) {
                remount(&target, MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV)?;
            }
        }
    }
    Ok(())
}

fn below(root: &str, path: &Path) -> PathBuf {
    Path::new(root).join(path.strip_prefix("/").unwrap_or(path))
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn tmpfs(target: &Path, options: &str) -> nix::Result<()> {
    mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))
}

/// Binds a file or a folder with all that is mounted below it.
fn bind(source: &Path, target: &Path, writable: bool, device: bool) -> io::Result<()> {
    if source.is_dir() {
        make_folder(target)?;
    } else {
        make_folder(target.parent().unwrap_or(target))?;
        if !target.exists() {
            File::create(target)?;
        }
    }
    let none = None::<&str>;
    mount(Some(source), target, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)?;
    let mut flags = MsFlags::MS_NOSUID;
    flags.set(MsFlags::MS_RDONLY, !writable);
    flags.set(MsFlags::MS_NODEV, !device);
    for (point, had) in mounted_below(target)? {
        match remount(&point, flags | had) {
            // What another account has mounted by FUSE; whom we cannot ask cannot be read inside either.
            Err(nix::Error::EACCES) if point != target => {}
            remounted => remounted?,
        }
    }
    Ok(())
}

fn remount(target: &Path, flags: MsFlags) -> nix::Result<()> {
    let none = None::<&str>;
    mount(none, target, none, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags, none)
}

/// The mounts at a place and below it, each with those of its flags that must stay.
fn mounted_below(target: &Path) -> io::Result<Vec<(PathBuf, MsFlags)>> {
    // `/proc` of the new root may not exist yet; the old one knows our mounts as well.
    let text = fs::read_to_string(Path::new(OLD).join("proc/self/mountinfo"))?;
    let mut found = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let (Some(point), Some(options)) = (fields.get(4), fields.get(5)) else { continue };
        let point = PathBuf::from(unescaped(point));
        if !point.starts_with(target) {
            continue;
        }
        let mut had = MsFlags::empty();
        for option in options.split(',') {
            had |= match option {
                "ro" => MsFlags::MS_RDONLY,
                "nosuid" => MsFlags::MS_NOSUID,
                "nodev" => MsFlags::MS_NODEV,
                "noexec" => MsFlags::MS_NOEXEC,
                _ => MsFlags::empty(),
            };
        }
        found.push((point, had));
    }
    Ok(found)
}

/// The kernel writes blanks and the like in octal: `\040`.
fn unescaped(text: &str) -> OsString {
    use std::os::unix::ffi::OsStringExt;
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = text.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) if bytes[at] == b'\\' => {
                out.push(byte);
                at += 4;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    OsString::from_vec(out)
}

/// Brings `lo` up by asking the kernel over netlink; the call of `ifconfig` has no safe wrapper.
pub fn raise_loopback() -> nix::Result<()> {
    const LOOPBACK: i32 = 1;
    const REQUEST_AND_ANSWER: u16 = 1 | 4;
    const RTM_NEWLINK: u16 = 16;
    let kernel = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let up = nix::libc::IFF_UP.cast_unsigned();
    // struct nlmsghdr: length, type, flags, sequence, port; struct ifinfomsg: family, type, index, flags, change.
    let mut message = Vec::with_capacity(32);
    message.extend(32_u32.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_AND_ANSWER.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(up.to_ne_bytes());
    message.extend(up.to_ne_bytes());
    use std::os::fd::AsRawFd;
    sendto(kernel.as_raw_fd(), &message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut answer = [0; 512];
    let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // struct nlmsgerr after the header: minus errno, 0 for done.
    let error = answer
        .get(16..20)
        .filter(|_| length >= 20)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, i32::from_ne_bytes);
    if error == 0 { Ok(()) } else { Err(nix::Error::from_raw(-error)) }
}
