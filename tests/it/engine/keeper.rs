//! What a keeper does with what a unit leaves, and how a unit ends with it.
//! Results and output of a script are hostile.

use std::{fs, os::unix::process::ExitStatusExt, process::Command};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use trends_earth::engine::process::{
    keeper::is_alive,
    spec::{Output, RESULT, STDOUT, Sandbox, WORK},
};

use super::unit::{Unit, both, bwrap, each, processes_with, program, wait_until};

/// Leaves the file `started` and then lives on, with a child and a grandchild of another session.
const LIVES_ON: &str = r#"
import os, sys, time
if not os.fork():
    os.setsid()
    if not os.fork():
        open("grandchild", "w").close()
        time.sleep(1000)
    time.sleep(1000)
while not os.path.exists("grandchild"): time.sleep(0.01)
open("started", "w").close()
time.sleep(1000)
"#;

fn all() -> [Sandbox; 4] {
    [bwrap(), Sandbox::Namespaces, Sandbox::Landlock, Sandbox::None]
}

#[test]
fn the_exit_says_how_the_script_ended() {
    each(&all(), |variant| {
        for (code, expected) in [
            ("print('done')", (Some(0), None)),
            ("raise SystemExit(3)", (Some(3), None)),
            ("raise SystemExit(137)", (Some(137), None)),
            ("import os; os.kill(os.getpid(), 11)", (None, Some(11))),
            ("import os; os.kill(os.getpid(), 9)", (None, Some(9))),
        ] {
            let ended = Unit::new(&variant, code).run();
            assert_eq!((ended.exit.code, ended.exit.signal), expected, "{code}");
            assert_eq!(ended.exit.error, None);
            assert!(!ended.exit.oom && !ended.exit.timed_out && !ended.exit.stopped);
            assert!(ended.status.success());
            assert_eq!(fs::read_dir(ended.unit.path(WORK)).unwrap().count(), 0);
        }
    });
}

#[test]
fn a_command_that_is_missing_is_said_in_a_sentence() {
    each(&all(), |variant| {
        let mut unit = Unit::new(&variant, "");
        unit.spec.argv[0] = "/usr/bin/no-such-python".into();
        let error = unit.run().exit.error.unwrap();
        assert!(error.starts_with("/usr/bin/no-such-python cannot be started: No such file"), "{error}");
        let mut unit = Unit::new(&variant, "");
        unit.spec.sandbox = Sandbox::Bwrap("/usr/bin/no-such-bwrap".into());
        let error = unit.run().exit.error.unwrap();
        assert!(error.contains("/usr/bin/no-such-bwrap cannot be started"), "{error}");
    });
}

#[test]
fn a_sandbox_that_fails_is_said_in_a_sentence() {
    both(|variant| {
        let mut unit = Unit::new(&variant, "print(1)");
        unit.spec.binds.push(trends_earth::engine::process::spec::Bind {
            source: "/usr/bin/true".into(),
            target: "/usr/no/such/place".into(),
            writable: false,
        });
        let error = unit.run().exit.error.unwrap();
        assert!(error.contains("Read-only file system") || error.contains("Can't mkdir"), "{error}");
    });
}

#[test]
fn daemons_are_gone_at_the_end() {
    each(&all(), |variant| {
        // `end` asserts that no process with the unit's marker is left.
        let ended =
            Unit::new(&variant, &LIVES_ON.replace("open(\"started\", \"w\").close()\ntime.sleep(1000)", "")).run();
        assert_eq!(ended.exit.code, Some(0));
    });
}

#[test]
fn the_file_stop_ends_a_unit() {
    each(&all(), |variant| {
        let mut running = Unit::new(&variant, LIVES_ON).start();
        running.wait_for("started");
        running.stop();
        let ended = running.end();
        assert!(ended.exit.stopped && !ended.exit.timed_out && ended.exit.error.is_none(), "{:?}", ended.exit);
    });
}

#[test]
fn nothing_lives_on_when_the_keeper_is_killed() {
    each(&all(), |variant| {
        let mut running = Unit::new(&variant, LIVES_ON).start();
        running.wait_for("started");
        assert!(is_alive(&running.unit.folder));
        assert!(!processes_with(&running.unit.marker).is_empty());
        running.keeper.kill().unwrap();
        assert_eq!(running.keeper.wait().unwrap().signal(), Some(9));
        wait_until("no child holds the lock", || !is_alive(&running.unit.folder));
        wait_until("the unit is gone", || processes_with(&running.unit.marker).is_empty());
    });
}

#[test]
fn a_keeper_hears_no_signal_of_a_terminal() {
    each(&[bwrap()], |variant| {
        let mut running = Unit::new(
            &variant,
            "open('started', 'w')\nimport os, time\nwhile not os.path.exists('go'): time.sleep(0.01)",
        )
        .start();
        running.wait_for("started");
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            kill(Pid::from_raw(running.keeper.id().cast_signed()), signal).unwrap();
        }
        fs::write(running.unit.path(WORK).join("go"), "").unwrap();
        let ended = running.end();
        assert_eq!(ended.exit.code, Some(0));
    });
}

