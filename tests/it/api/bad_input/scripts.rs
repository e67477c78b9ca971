//! Scripts that end badly or mean harm: each gets the right class and sentence within seconds, and the server goes on.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Client, Options, Package, Server};

/// How long a hostile run may take at most, on a loaded machine.
const SOON: Duration = Duration::from_secs(60);

struct House {
    server: Server,
    admin: Client,
}

impl House {
    async fn open() -> Self {
        let server = Server::with(Options::default().set("TE_LOG_MAX_BYTES", 100_000)).await;
        let admin = server.admin().await;
        House { server, admin }
    }

    /// Builds and runs a script whose `run` has this body; the run as it ended.
    async fn run(&self, name: &str, body: &str) -> Value {
        self.run_with(name, body, |package| package).await
    }

    async fn run_with(&self, name: &str, body: &str, change: impl Fn(Package) -> Package) -> Value {
        let mut main = String::from("import os, signal, sys, time\n\ndef run(params, logger):\n");
        for line in body.lines() {
            main += &format!("    {line}\n");
        }
        let slug = self.admin.publish_built(&change(Package::new(name, &main))).await;
        let begun = Instant::now();
        let run = self.admin.finish(&slug, &json!({})).await;
        assert!(begun.elapsed() < SOON, "{name} took {:?}", begun.elapsed());
        self.server.unit_is_gone(run["id"].as_str().unwrap()).await;
        run
    }

    async fn fails(&self, name: &str, body: &str, class: &str, message: &str) -> Value {
        let run = self.run(name, body).await;
        self.failed(&run, class, &[message]).await;
        run
    }

    /// Checks the failure of a run: class, sentence, last log line.
    async fn failed(&self, run: &Value, class: &str, messages: &[&str]) {
        assert_eq!(run["status"], "FAILED", "{run:#}");
        let (failure, id) = (&run["failure"], run["id"].as_str().unwrap());
        let message = failure["message"].as_str().unwrap();
        assert_eq!(failure["class"], class, "{run:#}");
        assert!(messages.contains(&message), "{message:?} is none of {messages:?}");
        assert_eq!(self.admin.log(id).await.last().map(String::as_str), Some(message));
        assert_eq!((&run["results"], &run["progress"]), (&json!({}), &json!(100)));
        assert!(failure["hint"].is_string() || class == "script_error", "{failure}");
    }

    /// The server answers, and runs the next script.
    async fn goes_on(&self) {
        let health = self.admin.get("/api-health").await.expect(200);
        assert_eq!(health["database"], "healthy");
        let slug = self.admin.publish_built(&Package::echo("Afterwards")).await;
        assert_eq!(self.admin.finish(&slug, &json!({})).await["status"], "FINISHED");
    }

    /// Processes of this machine with this word on their command line.
    fn processes(&self, word: &str) -> usize {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        all.filter(|process| {
            std::fs::read(process.path().join("cmdline"))
                .is_ok_and(|line| line.windows(word.len()).any(|part| part == word.as_bytes()))
        })
        .count()
    }
}

#[tokio::test]
async fn every_way_to_end_without_a_result_has_its_sentence() {
    let house = House::open().await;
    let exits = "The script called exit before it returned a result.";
    let no_result = "The script ended without reporting a result.";
    for (n, (body, class, message)) in [
        ("raise ValueError('boom <b>')", "script_error", "The script failed with ValueError: boom <b>"),
        ("raise RuntimeError", "script_error", "The script failed with RuntimeError."),
        ("return params['missing']", "script_error", "The script failed with KeyError: 'missing'"),
        ("sys.exit(0)", "script_error", exits),
        ("exit()", "script_error", exits),
        ("sys.exit(3)", "script_error", "The script called exit(3) before it returned a result."),
        ("sys.exit('no data')", "script_error", "The script called exit before it returned a result: no data"),
        ("raise KeyboardInterrupt", "script_error", "The script was interrupted."),
        ("os._exit(0)", "script_error", no_result),
        ("os._exit(3)", "script_error", "The script ended with exit code 3 before it returned a result."),
        ("os.abort()", "script_error", "The script was ended by signal 6 before it returned a result."),
        ("os.kill(os.getpid(), 9)", "script_error", "The script was ended by signal 9 before it returned a result."),
        ("import ctypes; ctypes.string_at(0)", "script_error", "The script was ended by signal 11 before it returned a result."),
        ("class UserInputError(Exception): pass\nraise UserInputError('Choose a smaller area.')", "user_input", "Choose a smaller area."),
        ("import nothing_such", "script_error", "The script failed with ModuleNotFoundError: No module named 'nothing_such' (is its package named in requirements.txt?)"),
        ("def again(): again()\nagain()", "script_error", "The script failed with RecursionError: maximum recursion depth exceeded"),
    ]
    .into_iter()
    .enumerate()
    {
        let run = house.fails(&format!("End {n}"), body, class, message).await;
        assert_eq!(run["failure"]["retryable"], false, "{body}");
    }
    house.goes_on().await;
}

