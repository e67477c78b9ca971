//! Limits hold for the whole tree of a unit.
//! As root a cgroup counts; as another account the first process inside does.

use std::time::Instant;

use trends_earth::engine::process::spec::Sandbox;

use super::unit::{Unit, both, bwrap, each};

fn all() -> [Sandbox; 4] {
    [bwrap(), Sandbox::Namespaces, Sandbox::Landlock, Sandbox::None]
}

#[test]
fn memory_is_counted_with_the_children() {
    each(&all(), |variant| {
        // Each of them is below the limit.
        let code = r#"
import os, time
for i in range(4):
    if not os.fork():
        held = bytearray(b"x" * (24 << 20))
        time.sleep(1000)
time.sleep(1000)
"#;
        let mut unit = Unit::new(&variant, code);
        unit.spec.limits.memory_bytes = 64 << 20;
        let ended = unit.run();
        assert!(ended.exit.oom && !ended.exit.timed_out && ended.exit.error.is_none(), "{:?}", ended.exit);
        assert!(ended.exit.peak_memory_bytes >= 64 << 20, "{:?}", ended.exit);
    });
}

#[test]
fn memory_that_children_share_is_counted_once() {
    both(|variant| {
        let code = r#"
import os, time
held = bytearray(b"x" * (40 << 20))
for i in range(4):
    if not os.fork():
        time.sleep(1)
        os._exit(0)
for i in range(4): os.wait()
"#;
        let mut unit = Unit::new(&variant, code);
        unit.spec.limits.memory_bytes = 128 << 20;
        let ended = unit.run();
        assert_eq!((ended.exit.oom, ended.exit.code), (false, Some(0)), "{:?}", ended.exit);
        assert!(ended.exit.peak_memory_bytes > 40 << 20, "{:?}", ended.exit);
    });
}

#[test]
fn files_in_memory_are_memory() {
    both(|variant| {
        let code = r#"
import time
with open("/dev/shm/a", "wb") as file:
    for i in range(48): file.write(b"x" * (1 << 20))
with open("/tmp/a", "wb") as file:
    for i in range(48): file.write(b"x" * (1 << 20))
time.sleep(1000)
"#;
        let mut unit = Unit::new(&variant, code);
        unit.spec.limits.memory_bytes = 64 << 20;
        let ended = unit.run();
        assert!(ended.exit.oom, "{:?} {}", ended.exit, ended.stdout());
        // Each file system has its own limit below.
        let code = r#"
try:
    with open("/tmp/a", "wb") as file:
        for i in range(48): file.write(b"x" * (1 << 20))
except OSError as error: print(error.strerror)
"#;
        let mut unit = Unit::new(&variant, code);
        unit.spec.limits.scratch_bytes = 16 << 20;
        assert_eq!(unit.run().stdout(), "No space left on device\n");
    });
}

#[test]
fn a_fork_bomb_is_contained_and_its_neighbour_works() {
    both(|variant| {
        let bomb = r#"
import os, time
most = 0
open("started", "w").close()
while True:
    try:
        if os.fork(): most += 1
    except OSError:
        open("full", "w").close()
"#;
        let mut unit = Unit::new(&variant, bomb);
        unit.spec.limits.max_processes = 32;
        let mut running = unit.start();
        running.wait_for("full");
        let neighbour = Unit::new(&variant, "import os; print(os.fork() >= 0)").run();
        assert_eq!(neighbour.exit.code, Some(0), "{:?} {}", neighbour.exit, neighbour.stdout());
        let bombs = super::unit::processes_with(&running.unit.marker).len();
        assert!(bombs <= 32 + 8, "{bombs} processes");
        running.stop();
        assert!(running.end().exit.stopped);
    });
}

#[test]
fn without_namespaces_the_watch_ends_a_fork_bomb() {
    each(&[Sandbox::Landlock, Sandbox::None], |variant| {
        let code = "import os, time\nfor i in range(400):\n    if not os.fork(): time.sleep(1000)\ntime.sleep(1000)";
        let mut unit = Unit::new(&variant, code);
        unit.spec.limits.max_processes = 32;
        let exit = unit.run().exit;
        // A cgroup makes the fork fail; the watch ends the unit.
        let watched = exit.error.as_deref() == Some("The script had more than 32 processes at one time.");
        assert!(watched || exit.code == Some(1), "{exit:?}");
    });
}