#[test]
fn a_keeper_without_its_lock_does_nothing() {
    let folder = std::env::temp_dir().join(format!("trends-earth-{}", uuid::Uuid::new_v4()));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("alive.lock"), "").unwrap();
    fs::write(folder.join("spec.json"), "{}").unwrap();
    let keep = |input: &std::path::Path| {
        let stdin = fs::File::open(input).unwrap();
        Command::new(program()).arg("keep").arg(&folder).stdin(stdin).status().unwrap()
    };
    assert_eq!(keep(std::path::Path::new("/dev/null")).code(), Some(2));
    let other = fs::File::open(folder.join("alive.lock")).unwrap();
    other.lock().unwrap();
    assert_eq!(keep(&folder.join("alive.lock")).code(), Some(2));
    assert!(!folder.join("exit.json").exists());
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn of_a_flood_the_head_and_the_tail_are_kept() {
    both(|variant| {
        let code = "import sys\nprint('first')\nfor i in range(1000): sys.stdout.write('x' * 99999 + '\\n')\nprint('last', file=sys.stderr)";
        let ended = Unit::new(&variant, code).run();
        let out = ended.stdout();
        assert!(out.starts_with("first\nxxx") && out.ends_with("xxx\nlast\n"), "{}", &out[..100]);
        assert!(out.len() <= 1 << 20 && out.len() > (1 << 20) - 200, "{}", out.len());
        assert!(out.contains("\n[... 98,9") && out.contains(" bytes are left out here ...]\n"));
        let ended = Unit::new(&variant, "print('a'); print('b')").run();
        assert_eq!(ended.stdout(), "a\nb\n");
    });
}

#[test]
fn what_a_build_prints_becomes_log_entries() {
    both(|variant| {
        let code = r#"
import os
os.write(1, b"plain\n")
os.write(2, b"error\r\n")
os.write(1, b"\xff\x00\x1b[31mred\n\n")
os.write(1, b"y" * 20000 + b"\nno end")
"#;
        let mut unit = Unit::new(&variant, code);
        unit.spec.output = Output::Journal;
        let ended = unit.run();
        let long = "y".repeat(10_000);
        let expected = ["plain", "error", "\u{fffd}\u{fffd}\u{1b}[31mred", "", &long, "no end"];
        assert_eq!(ended.log(), expected.map(|text| ("INFO".to_owned(), text.to_owned())));
        assert!(!ended.unit.path(STDOUT).exists());
        let mut unit = Unit::new(&variant, "for i in range(1000): print('z' * 99)");
        unit.spec.output = Output::Journal;
        unit.spec.journal_bytes = 10_000;
        let log = unit.run().log();
        assert_eq!(log.len(), 101);
        assert_eq!(log[100].1, "The output is longer than 10,000 bytes; the rest is left out.");
    });
}

#[test]
fn a_result_must_be_a_file_of_bounded_size() {
    each(&all(), |variant| {
        let cases = [
            ("import os; os.symlink('/etc/passwd', out)", Some("The result is not a regular file.")),
            ("import os; os.mkfifo(out)", Some("The result is not a regular file.")),
            ("import os; os.mkdir(out)", Some("The result is not a regular file.")),
            ("import socket; socket.socket(1).bind(out)", Some("The result is not a regular file.")),
            ("f = open(out, 'w'); f.truncate((64 << 20) + 1)", Some("The result is larger than 67,108,864 bytes.")),
            ("pass", None),
        ];
        for (code, error) in cases {
            // A socket's path is short, the folder's outside may not be.
            let code = format!(
                "import os\nout = os.path.basename(os.environ['OUT'])\nos.chdir(os.path.dirname(os.environ['OUT']))\n{code}"
            );
            let ended = Unit::new(&variant, &code).run();
            assert_eq!(ended.exit.error.as_deref(), error, "{code}");
            assert_eq!(ended.exit.code, Some(0));
            assert!(!ended.unit.path(RESULT).exists());
        }
        let code =
            "import os; open(os.environ['OUT'], 'w').write('{}'); os.link(os.environ['OUT'], os.environ['OUT'] + '2')";
        let ended = Unit::new(&variant, code).run();
        let path = ended.unit.path(RESULT);
        assert_eq!(fs::read(&path).unwrap(), b"{}");
        assert_eq!(std::os::unix::fs::MetadataExt::nlink(&fs::metadata(path).unwrap()), 1);
    });
}

#[test]
fn what_a_unit_closed_is_opened_again() {
    both(|variant| {
        let code = "import os; os.makedirs('a/b/c'); open('a/b/c/d', 'w'); os.chmod('a/b', 0); os.chmod('a', 0)\n\
            open(os.environ['OUT'], 'w').write('{}'); os.chmod('/te/out', 0); os.chmod('/work', 0); os.chmod('/te/journal.ndjson', 0)";
        let ended = Unit::new(&variant, code).run();
        assert_eq!(ended.exit.code, Some(0));
        assert_eq!(fs::read_dir(ended.unit.path(WORK)).unwrap().count(), 0);
        assert_eq!(fs::read(ended.unit.path(RESULT)).unwrap(), b"{}");
        assert_eq!(ended.log(), []);
    });
}