#[tokio::test]
async fn exit_code_and_signal_are_told() {
    let house = House::open().await;
    for (n, (body, code, signal)) in [
        ("os._exit(3)", json!(3), Value::Null),
        ("os._exit(0)", json!(0), Value::Null),
        ("raise ValueError", json!(1), Value::Null),
        ("os.kill(os.getpid(), 9)", json!(137), json!(9)),
    ]
    .into_iter()
    .enumerate()
    {
        let failure = house.run(&format!("Code {n}"), body).await["failure"].clone();
        let told = &failure["exit_code"];
        assert!(*told == code || (!signal.is_null() && told.is_null()), "{body}: {failure}");
        assert_eq!(failure["signal"], signal, "{body}: {failure}");
    }
}

#[tokio::test]
async fn what_is_no_json_is_refused_with_its_type_and_place() {
    let house = House::open().await;
    let deep = "The script's result is nested too deeply or contains itself, at results";
    for (n, (body, message)) in [
        ("return object()", "The script returned a value of type 'object' at results, which is not JSON."),
        (
            "return {'a': [1, {'b': {1, 2}}]}",
            "The script returned a value of type 'set' at results.a[1].b, which is not JSON.",
        ),
        ("return {'f': run}", "The script returned a value of type 'function' at results.f, which is not JSON."),
        ("return b'bytes'", "The script returned a value of type 'bytes' at results, which is not JSON."),
    ]
    .into_iter()
    .enumerate()
    {
        house.fails(&format!("No Json {n}"), body, "script_error", message).await;
    }
    let run = house.run("Circle", "a = {}\na['a'] = a\nreturn a").await;
    assert!(run["failure"]["message"].as_str().unwrap().starts_with(deep), "{run:#}");
    // Written past the runner.
    let place = "os.environ.get('TE_OUT', '/te/out') + '/result.json'";
    for (n, text) in ["nonsense", "", "{\"a\":1", "\\xff\\xfe"].into_iter().enumerate() {
        let body = format!("open({place}, 'wb').write(b'{text}')\nos._exit(0)");
        let run = house.run(&format!("Forged {n}"), &body).await;
        let message = run["failure"]["message"].as_str().unwrap();
        assert!(message.starts_with("The result is not JSON: "), "{text}: {message}");
        assert_eq!((&run["status"], &run["failure"]["class"]), (&json!("FAILED"), &json!("script_error")));
    }
    house.goes_on().await;
}

#[tokio::test]
async fn a_run_that_sleeps_past_its_time_is_stopped() {
    let house = House::open().await;
    for (name, body) in [
        ("Sleeps", "time.sleep(600)"),
        ("Spins", "while True: pass"),
        ("Deaf", "for s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)\ntime.sleep(600)"),
    ] {
        let run = house.run_with(name, body, |package| package.with("timeout_s", 2)).await;
        let message = "The run took longer than its limit of 2 seconds and was stopped.";
        house.failed(&run, "timeout", &[message]).await;
        let hint = "Ask for a smaller area, or have the script's timeout_s raised.";
        assert_eq!((&run["failure"]["hint"], &run["failure"]["retryable"]), (&json!(hint), &json!(false)));
    }
    house.goes_on().await;
}

#[tokio::test]
async fn a_run_that_eats_memory_is_stopped_also_when_its_children_eat_it() {
    let house = House::open().await;
    let message = "The run used more than its limit of 100,000,000 bytes of memory and was stopped.";
    let eat = "kept = []\nwhile True:\n    kept.append(bytearray(os.urandom(1000)) * 5000)\n    time.sleep(0.01)";
    let in_a_child = format!("if os.fork() == 0:\n    {}\nos.wait()\ntime.sleep(600)", eat.replace('\n', "\n    "));
    let together = "for n in range(8):\n    if os.fork() == 0:\n        kept = bytearray(os.urandom(1000)) * 20000\n        time.sleep(600)\ntime.sleep(600)";
    for (name, body) in [("Eats", eat), ("Child Eats", &in_a_child), ("Eat Together", together)] {
        let limit = |package: Package| package.with("memory_limit", 100_000_000).with("memory_reservation", 50_000_000);
        let run = house.run_with(name, body, limit).await;
        house.failed(&run, "out_of_memory", &[message]).await;
        let hint = "Ask for a smaller area, or have the script's memory_limit raised.";
        assert_eq!(run["failure"]["hint"], hint);
    }
    house.goes_on().await;
}

