//! The system calls that no unit needs and that kernels were broken through: a deny-list over the namespaces.
//! `EPERM` is what a container answers; `ENOSYS` makes libc fall back to an older call that we can look into.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter,
};

/// Newer than libc's list; the same number on every architecture.
const OPEN_TREE_ATTR: libc::c_long = 467;

const DENIED: &[libc::c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    OPEN_TREE_ATTR,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_personality,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    // musl does not name it on this architecture, whose kernel has it under the same number as glibc says.
    #[cfg(not(all(target_arch = "aarch64", target_env = "musl")))]
    libc::SYS_kexec_file_load,
    #[cfg(all(target_arch = "aarch64", target_env = "musl"))]
    294,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_lookup_dcookie,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    libc::SYS_mbind,
    libc::SYS_set_mempolicy,
    libc::SYS_fanotify_init,
    libc::SYS_memfd_secret,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
];

/// `memfd_create` holds memory and programs that no limit of a file system sees; `clone3` hides its flags.
const ABSENT: &[libc::c_long] = &[libc::SYS_clone3, libc::SYS_memfd_create];

/// Gigabytes in a moment: no limit that looks at the disk would see them come. Programs write zeros instead.
const UNSUPPORTED: &[libc::c_long] = &[libc::SYS_fallocate];

/// Calls that change another process, and which argument names it: with their help a script could blind those who watch it.
const OF_ANOTHER: &[(libc::c_long, u8)] = &[
    (libc::SYS_prlimit64, 0),
    (libc::SYS_sched_setscheduler, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setattr, 0),
    (libc::SYS_setpriority, 1),
    (libc::SYS_ioprio_set, 1),
];
/// Calls that can change a whole group or account, to which the first process belongs, and their word for one process.
const OF_MANY: &[(libc::c_long, u64)] = &[(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)];
/// The first process inside, which watches the others.
const INIT: u64 = 1;

/// Protocols that bring much of the kernel along and that no script needs.
const PROTOCOLS: &[u64] = &[132, 262, 33];

/// Everything but UNIX, IPv4 and IPv6. Those that are not named here are refused by number.
const FAMILIES: &[libc::c_int] = &[libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];
/// The greatest number of a family, with room for those to come.
const LAST_FAMILY: libc::c_int = 63;

const NAMESPACES: &[libc::c_int] = &[
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// Both type into the terminal as if its user did. libc names only one, with a type that differs.
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;

/// Puts the filter over this thread and all that it will start.
pub fn apply() -> Result<(), seccompiler::Error> {
    // Those applied before must leave `seccomp` itself open to us: all do.
    apply_filter(&denied()?)?;
    apply_filter(&unsupported()?)?;
    apply_filter(&absent()?)
}

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

fn denied() -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let mut clone = Vec::new();
    for flag in NAMESPACES {
        let flag = u64::from(flag.cast_unsigned());
        clone.push(rule(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(flag), flag)?);
    }
    // A thread with open files of its own, which `/proc` would not show with its process.
    let (thread, files) = (libc::CLONE_THREAD.cast_unsigned(), libc::CLONE_FILES.cast_unsigned());
    let masked = SeccompCmpOp::MaskedEq(u64::from(thread | files));
    clone.push(rule(0, SeccompCmpArgLen::Qword, masked, u64::from(thread))?);
    rules.insert(libc::SYS_clone, clone);
    let mut socket = Vec::new();
    for family in (0..=LAST_FAMILY).filter(|family| !FAMILIES.contains(family)) {
        socket.push(rule(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::from(family.cast_unsigned()))?);
    }
    for protocol in PROTOCOLS {
        socket.push(rule(2, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *protocol)?);
    }
    rules.insert(libc::SYS_socket, socket);
    let unix = u64::from(libc::AF_UNIX.cast_unsigned());
    rules.insert(libc::SYS_socketpair, vec![rule(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, unix)?]);
    for (call, argument) in OF_ANOTHER {
        rules.insert(*call, vec![rule(*argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, 0)?]);
    }
    for (call, one) in OF_MANY {
        rules.entry(*call).or_default().push(rule(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *one)?);
    }
    rules.insert(libc::SYS_sched_setaffinity, vec![rule(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, INIT)?]);
    rules.insert(
        libc::SYS_ioctl,
        vec![
            rule(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, TIOCSTI)?,
            rule(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, TIOCLINUX)?,
        ],
    );
    let refusal = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, refusal, ARCH)?.try_into()
}

fn unsupported() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = UNSUPPORTED.iter().map(|call| (*call, Vec::new())).collect();
    let refusal = SeccompAction::Errno(libc::EOPNOTSUPP.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, refusal, ARCH)?.try_into()
}

fn absent() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = ABSENT.iter().map(|call| (*call, Vec::new())).collect();
    let refusal = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let program: BpfProgram = SeccompFilter::new(rules, SeccompAction::Allow, refusal, ARCH)?.try_into()?;
    Ok(without_x32(program))
}

fn rule(
    argument: u8,
    length: SeccompCmpArgLen,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, length, operator, value)?])
}

/// Refuses the x32 calls, which have the architecture of x86-64 and other numbers. A deny-list by number would
/// not see them. The jumps of a program are relative, so that these lines can stand in front.
#[cfg(target_arch = "x86_64")]
fn without_x32(program: BpfProgram) -> BpfProgram {
    use seccompiler::sock_filter;
    const X32: u32 = 0x4000_0000;
    // Load the call's number; if the bit is set answer ENOSYS.
    let code = |class: u32| u16::try_from(class).unwrap_or_default();
    let mut whole = vec![
        sock_filter { code: code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), jt: 0, jf: 0, k: 0 },
        sock_filter { code: code(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K), jt: 0, jf: 1, k: X32 },
        sock_filter {
            code: code(libc::BPF_RET | libc::BPF_K),
            jt: 0,
            jf: 0,
            k: libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned(),
        },
    ];
    whole.extend(program);
    whole
}

#[cfg(not(target_arch = "x86_64"))]
fn without_x32(program: BpfProgram) -> BpfProgram {
    program
}