#[test]
fn wall_time_ends_a_unit() {
    each(&all(), |variant| {
        let start = Instant::now();
        let mut unit = Unit::new(&variant, "import os, time\nos.fork()\nos.write(1, b'begun\\n')\ntime.sleep(1000)");
        unit.spec.limits.timeout_s = 5;
        let ended = unit.run();
        assert!(ended.exit.timed_out && !ended.exit.oom && ended.exit.error.is_none(), "{:?}", ended.exit);
        assert_eq!(ended.exit.signal, Some(9));
        assert!(start.elapsed().as_secs_f64() >= 5.0);
        assert_eq!(ended.stdout(), "begun\nbegun\n");
    });
}

#[test]
fn scratch_is_limited_also_without_a_name() {
    both(|variant| {
        let fill = |after: &str| {
            let code = format!(
                "import os, time\nfiles = [open(name, 'wb', 0) for name in 'ab']\n{after}\nfor i in range(10): [f.write(b'x' * (1 << 20)) for f in files]\ntime.sleep(1000)"
            );
            let mut unit = Unit::new(&variant, &code);
            unit.spec.limits.scratch_bytes = 16 << 20;
            unit.start()
        };
        let (named, nameless) = (fill(""), fill("os.unlink('a'); os.unlink('b')"));
        let closed = Unit::new(&variant, "import os, time\nos.mkdir('a')\nos.chmod('a', 0)\ntime.sleep(1000)").start();
        for running in [named, nameless] {
            let error = running.end().exit.error;
            assert_eq!(error.as_deref(), Some("The scratch folder holds more than 16,777,216 bytes."));
        }
        // Root can look into it, another account cannot.
        closed.stop();
        let exit = closed.end().exit;
        assert!(exit.stopped || exit.error.is_some_and(|error| error.contains("cannot be measured")));
    });
}

#[test]
fn what_was_written_in_the_last_moment_counts_too() {
    both(|variant| {
        let code = "f = open('a', 'wb', 0)\nfor i in range(24): f.write(b'x' * (1 << 20))\nf.close()";
        let mut unit = Unit::new(&variant, code);
        unit.spec.limits.scratch_bytes = 16 << 20;
        let error = unit.run().exit.error;
        assert_eq!(error.as_deref(), Some("The scratch folder holds more than 16,777,216 bytes."));
    });
}

#[test]
fn a_file_that_only_a_map_or_a_hidden_process_holds_is_scratch_too() {
    both(|variant| {
        let hold = |after: &str| {
            let code = format!(
                "import mmap, os, shutil, time\nos.set_inheritable(os.open('a', os.O_RDWR | os.O_CREAT), True)\nf = open('a', 'r+b', 0)\nfor i in range(12): f.write(b'x' * (1 << 20))\ng = open('b', 'wb', 0)\nfor i in range(6): g.write(b'x' * (1 << 20))\n{after}\ntime.sleep(1000)"
            );
            let mut unit = Unit::new(&variant, &code);
            unit.spec.limits.scratch_bytes = 16 << 20;
            unit.start()
        };
        let mapped = hold("m = mmap.mmap(f.fileno(), 0)\nf.close()\nos.close(3)\nos.unlink('a')");
        let hidden =
            hold("shutil.copy('/bin/sleep', 's')\nos.chmod('s', 0o111)\nos.unlink('a')\nos.execv('s', ['s', '1000'])");
        let error = mapped.end().exit.error.unwrap();
        assert_eq!(error, "The scratch folder holds more than 16,777,216 bytes.");
        let error = hidden.end().exit.error.unwrap();
        assert!(
            error.contains("holds more than 16,777,216 bytes") || error.contains("hides what it has open"),
            "{error}"
        );
    });
}