#[tokio::test]
async fn a_run_that_forks_without_end_is_stopped_and_the_machine_lives() {
    let house = House::open().await;
    for (name, body) in [
        ("Forks", "while True:\n    os.fork()"),
        (
            "Threads",
            "import threading\nwhile True:\n    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
        ),
    ] {
        let run = house.run_with(name, body, |package| package.with("max_processes", 50).with("timeout_s", 20)).await;
        let messages = [
            "The script had more than 50 processes at one time.",
            "The script failed with BlockingIOError: [Errno 11] Resource temporarily unavailable",
            "The script failed with RuntimeError: can't start new thread",
        ];
        house.failed(&run, "script_error", &messages).await;
    }
    house.goes_on().await;
}

#[tokio::test]
async fn what_a_run_leaves_running_is_gone_after_its_end() {
    let house = House::open().await;
    let word = uuid::Uuid::new_v4().to_string();
    let daemon = format!(
        "import subprocess\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(600)', '{word}'])\n    os._exit(0)\nos.wait()\nwhile not any(b'{word}' in open(f'/proc/{{p}}/cmdline', 'rb').read() for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()):\n    time.sleep(0.01)\nlogger.info('begun')\n"
    );
    let run = house.run("Daemon", &format!("{daemon}return {{}}")).await;
    assert_eq!(run["status"], "FINISHED", "{run:#}");
    assert_eq!(house.processes(&word), 0);
    // The same, seen alive and then cancelled.
    let mut main = String::from("import os, sys, time\ndef run(params, logger):\n");
    for line in format!("{daemon}time.sleep(600)").lines() {
        main += &format!("    {line}\n");
    }
    let slug = house.admin.publish_built(&Package::new("Living Daemon", &main)).await;
    let id = house.admin.run(&slug, &json!({})).await;
    house.admin.said(&id, "begun").await;
    assert_eq!(house.processes(&word), 1);
    house.admin.post_empty(&format!("/api/v1/execution/{id}/cancel")).await.expect(202);
    assert_eq!(house.admin.ended(&id).await["status"], "CANCELLED");
    house.server.unit_is_gone(&id).await;
    assert_eq!(house.processes(&word), 0);
    house.goes_on().await;
}

#[tokio::test]
async fn a_hundred_megabytes_of_output_fill_neither_log_nor_disk() {
    let house = House::open().await;
    let body = "line = 'x' * 999\nfor n in range(100_000):\n    print(line)\nsys.stdout.write('y' * 5_000_000)\nreturn {'done': True}";
    let run = house.run("Prints", body).await;
    assert_eq!((&run["status"], &run["results"]), (&json!("FINISHED"), &json!({"done": true})), "{run:#}");
    let unit = house.server.folder.join("runs").join(run["id"].as_str().unwrap());
    let bytes: u64 = house
        .server
        .files(&[&format!("runs/{}", run["id"].as_str().unwrap())])
        .iter()
        .filter_map(|path| std::fs::symlink_metadata(path).ok())
        .map(|meta| meta.len())
        .sum();
    assert!(bytes < 12 << 20, "{} bytes in {}", bytes, unit.display());
    house.goes_on().await;
}

#[tokio::test]
async fn a_flood_of_log_lines_is_cut_at_its_limit_with_one_word_of_it() {
    let house = House::open().await;
    let body =
        "for n in range(20_000):\n    logger.info('%06d ' % n + 'x' * 100)\nlogger.info('z' * 1_000_000)\nreturn {}";
    let run = house.run("Floods", body).await;
    assert_eq!(run["status"], "FINISHED", "{run:#}");
    let log = house.admin.log(run["id"].as_str().unwrap()).await;
    assert_eq!(log.last().unwrap(), "The log has reached its limit of 100,000 bytes; later lines are not kept.");
    assert!(log[0].starts_with("000000 ") && log[1].starts_with("000001 "));
    assert!(log.iter().map(String::len).sum::<usize>() < 110_000);
    // How it ended is told all the same.
    let run = house
        .run("Floods And Raises", "for n in range(20_000):\n    logger.info('x' * 100)\nraise ValueError('at last')")
        .await;
    house.failed(&run, "script_error", &["The script failed with ValueError: at last"]).await;
    house.goes_on().await;
}

