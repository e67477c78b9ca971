//! Environments: the build unit on each rung of the ladder against an index of our own, keys, and folders put in place.
//! The unit is run here without its sandbox, in the way of a keeper that has no namespaces: paths are exchanged.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use trends_earth::store::Id;
use trends_earth::{
    build::requirements::Requirements,
    engine::{
        Network,
        process::{
            environment::{Build, Index, Installed, Ladder, Policy, PrepareError, exit, key, remove_tree, seal},
            python::{self, Interpreter},
            spec::{Output, Sandbox, Spec},
        },
    },
};
use uuid::Uuid;

use crate::support::{PackageIndex, source, wheel};

// ------------------------------------------------------------------------------------------------ an index of our own

fn packages() -> HashMap<String, Vec<u8>> {
    [
        wheel("greeting", "1.0", &["helper>=1"]),
        wheel("greeting", "2.0", &["helper>=1"]),
        wheel("helper", "1.5", &[]),
        source("homemade", "0.1", ""),
    ]
    .into()
}

// ------------------------------------------------------------------------------------------------ a build

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("te-environment-{}", Uuid::new_v4()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = remove_tree(&self.0);
    }
}

fn path() -> OsString {
    std::env::var_os("PATH").unwrap()
}

fn home() -> OsString {
    std::env::var_os("HOME").unwrap()
}

fn interpreter() -> Interpreter {
    python::find(None, &path(), Some(&home())).unwrap()
}

fn index(url: &str) -> Index {
    Index { urls: vec![format!("{url}/simple")], ..Index::default() }
}

const MAIN: &str = "def run(params, logger):\n    return {}\n";

struct Case {
    folder: Folder,
    requirements: Requirements,
    policy: Policy,
    interpreter: Interpreter,
    ladder: Ladder,
    index: Index,
}

struct Ended {
    code: i32,
    lines: Vec<String>,
    installed: Option<Installed>,
}

impl Case {
    fn new(requirements: &str, policy: Policy, ladder: Ladder, index: Index) -> Self {
        let folder = Folder::new();
        for name in ["script/src", "out", "work"] {
            fs::create_dir_all(folder.0.join(name)).unwrap();
        }
        fs::write(folder.0.join("script/src/main.py"), MAIN).unwrap();
        let requirements = Requirements::parse(requirements).unwrap();
        Self { folder, requirements, policy, interpreter: interpreter(), ladder, index }
    }

    fn environment(&self) -> PathBuf {
        self.folder.0.join("environment")
    }

    fn prepare(&self) -> Result<Spec, PrepareError> {
        Build {
            id: Id(Uuid::nil()),
            script: &self.folder.0.join("script"),
            requirements: &self.requirements,
            policy: self.policy,
            environment: &self.environment(),
            inputs: &self.folder.0.join("inputs"),
            runtime: &Path::new(env!("CARGO_MANIFEST_DIR")).join("runtime"),
            interpreter: &self.interpreter,
            ladder: &self.ladder,
            index: &self.index,
            sandbox: Sandbox::None,
            uid: None,
            timeout_s: 900,
            floor_bytes: 0,
        }
        .prepare()
    }