#[test]
fn files_that_only_a_socket_holds_are_scratch_too() {
    both(|variant| {
        // Never more than 12 MiB are open at one time.
        let code = r#"
import os, socket, time
near, far = socket.socketpair()
for i in range(15):
    with open("a", "wb", 0) as file:
        os.unlink("a")
        for j in range(12): file.write(b"x" * (1 << 20))
        socket.send_fds(near, [b"x"], [file.fileno()])
time.sleep(1000)
"#;
        let mut unit = Unit::new(&variant, code);
        unit.spec.limits.scratch_bytes = 16 << 20;
        let error = unit.run().exit.error.unwrap();
        assert!(error.contains("keeps open files in sockets"), "{error}");
    });
}

#[test]
fn an_almost_full_disk_ends_who_fills_it() {
    both(|variant| {
        let run = |mib: u32, after: &str| {
            let code = format!(
                "import time\nf = open('a', 'wb', 0)\nfor i in range({mib}): f.write(b'x' * (1 << 20))\n{after}"
            );
            let mut unit = Unit::new(&variant, &code);
            unit.spec.limits.scratch_bytes = 200 << 20;
            unit.spec.limits.max_file_bytes = 200 << 20;
            unit.spec.floor_bytes = u64::MAX;
            unit.run().exit
        };
        let error = run(100, "time.sleep(1000)").error.unwrap();
        assert!(error.starts_with("The machine's disk is almost full, and the script holds "), "{error}");
        let innocent = run(1, "time.sleep(3)");
        assert_eq!((innocent.code, innocent.error), (Some(0), None));
    });
}

#[test]
fn a_process_without_its_first_thread_is_counted() {
    both(|variant| {
        let leave = |held: &str| {
            format!(
                "import ctypes, os, threading, time\ndef hold():\n    {held}\n    time.sleep(1000)\nthreading.Thread(target=hold).start()\nctypes.CDLL(None).syscall(60, 0)"
            )
        };
        let mut unit = Unit::new(&variant, &leave("time.sleep(0.5); held = bytearray(b'x' * (96 << 20))"));
        unit.spec.limits.memory_bytes = 64 << 20;
        let exit = unit.run().exit;
        assert!(exit.oom && exit.error.is_none(), "{exit:?}");
        let fill = "f = open('a', 'wb', 0); os.unlink('a'); [f.write(b'x' * (1 << 20)) for i in range(24)]";
        let mut unit = Unit::new(&variant, &leave(fill));
        unit.spec.limits.scratch_bytes = 16 << 20;
        let error = unit.run().exit.error;
        assert_eq!(error.as_deref(), Some("The scratch folder holds more than 16,777,216 bytes."));
    });
}

#[test]
fn pages_and_names_that_no_process_shows_are_memory() {
    both(|variant| {
        let shared = "import mmap, time\nm = mmap.mmap(-1, 96 << 20)\nfor i in range(96): m.write(b'x' * (1 << 20))\nm.madvise(mmap.MADV_DONTNEED)\ntime.sleep(1000)";
        let names =
            "import os, time\nfor i in range(120_000): os.close(os.open('/tmp/%d' % i, os.O_CREAT))\ntime.sleep(1000)";
        for code in [shared, names] {
            let mut unit = Unit::new(&variant, code);
            unit.spec.limits.memory_bytes = 80 << 20;
            let exit = unit.run().exit;
            assert!(exit.oom && exit.error.is_none(), "{exit:?}");
        }
    });
}

#[test]
fn one_file_is_limited() {
    both(|variant| {
        let code = "f = open('a', 'wb', 0)\ntry:\n    for i in range(9): f.write(b'x' * (1 << 20))\nexcept OSError as e: print(e.strerror)";
        let mut unit = Unit::new(&variant, code);
        unit.spec.limits.max_file_bytes = 4 << 20;
        assert_eq!(unit.run().stdout(), "File too large\n");
    });
}

#[test]
fn a_unit_that_prints_without_end_is_ended_in_time() {
    each(&[bwrap()], |variant| {
        let mut unit = Unit::new(&variant, "import os\nwhile True: os.write(1, b'x' * 65536)");
        unit.spec.limits.timeout_s = 1;
        let start = Instant::now();
        let ended = unit.run();
        assert!(ended.exit.timed_out, "{:?}", ended.exit);
        assert!(start.elapsed().as_secs() < 10);
        assert!(ended.stdout().len() <= 1 << 20);
    });
}