#[tokio::test]
async fn a_huge_result_is_refused_with_its_bound() {
    let house = House::open().await;
    let message = "The result is larger than 67,108,864 bytes.";
    house.fails("Huge", "return 'x' * 70_000_000", "script_error", message).await;
    let many = house.run("Many Values", "return list(range(1_000_001))").await;
    assert_eq!(many["status"], "FINISHED", "{:#}", many["failure"]);
    assert_eq!(many["results"].as_array().unwrap().len(), 1_000_001);
    let large = house.run("Large", "return {'text': 'x' * 20_000_000}").await;
    assert_eq!(large["status"], "FINISHED", "{:#}", large["failure"]);
    assert_eq!(large["results"]["text"].as_str().unwrap().len(), 20_000_000);
    house.goes_on().await;
}

#[tokio::test]
async fn links_in_place_of_journal_and_result_lead_nowhere() {
    let house = House::open().await;
    let not_a_file = "The result is not a regular file.";
    let out = "out = os.environ.get('TE_OUT', '/te/out') + '/result.json'\n";
    for (n, made) in [
        "os.symlink('/etc/passwd', out)",
        "os.symlink('/proc/self/environ', out)",
        "os.symlink('result.json', out)",
        "os.mkdir(out)",
        "os.mkfifo(out)",
        "import socket; socket.socket(socket.AF_UNIX).bind(out)",
    ]
    .into_iter()
    .enumerate()
    {
        let body = format!("{out}{made}\nos._exit(0)");
        house.fails(&format!("Link {n}"), &body, "script_error", not_a_file).await;
    }
    let journal = "journal = os.environ.get('TE_JOURNAL', '/te/journal.ndjson')\n";
    for (n, done) in [
        "os.unlink(journal); os.symlink('/etc/passwd', journal)",
        "os.symlink('/etc/passwd', journal + '.new'); os.rename(journal + '.new', journal)",
        "open(journal, 'w').write('root:x:0:0\\n{\"at\":0,\"log\":{\"level\":\"INFO\",\"text\":\"forged\"}}\\n')",
        "open(journal, 'ab').write(b'\\xff\\x00{]\\n' + b'[' * 100_000 + b'\\n')",
        "os.truncate(journal, 0)",
    ]
    .into_iter()
    .enumerate()
    {
        let body = format!(
            "logger.info('before')\n{journal}try:\n    {done}\nexcept OSError as error:\n    print(error)\nlogger.info('after')\nreturn {{}}"
        );
        let run = house.run(&format!("Journal {n}"), &body).await;
        assert_eq!(run["status"], "FINISHED", "{done}: {run:#}");
        let log = house.admin.log(run["id"].as_str().unwrap()).await;
        assert!(!log.iter().any(|line| line.contains("root:")), "{done}: {log:#?}");
    }
    house.goes_on().await;
}

#[tokio::test]
async fn a_run_cannot_reach_the_server_s_own_files_and_secrets() {
    let house = House::open().await;
    let folder = house.server.folder.display().to_string();
    let body = format!(
        "seen = []\nfor path in ['{folder}/server.log', '{folder}/trends-earth.db', '{folder}', '/root', '/etc/shadow']:\n    try:\n        os.listdir(path) if os.path.isdir(path) else open(path).read()\n        seen.append(path)\n    except OSError:\n        pass\ntext = ' '.join(list(os.environ) + list(os.environ.values()))\nreturn {{'seen': seen, 'secret': 'jwt' in text.lower() or 'Passw0rd' in text}}"
    );
    let run = house.run("Looks Around", &body).await;
    assert_eq!(run["status"], "FINISHED", "{run:#}");
    assert_eq!(run["results"]["secret"], false);
    let seen = run["results"]["seen"].as_array().unwrap();
    assert!(seen.iter().all(|path| path == "/root"), "an empty folder of that name at most: {seen:?}");
}

#[tokio::test]
async fn what_is_no_word_in_the_journal_is_passed_over_and_the_run_ends() {
    let house = House::open().await;
    let body = "time.sleep(0.5)\nopen('/te/journal.ndjson', 'a').write('x\\n{}\\n[1]\\n\\n')\nreturn {'ok': 1}";
    let run = house.run("Mumbles", body).await;
    assert_eq!((&run["status"], &run["results"]), (&json!("FINISHED"), &json!({"ok": 1})), "{run:#}");
}