    fn run(&self) -> Ended {
        let spec = self.prepare().unwrap();
        let mut moves: Vec<(String, String)> = spec
            .binds
            .iter()
            .map(|bind| (bind.target.display().to_string(), bind.source.display().to_string()))
            .collect();
        for (inside, name) in [("/work", "work"), ("/te/out", "out")] {
            moves.push((inside.into(), self.folder.0.join(name).display().to_string()));
        }
        let moved = |word: &str| {
            let (before, path) = word.split_once('=').map_or(("", word), |(name, path)| (&word[..=name.len()], path));
            let hit = moves.iter().find(|(inside, _)| {
                path.strip_prefix(inside.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            });
            hit.map_or(word.to_owned(), |(inside, outside)| format!("{before}{outside}{}", &path[inside.len()..]))
        };
        let mut child = Command::new(&spec.argv[0])
            .args(spec.argv[1..].iter().map(|word| moved(word)))
            .env_clear()
            .envs(
                spec.env
                    .iter()
                    .filter(|(name, _)| !name.to_lowercase().ends_with("_proxy"))
                    .map(|(name, value)| (name, moved(value))),
            )
            .current_dir(self.folder.0.join("work"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).collect();
        let code = child.wait().unwrap().code().unwrap();
        Ended { code, lines, installed: Installed::read(&self.folder.0.join("out")).ok() }
    }
}

fn venv() -> Ladder {
    Ladder { venv: true, ..Ladder::default() }
}

/// What the environment's own Python says.
fn says(environment: &Path, program: &str) -> String {
    let output = Command::new(environment.join("bin/python")).args(["-I", "-c", program]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn fills_an_environment(rung: &str, ladder: Ladder) -> Case {
    let case = Case::new("Greeting<2", Policy::Wheels, ladder, index(&PackageIndex::serve(packages()).url));
    let ended = case.run();
    assert_eq!(ended.code, 0, "{:#?}", ended.lines);
    let installed = ended.installed.unwrap();
    assert_eq!(installed.rung.as_deref(), Some(rung));
    let frozen: Vec<&String> = installed.frozen.iter().filter(|line| !line.starts_with("setuptools")).collect();
    assert_eq!(frozen, ["greeting==1.0", "helper==1.5"]);
    assert!(ended.lines.last().unwrap().starts_with("Installed"), "{:#?}", ended.lines);
    assert_eq!(
        says(&case.environment(), "import greeting, helper; print(greeting.VERSION, helper.VERSION)"),
        "1.0 1.5"
    );

    case
}

/// A package without a wheel is a case for the other policy; what no policy finds is the author's mistake.
fn tells_failures_apart(case: Case) {
    let mut homemade = Case::new("homemade", Policy::Wheels, case.ladder.clone(), case.index.clone());
    let ended = homemade.run();
    assert_eq!((ended.code, ended.installed), (exit::NO_WHEEL, None), "{:#?}", ended.lines);
    assert_eq!(ended.lines.last().unwrap(), "Not every package has a wheel for this Python.");
    homemade.policy = Policy::Sources;
    homemade.folder = Case::new("", Policy::Sources, venv(), Index::default()).folder;
    let ended = homemade.run();
    assert_eq!(ended.code, 0, "{:#?}", ended.lines);
    assert!(ended.installed.unwrap().frozen.contains(&"homemade==0.1".to_owned()));

    let Case { ladder, index, .. } = case;
    let ended = Case::new("greeting==7", Policy::Sources, ladder, index).run();
    assert_eq!(ended.code, exit::AUTHOR, "{:#?}", ended.lines);
    assert_eq!(
        ended.lines.last().unwrap(),
        "The packages of requirements.txt could not be installed; see the lines above."
    );
}

#[test]
fn uv_fills_an_environment() {
    let found = Ladder::find(&interpreter(), &path(), Some(&home()));
    if found.uv.is_none() {
        eprintln!("skipped: this machine has no uv");
        return;
    }
    tells_failures_apart(fills_an_environment("uv", Ladder { uv: found.uv, ..Ladder::default() }));
}

#[test]
fn venv_fills_an_environment_where_uv_is_missing() {
    fills_an_environment("venv", venv());
}

#[test]
fn the_host_s_pip_fills_an_environment_where_ensurepip_is_missing() {
    tells_failures_apart(fills_an_environment("pip", Ladder { pip: true, ..Ladder::default() }));
}

#[test]
fn a_rung_that_breaks_leads_to_the_next() {
    let folder = Folder::new();
    let uv = folder.0.join("uv");
    symlink("/bin/false", &uv).unwrap();
    let case = Case::new(
        "helper",
        Policy::Wheels,
        Ladder { uv: Some(uv), pip: true, venv: false },
        index(&PackageIndex::serve(packages()).url),
    );
    let ended = case.run();
    assert_eq!((ended.code, ended.installed.unwrap().rung.as_deref()), (0, Some("pip")), "{:#?}", ended.lines);
    assert!(ended.lines.contains(&"The installer uv cannot make an environment here.".to_owned()));
}

#[test]
fn without_an_installer_a_sentence_says_what_to_install() {
    let mut case = Case::new("helper", Policy::Wheels, Ladder::default(), Index::default());
    let error = case.prepare().unwrap_err().to_string();
    assert!(error.contains("no installer") && error.ends_with("apt install python3-venv"), "{error}");
    case.requirements = Requirements::default();
    assert!(case.prepare().is_ok(), "nothing required needs only an interpreter");
}

#[test]
fn an_index_that_does_not_answer_is_said_in_one_sentence() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [closed, silent.local_addr().unwrap()] {
        let begun = Instant::now();
        let ended = Case::new("helper", Policy::Wheels, venv(), index(&format!("http://{address}"))).run();
        assert_eq!(ended.code, exit::NETWORK);
        assert_eq!(ended.lines, [format!("The package index {address} does not answer.")]);
        assert!(begun.elapsed().as_secs() < 60);
    }
}

#[test]
fn folders_of_packages_are_enough_where_the_index_is_away() {
    let folder = Folder::new();
    for (name, bytes) in packages() {
        fs::write(folder.0.join(name), bytes).unwrap();
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut index = index(&format!("http://{closed}"));
    index.folders = vec![folder.0.clone()];
    let ended = Case::new("greeting", Policy::Wheels, Ladder { pip: true, ..Ladder::default() }, index).run();
    assert_eq!(ended.code, 0, "{:#?}", ended.lines);
    assert!(ended.installed.unwrap().frozen.contains(&"greeting==2.0".to_owned()));
    assert!(ended.lines[0].ends_with("Only the folders of packages are looked into."));
}

#[test]
fn without_requirements_only_the_author_s_file_is_checked() {
    let case = Case::new("# nothing\n", Policy::Wheels, Ladder::default(), Index::default());
    let spec = case.prepare().unwrap();
    assert!(spec.gate.is_none() && spec.limits.network == Network::None);
    let ended = case.run();
    assert_eq!((ended.code, ended.lines), (0, vec![]));
    assert_eq!(ended.installed, Some(Installed::default()));
    assert!(!case.environment().exists());
}

#[test]
fn the_author_s_mistakes_in_main_are_said_with_their_line() {
    let case = Case::new("", Policy::Wheels, Ladder::default(), Index::default());
    let main = case.folder.0.join("script/src/main.py");
    for good in [
        MAIN,
        "def run(params, logger=None, *more, **named): pass",
        "def run(*arguments): pass",
        "async def other(): pass\nrun = lambda params, logger: 1",
        "from helper import run",
        "from helper import other as run",
        "from helper import *",
        "import helper as run",
        "class run:\n    def __init__(self, params, logger): pass",
        "try:\n    import fast\nexcept ImportError:\n    def run(p, l): pass\nelse:\n    def run(p, l): pass",
        "if True:\n    def run(p): pass\nelse:\n    def run(p, l): pass",
        "first, run = 1, print",
        "run: object = print",
        "import functools\n@functools.cache\ndef run(a): pass",
        "# -*- coding: latin-1 -*-\ndef run(params, logger): return '\u{e9}'",
    ] {
        fs::write(&main, good).unwrap();
        let ended = case.run();
        assert_eq!(ended.code, 0, "{good}: {:?}", ended.lines);
    }
    let nested = format!("run = {}1{}", "(".repeat(500), ")".repeat(500));
    let chain = format!("if 0: pass\n{}def run(a, b): pass", "elif 0: pass\n".repeat(5000));
    for (bad, sentence) in [
        ("", "src/main.py does not define run: it needs a function run(params, logger) at its top level."),
        ("print('x')", "does not define run"),
        ("def main(params, logger): pass", "does not define run"),
        ("class Script:\n    def run(self, params, logger): pass", "does not define run"),
        ("def outer():\n    def run(p, l): pass\n    run = 1", "does not define run"),
        ("run: object", "does not define run"),
        ("x = [run for run in []]", "does not define run"),
        ("print(run)", "does not define run"),
        ("def run(params, logger)\n    pass", "src/main.py, line 1: expected ':'"),
        ("def run(p, l):\n  return 1\n return 2", "src/main.py, line 3:"),
        ("return 5", "src/main.py, line 1: 'return' outside function"),
        ("def run(p, l):\n    await x", "line 2"),
        ("async def run(params, logger): pass", "line 1: run is an async function"),
        ("\ndef run(): pass", "line 2: run is called as run(params, logger)"),
        ("def run(params): pass", "must take these two"),
        ("def run(a, b, c): pass", "must take these two"),
        ("def run(a, b, *, c): pass", "must take these two"),
        ("run = '\0'", "null byte"),
        (&nested, "src/main.py"),
        (&chain, ""),
    ] {
        fs::write(&main, bad).unwrap();
        let ended = case.run();
        let last = ended.lines.last().cloned().unwrap_or_default();
        assert!(ended.code == exit::AUTHOR || sentence.is_empty(), "{bad:.50}: {} {:?}", ended.code, ended.lines);
        assert!(last.contains(sentence) && ended.lines.len() <= 1, "{bad:.50}: {:?}", ended.lines);
    }
    fs::write(&main, b"run = '\xff'").unwrap();
    assert_eq!(case.run().code, exit::AUTHOR);
    fs::remove_file(&main).unwrap();
    let ended = case.run();
    assert_eq!(ended.code, exit::AUTHOR);
    assert!(ended.lines[0].starts_with("src/main.py is missing"));
    fs::create_dir(&main).unwrap();
    assert_eq!(case.run().code, exit::AUTHOR);
}

#[test]
fn the_unit_sees_what_it_needs_and_reaches_the_index_alone() {
    let folder = Folder::new();
    let mut index = index("http://10.1.2.3:3141");
    index.folders = vec![folder.0.clone()];
    index.bundle = Some("/etc/ssl/certs/ca-certificates.crt".into());
    index.upstream = Some("http://proxy.example.org:8080".into());
    let text = "numpy\nx @ https://files.example.org/x.whl\n";
    let mut case = Case::new(text, Policy::Sources, Ladder { uv: Some("/usr/bin/uv".into()), ..venv() }, index);
    let spec = case.prepare().unwrap();
    let gate = spec.gate.unwrap();
    assert_eq!(gate.hosts.unwrap(), ["10.1.2.3", "files.example.org"]);
    assert_eq!((gate.trusted, gate.ports), (Vec::<String>::new(), vec![443]));
    assert_eq!(gate.plain, ["10.1.2.3:3141"]);
    assert_eq!(gate.upstream.as_deref(), Some("http://proxy.example.org:8080"));
    let writable: Vec<_> = spec.binds.iter().filter(|bind| bind.writable).collect();
    assert_eq!(writable.len(), 1);
    assert_eq!((writable[0].target.as_path(), &writable[0].source), (Path::new("/env"), &case.environment()));
    let targets: Vec<String> = spec.binds.iter().map(|bind| bind.target.display().to_string()).collect();
    for target in ["/te/runtime", "/build", "/script", "/env", "/tools/uv", "/links/0", "/certificates/bundle.pem"] {
        assert!(targets.contains(&target.to_owned()), "{target}");
    }
    assert_eq!(spec.name, format!("build-{}", Uuid::nil()));
    assert_eq!(
        (spec.limits.memory_bytes, spec.limits.max_processes, spec.limits.scratch_bytes),
        (2 << 30, 256, 4 << 30)
    );
    assert_eq!((spec.limits.timeout_s, spec.limits.network, spec.output), (900, Network::Https, Output::Journal));
    assert!(spec.env.values().chain(&spec.argv).all(|word| !word.contains("10.1.2.3")), "settings stand in the plan");
    let given = fs::read_to_string(case.folder.0.join("inputs/requirements.txt")).unwrap();
    assert_eq!(given, "numpy\nx @ https://files.example.org/x.whl\n");

    // With wheels of the index alone, no other host is opened.
    case.policy = Policy::Wheels;
    assert_eq!(case.prepare().unwrap().gate.unwrap().hosts.unwrap(), ["10.1.2.3"]);
}

#[test]
fn environments_are_shared_only_where_no_package_s_code_has_run() {
    let (python, pypi) =
        (interpreter(), Index::from_env(&BTreeMap::from([("PIP_CONFIG_FILE".into(), "/dev/null".into())])));
    let parse = |text: &str| Requirements::parse(text).unwrap();
    let (alice, bob) = (Id(Uuid::from_u128(1)), Id(Uuid::from_u128(2)));
    let wheels = |text: &str, author| key(&parse(text), &python, &pypi, Policy::Wheels, author);
    let sources = |text: &str, author| key(&parse(text), &python, &pypi, Policy::Sources, author);
    assert_eq!(wheels("numpy\nscipy", alice), wheels("SciPy # x\nnumpy", bob));
    assert_ne!(wheels("numpy", alice), wheels("numpy>1", alice));
    assert_ne!(wheels("numpy", alice), sources("numpy", alice));
    assert_ne!(sources("numpy", alice), sources("numpy", bob));
    let mut other = python.clone();
    other.version = (3, 9, 0);
    assert_ne!(wheels("numpy", alice), key(&parse("numpy"), &other, &pypi, Policy::Wheels, alice));
    assert_ne!(wheels("numpy", alice), key(&parse("numpy"), &python, &index("http://other"), Policy::Wheels, alice));
    assert!(wheels("numpy", alice).len() == 64 && wheels("numpy", alice).bytes().all(|byte| byte.is_ascii_hexdigit()));

    assert_eq!(Policy::of(&parse("")), []);
    assert_eq!(Policy::of(&parse("numpy")), [Policy::Wheels, Policy::Sources]);
    assert_eq!(Policy::of(&parse("git+https://github.com/a/b")), [Policy::Sources]);
}

// ------------------------------------------------------------------------------------------------ the machine's settings

fn from_env(pairs: &[(&str, &str)]) -> Index {
    let mut env: BTreeMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    env.entry("PIP_CONFIG_FILE".into()).or_insert("/dev/null".into());
    Index::from_env(&env)
}

#[test]
fn without_settings_packages_come_from_the_public_index() {
    let index = from_env(&[]);
    assert_eq!(index.urls, ["https://pypi.org/simple"]);
    assert_eq!(index.hosts(), ["files.pythonhosted.org", "pypi.org"]);
    assert_eq!(index.trusted("https"), ["files.pythonhosted.org:443", "pypi.org:443"]);
    assert!(index.upstream.is_none() && index.notes.is_empty());
}

#[test]
fn the_machine_s_settings_of_pip_and_uv_are_used_without_their_secrets() {
    let folder = Folder::new();
    let bundle = folder.0.join("ca.pem");
    fs::write(&bundle, "").unwrap();
    let index = from_env(&[
        ("PIP_INDEX_URL", "https://build:s3cret@packages.example.org/pypi/simple/"),
        ("PIP_EXTRA_INDEX_URL", "http://10.0.0.5:3141/simple file:///srv/index"),
        ("PIP_FIND_LINKS", &format!("{} /nowhere https://links.example.org/all", folder.0.display())),
        ("PIP_TRUSTED_HOST", "10.0.0.5"),
        ("PIP_CERT", &bundle.display().to_string()),
        ("PIP_CLIENT_CERT", "/etc/ssl/private/key.pem"),
        ("HTTPS_PROXY", "http://user:pa55@proxy.example.org:8080/"),
    ]);
    assert_eq!(index.urls, ["https://packages.example.org/pypi/simple", "http://10.0.0.5:3141/simple"]);
    assert_eq!(index.pages, ["https://links.example.org/all"]);
    assert_eq!(index.folders, [fs::canonicalize(&folder.0).unwrap()]);
    assert_eq!(index.bundle, Some(fs::canonicalize(&bundle).unwrap()));
    assert_eq!(index.hosts(), ["10.0.0.5", "links.example.org", "packages.example.org"]);
    assert_eq!(index.trusted("https"), ["links.example.org:443", "packages.example.org:443"]);
    assert_eq!(index.trusted("http"), ["10.0.0.5:3141"]);
    assert_eq!(index.upstream.as_deref(), Some("http://proxy.example.org:8080"));
    assert_eq!(index.notes.len(), 5, "{:#?}", index.notes);
    let all = format!("{index:?}");
    assert!(!all.contains("s3cret") && !all.contains("pa55") && !all.contains("private"), "{all}");

    // uv's word counts more than pip's.
    let index = from_env(&[
        ("PIP_INDEX_URL", "https://pip.example"),
        ("UV_DEFAULT_INDEX", "https://uv.example/simple"),
        ("UV_INDEX", "extra=https://more.example/simple"),
    ]);
    assert_eq!(index.urls, ["https://uv.example/simple", "https://more.example/simple"]);
    let index = from_env(&[("PIP_NO_INDEX", "1"), ("HTTPS_PROXY", "http://p:1")]);
    assert!(index.urls.is_empty() && index.no_index && index.hosts().is_empty() && index.trusted("https").is_empty());
}

#[test]
fn the_machine_s_proxy_is_used_unless_the_index_is_excepted() {
    let through = |proxy: &str, except: &str| from_env(&[("https_proxy", proxy), ("NO_PROXY", except)]).upstream;
    assert_eq!(through("proxy:3128", "").as_deref(), Some("http://proxy:3128"));
    assert_eq!(through("http://proxy", "localhost,.example.org").as_deref(), Some("http://proxy:80"));
    assert_eq!(through("http://proxy", "pypi.org, .pythonhosted.org"), None);
    assert_eq!(through("http://proxy", "*"), None);
    assert_eq!(through("http://proxy", "notpypi.org,pypi.org").as_deref(), Some("http://proxy:80"));
    assert_eq!(through("socks5://proxy:1080", ""), None);
}

#[test]
fn pip_s_own_files_are_read() {
    let folder = Folder::new();
    fs::create_dir_all(folder.0.join(".config/pip")).unwrap();
    fs::write(
        folder.0.join(".config/pip/pip.conf"),
        "; a comment\n[global]\nindex-url = https://global.example/simple\nextra-index-url =\n    https://one.example/simple\n    # a comment\n    https://two.example/simple\n\n[install]\nindex_url: https://install.example/simple\n\n[list]\nindex-url = https://other.example\n",
    )
    .unwrap();
    let home = folder.0.display().to_string();
    let index = from_env(&[("HOME", &home), ("PIP_CONFIG_FILE", "")]);
    assert_eq!(
        index.urls,
        ["https://install.example/simple", "https://one.example/simple", "https://two.example/simple"]
    );
    let index = from_env(&[("HOME", &home), ("PIP_CONFIG_FILE", ""), ("PIP_INDEX_URL", "https://env.example/simple")]);
    assert_eq!(index.urls[0], "https://env.example/simple");
    let own = folder.0.join("own.conf");
    fs::write(&own, "[global]\nindex-url = https://own.example/simple\n[install]\nindex-url=\n").unwrap();
    let index = from_env(&[("HOME", &home), ("PIP_CONFIG_FILE", &own.display().to_string())]);
    assert_eq!(index.urls[0], "https://own.example/simple");
}

// ------------------------------------------------------------------------------------------------ folders

#[test]
fn a_finished_environment_is_read_only_and_put_into_place_once() {
    let folder = Folder::new();
    let target = folder.0.join("envs-key");
    let make = |name: &str| {
        let tmp = folder.0.join(name);
        fs::create_dir_all(tmp.join("lib/deep")).unwrap();
        fs::create_dir_all(tmp.join("bin")).unwrap();
        fs::write(tmp.join("lib/deep/module.py"), name).unwrap();
        fs::write(tmp.join("bin/tool"), name).unwrap();
        fs::set_permissions(tmp.join("bin/tool"), fs::Permissions::from_mode(0o6777)).unwrap();
        fs::write(folder.0.join("outside"), "untouched").unwrap();
        symlink(folder.0.join("outside"), tmp.join("bin/python")).unwrap();
        tmp
    };
    seal(&make("first"), &target).unwrap();
    let mode = |path: &str| fs::symlink_metadata(target.join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(
        [mode(""), mode("lib"), mode("lib/deep"), mode("lib/deep/module.py"), mode("bin/tool")],
        [0o555, 0o555, 0o555, 0o444, 0o555]
    );
    assert_eq!(
        fs::metadata(folder.0.join("outside")).unwrap().permissions().mode() & 0o200,
        0o200,
        "links are not followed"
    );

    seal(&make("second"), &target).unwrap();
    assert_eq!(fs::read_to_string(target.join("bin/tool")).unwrap(), "first", "the one that is there stays");
    assert!(!folder.0.join("second").exists());
    remove_tree(&target).unwrap();
    assert!(!target.exists());
    assert_eq!(fs::read_to_string(folder.0.join("outside")).unwrap(), "untouched");
}

#[test]
fn a_folder_is_removed_however_deep_and_whatever_its_modes() {
    let folder = Folder::new();
    let root = folder.0.join("root");
    fs::create_dir(&root).unwrap();
    // Deeper than any path may be long: made from the inside.
    let made = Command::new("python3")
        .args(["-c", "import os, sys\nos.chdir(sys.argv[1])\nfor n in range(400):\n    open('file', 'w').close()\n    os.mkdir('d' * 20)\n    os.chdir('d' * 20)\n"])
        .arg(&root)
        .status()
        .unwrap();
    assert!(made.success());
    for name in [".removed-1", ".removed-2"] {
        fs::create_dir_all(root.join("a").join(name)).unwrap();
        fs::create_dir_all(root.join(name).join("full")).unwrap();
    }
    fs::write(root.join(".removed-3"), "a file").unwrap();
    symlink("/", root.join("a/link")).unwrap();
    fs::create_dir_all(root.join("closed/inner")).unwrap();
    fs::set_permissions(root.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o555)).unwrap();
    remove_tree(&root).unwrap();
    assert!(!root.exists() && Path::new("/usr").exists());
    remove_tree(&root).unwrap();

    symlink("/usr", &root).unwrap();
    remove_tree(&root).unwrap();
    assert!(!root.is_symlink() && Path::new("/usr/bin").exists());
}

#[test]
fn what_a_build_says_of_itself_is_cleaned() {
    let folder = Folder::new();
    let result = folder.0.join("result.json");
    let line = format!("\u{1b}[2Jx=={}", "1".repeat(1000));
    let text = serde_json::json!({"frozen": vec![line; 6000], "rung": "mine", "more": 1}).to_string();
    fs::write(&result, &text[..]).unwrap();
    assert!(Installed::read(&folder.0).is_err(), "too large");
    fs::write(&result, serde_json::json!({"frozen": ["\u{1b}[2Jx==1"], "rung": "mine"}).to_string()).unwrap();
    assert_eq!(Installed::read(&folder.0).unwrap(), Installed { frozen: vec!["[2Jx==1".into()], rung: None });
    fs::write(&result, "{}").unwrap();
    assert!(Installed::read(&folder.0).is_err());
    fs::remove_file(&result).unwrap();
    symlink("/etc/passwd", &result).unwrap();
    assert!(Installed::read(&folder.0).is_err());
}
