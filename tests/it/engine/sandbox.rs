//! What a script can see and do inside.
//! Each test is a program that tries, and tells what it met.

use std::{
    collections::BTreeMap,
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use trends_earth::engine::{
    Network,
    process::spec::{Bind, Sandbox},
};
use uuid::Uuid;

use super::unit::{Unit, both, each, is_root};

/// Runs attempts, given as `name: statement`, and leaves for each "ok" or the name of the error.
const TRY: &str = r#"
import ctypes, errno, json, os, socket, struct, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result
results = {}
def attempt(name, code):
    try:
        exec(code, globals())
        results[name] = "ok"
    except OSError as error:
        results[name] = errno.errorcode.get(error.errno, str(error))
    except Exception as error:
        results[name] = type(error).__name__
def leave():
    with open(os.environ["OUT"], "w") as file:
        json.dump(results, file)
"#;

fn attempts(list: &[(&str, String)]) -> String {
    let mut code = TRY.to_owned();
    for (name, statement) in list {
        code.push_str(&format!("attempt({name:?}, {statement:?})\n"));
    }
    code.push_str("leave()\n");
    code
}

#[test]
fn a_script_sees_only_its_own_files() {
    both(|variant| {
        let secret = std::env::temp_dir().join(format!("secret-{}", Uuid::new_v4()));
        fs::write(&secret, "secret").unwrap();
        let mut unit = Unit::new(&variant, "");
        let folder = unit.folder.display().to_string();
        unit.spec.argv[3] = attempts(&[
            ("secret", format!("open({:?}).read()", secret.display().to_string())),
            ("spec", format!("open({:?}).read()", format!("{folder}/spec.json"))),
            ("the spec through the program", "open('/te/../spec.json').read()".into()),
            ("root", "os.listdir('/root')".into()),
            ("home", "os.listdir('/home')".into()),
            ("var", "os.listdir('/var')".into()),
            ("shadow", "open('/etc/shadow').read()".into()),
            ("the first process", "open('/proc/1/environ').read()".into()),
            ("its root", "os.listdir('/proc/1/root')".into()),
            ("its files", "os.listdir('/proc/1/fd')".into()),
            ("write usr", "open('/usr/x', 'w')".into()),
            ("write root", "open('/x', 'w')".into()),
            ("write etc", "open('/etc/passwd', 'a')".into()),
            ("write te", "open('/te/x', 'w')".into()),
            ("write program", "open('/te/trends-earth', 'r+b')".into()),
            ("write params", "open('/te/params.json', 'r+')".into()),
            ("write dev", "open('/dev/x', 'w')".into()),
            ("write sys", "open('/proc/sys/kernel/core_pattern', 'w')".into()),
            ("device", "os.mknod('/tmp/d', 0o60600, os.makedev(254, 0))".into()),
            ("params", "assert json.load(open('/te/params.json')) == {'a': 1}".into()),
            ("bound", "assert open('/script/main.py').read() == 'pass'".into()),
            ("write bound", "open('/script/main.py', 'w')".into()),
            ("write environment", "open('/build/x', 'w').write('x')".into()),
            ("scratch", "open('/work/a', 'w').write('a')".into()),
            ("tmp", "open('/tmp/a', 'w').write('a')".into()),
            ("shm", "open('/dev/shm/a', 'w').write('a')".into()),
            ("null", "open('/dev/null', 'w').write('a')".into()),
            ("random", "open('/dev/urandom', 'rb').read(3)".into()),
            ("certificates", "os.listdir('/etc/ssl/certs')".into()),
            ("account", "import pwd; assert pwd.getpwuid(os.getuid()).pw_name == 'script'".into()),
            ("top", "assert set(os.listdir('/')) <= set('bin build dev etc lib lib32 lib64 libx32 proc run sbin script te tmp usr work'.split()), os.listdir('/')".into()),
            ("environment", "assert set(os.environ) == {'PATH', 'HOME', 'LC_ALL', 'OUT'}, os.environ".into()),
            ("processes", "assert len([p for p in os.listdir('/proc') if p.isdigit()]) == 2".into()),
            ("files", "assert len(os.listdir('/proc/self/fd')) == 4".into()),
        ]);
        for name in ["script", "build"] {
            let source = unit.path(name);
            fs::create_dir(&source).unwrap();
            fs::write(source.join("main.py"), "pass").unwrap();
            unit.spec.binds.push(Bind { source, target: format!("/{name}").into(), writable: name == "build" });
        }
        fs::write(unit.path("params.json"), r#"{"a": 1}"#).unwrap();
        let ended = unit.run();
        fs::remove_file(secret).unwrap();
        let results: BTreeMap<String, String> = ended.result();
        let allowed = [
            "params",
            "bound",
            "write environment",
            "scratch",
            "tmp",
            "shm",
            "null",
            "random",
            "certificates",
            "account",
            "top",
            "environment",
            "processes",
            "files",
        ];
        for (name, result) in &results {
            assert_eq!(result == "ok", allowed.contains(&name.as_str()), "{name}: {result}\n{results:?}");
        }
    });
}

#[test]
fn a_script_cannot_gain_rights() {
    both(|variant| {
        let keeper = std::process::id();
        let code = attempts(&[
            ("user namespace", "call(272, 0x10000000)".into()),
            ("mount namespace", "call(272, 0x00020000)".into()),
            ("clone into a namespace", "call(56, 0x10000000 | 17, 0, 0, 0, 0)".into()),
            ("clone3", "call(435, 0, 0)".into()),
            ("setns", "call(308, 0, 0)".into()),
            ("mount", "call(165, b'none', b'/tmp', b'tmpfs', 0, 0)".into()),
            ("new mount", "call(430, b'tmpfs', 0)".into()),
            ("chroot", "os.chroot('/tmp')".into()),
            ("ptrace", "call(101, 16, 1, 0, 0)".into()),
            ("read memory", "call(310, 1, 0, 0, 0, 0, 0)".into()),
            ("bpf", "call(321, 0, 0, 0)".into()),
            ("io_uring", "call(425, 1, 0)".into()),
            ("userfaultfd", "call(323, 0)".into()),
            ("keys", "call(250, 0, -3, 0)".into()),
            ("memfd", "call(319, b'x', 0)".into()),
            ("shared memory of System V", "call(29, 0, 4096, 0o1600)".into()),
            ("x32", "call(0x40000000 + 39)".into()),
            ("netlink", "socket.socket(16, 3, 0)".into()),
            ("packets", "socket.socket(17, 3, 0)".into()),
            ("vsock", "socket.socket(40, 1, 0)".into()),
            ("raw", "socket.socket(2, 3, 1)".into()),
            ("type into the terminal", "import fcntl; fcntl.ioctl(os.open('/dev/null', 0), 0x5412, b'x')".into()),
            ("become root", "os.setuid(0)".into()),
            ("signal from outside", format!("os.kill({keeper}, 0); assert open('/proc/{keeper}/cmdline').read().count('it-')")),
            ("end the first process", "os.kill(1, 9); import time; time.sleep(0.2)".into()),
            ("capabilities", "assert all(int(l.split()[1], 16) for l in open('/proc/self/status') if l.startswith(('CapEff', 'CapPrm', 'CapAmb', 'CapInh')))".into()),
            ("new privileges", "assert 'NoNewPrivs:\\t0' in open('/proc/self/status').read()".into()),
            ("more files", "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))".into()),
            ("limits of the first process", "import resource; resource.prlimit(1, resource.RLIMIT_NOFILE, (0, 0))".into()),
            ("scheduler of the first process", "os.sched_setaffinity(1, {0})".into()),
            ("priority of another", "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19)".into()),
            ("priority of the group", "os.setpriority(os.PRIO_PGRP, 0, 19)".into()),
            ("priority of the account", "os.setpriority(os.PRIO_USER, 0, 19)".into()),
            ("disk priority of the account", "call(251, 3, 0, 3 << 13)".into()),
            ("thread with files of its own", "call(56, 0x10000 | 0x800 | 0x100, 0, 0, 0, 0)".into()),
            ("fallocate", "f = open('/work/f', 'wb'); call(285, f.fileno(), 0, 0, 1 << 20)".into()),
            ("pair of TIPC", "socket.socketpair(30, 1, 0)".into()),
            ("SCTP", "socket.socket(2, 1, 132)".into()),
            ("MPTCP", "socket.socket(2, 1, 262)".into()),
            ("open_tree_attr", "call(467, -100, b'/', 0, 0, 0)".into()),
            ("cgroups", "open('/sys/fs/cgroup/memory/cgroup.procs', 'w').write('0')".into()),
        ]);
        let results: BTreeMap<String, String> = Unit::new(&variant, &code).run().result();
        for (name, result) in &results {
            // The init of a pid namespace does not hear signals from inside; sending them is no error.
            assert_eq!(result == "ok", name == "end the first process", "{name}: {result}\n{results:?}");
        }
        assert_eq!(results["clone3"], "ENOSYS");
        assert_eq!(results["x32"], "ENOSYS");
        assert_eq!(results["memfd"], "ENOSYS");
        assert_eq!(results["netlink"], "EPERM");
        assert_eq!(results["limits of the first process"], "EPERM");
        assert_eq!(results["priority of the account"], "EPERM");
        assert_eq!(results["thread with files of its own"], "EPERM");
        assert_eq!(results["fallocate"], "ENOTSUP");
        assert_eq!(results["open_tree_attr"], "EPERM");
    });
}

#[test]
fn a_script_without_network_reaches_nothing() {
    both(|variant| {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let name = format!("abstract-{}", Uuid::new_v4());
        let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let code = attempts(&[
            ("loopback", format!("socket.create_connection(('127.0.0.1', {port}), 2)")),
            ("public", "socket.create_connection(('1.1.1.1', 443), 2)".into()),
            ("metadata", "socket.create_connection(('169.254.169.254', 80), 2)".into()),
            ("udp", "socket.socket(2, 2).sendto(b'x', ('8.8.8.8', 53))".into()),
            ("abstract", format!("socket.socket(1).connect('\\0{name}')")),
            ("name", "socket.getaddrinfo('example.org', 443)".into()),
            ("own loopback", "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); socket.create_connection(s.getsockname(), 2)".into()),
        ]);
        let results: BTreeMap<String, String> = Unit::new(&variant, &code).run().result();
        for (name, result) in &results {
            assert_eq!(result == "ok", name == "own loopback", "{name}: {result}\n{results:?}");
        }
    });
}

#[test]
fn the_whole_network_is_shared_only_by_word_and_without_sockets_of_the_host() {
    both(|variant| {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let name = format!("abstract-{}", Uuid::new_v4());
        let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let mut unit = Unit::new(
            &variant,
            &attempts(&[
                ("loopback", format!("socket.create_connection(('127.0.0.1', {port}), 2)")),
                ("abstract", format!("socket.socket(1).connect('\\0{name}')")),
                ("resolver", "open('/etc/resolv.conf').read()".into()),
                ("root", "os.listdir('/root')".into()),
                ("signal", format!("os.kill({}, 0); open('/proc/{0}/cmdline')", std::process::id())),
            ]),
        );
        unit.spec.limits.network = Network::Full;
        let results: BTreeMap<String, String> = unit.run().result();
        for (name, result) in &results {
            assert_eq!(
                result == "ok",
                ["loopback", "resolver"].contains(&name.as_str()),
                "{name}: {result}\n{results:?}"
            );
        }
    });
}

#[test]
fn python_with_its_pools_works_inside() {
    both(|variant| {
        let code = r#"
import json, multiprocessing, os, ssl, sqlite3, subprocess, tempfile, threading
def square(x): return x * x
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(3) as pool:
        squares = pool.map(square, range(5))
    thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
    print(subprocess.run(["sh", "-c", "echo shell; id -un"], capture_output=True, text=True).stdout)
    ssl.create_default_context()
    with tempfile.TemporaryDirectory() as folder: sqlite3.connect(folder + "/x").execute("create table t(a)")
    json.dump(squares, open(os.environ["OUT"], "w"))
"#;
        let ended = Unit::new(&variant, code).run();
        assert_eq!(ended.result::<Vec<i32>>(), [0, 1, 4, 9, 16]);
        assert_eq!(ended.stdout(), "thread\nshell\nscript\n\n");
        assert_eq!((ended.exit.code, ended.exit.error.as_deref()), (Some(0), None));
        assert!(ended.exit.cpu_s > 0.0 && ended.exit.peak_memory_bytes > 1 << 20, "{:?}", ended.exit);
    });
}

#[test]
fn landlock_alone_still_guards_files_sockets_and_signals() {
    each(&[Sandbox::Landlock], |variant| {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let secret = std::env::temp_dir().join(format!("secret-{}", Uuid::new_v4()));
        fs::write(&secret, "secret").unwrap();
        let mut unit = Unit::new(&variant, "");
        unit.spec.argv[3] = attempts(&[
            ("secret", format!("open({:?}).read()", secret.display().to_string())),
            ("spec", format!("open({:?}).read()", unit.path("spec.json").display().to_string())),
            ("loopback", format!("socket.create_connection(('127.0.0.1', {port}), 2)")),
            ("signal", format!("os.kill({}, 0)", std::process::id())),
            ("environment of others", format!("open('/proc/{}/environ').read()", std::process::id())),
            ("user namespace", "call(272, 0x10000000)".into()),
            ("write usr", "open('/usr/x', 'w')".into()),
            ("scratch", "open('a', 'w').write('a')".into()),
            ("journal", "open(os.environ['JOURNAL'], 'a').write('')".into()),
            ("bound", "assert open(os.environ['SCRIPTS'].split(':')[1] + '/main.py').read() == 'pass'".into()),
        ]);
        let source = unit.path("script");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("main.py"), "pass").unwrap();
        unit.spec.binds.push(Bind { source, target: "/script".into(), writable: false });
        unit.spec.env.insert("JOURNAL".into(), "/te/journal.ndjson".into());
        unit.spec.env.insert("SCRIPTS".into(), "/work:/script".into());
        let ended = unit.run();
        fs::remove_file(secret).unwrap();
        let results: BTreeMap<String, String> = ended.result();
        for (name, result) in &results {
            let allowed = ["scratch", "journal", "bound"].contains(&name.as_str());
            assert_eq!(result == "ok", allowed, "{name}: {result}\n{results:?}");
        }
    });
}

#[test]
fn a_unit_of_root_needs_an_account() {
    if !is_root() {
        return;
    }
    both(|variant| {
        let mut unit = Unit::new(&variant, "pass");
        if unit.spec.uid.take().is_some() {
            let ended = unit.run();
            assert!(ended.exit.error.unwrap().contains("account"));
        }
    });
}
