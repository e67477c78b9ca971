//! The process engine: a unit is a folder, a keeper and a sandbox on this machine.
//! The keeper (`keeper.rs`) is a process of its own and outlives the server; what it starts inside the sandbox is `enter.rs`.

pub mod cgroup;
pub mod enter;
pub mod environment;
pub mod gate;
pub mod journal;
pub mod keeper;
pub mod landlock;
pub mod namespaces;
pub mod output;
pub mod plan;
pub mod probe;
pub mod processes;
pub mod python;
pub mod sandbox;
pub mod scratch;
pub mod seccomp;
pub mod spec;
pub mod unit;
pub mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

use super::{Build, Engine, Found, Made, Network, News, Run, Unit, runtime};
use crate::{
    build::requirements::Requirements,
    config::{Config, SandboxSetting},
    execution::loan,
    store::Id,
};
use environment::Policy;
use probe::{Choice, Place};
use python::Interpreter;
use spec::{Bind, Gate, Lender, Output, Sandbox, Spec};

/// How often a unit that is followed is looked at.
const TICK: Duration = Duration::from_millis(40);
/// How long one call of `follow` waits for news.
const PATIENCE: Duration = Duration::from_secs(1);
/// No folder takes so long to be made.
const HALF_MADE: Duration = Duration::from_hours(1);
/// Port of public hosts that runs may reach.
const HTTPS: u16 = 443;
/// How units name the server; nothing outside has this name.
const INSIDE: &str = "http://trends-earth.internal";
/// Where programs are looked for if the environment does not say.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// How many host accounts runs may take, from `TE_RUN_UID_BASE` on.
const UIDS: u32 = 60_000;

/// The engine of this machine.
#[derive(Debug)]
pub struct Process {
    scope: String,
    data: PathBuf,
    program: PathBuf,
    runtime: PathBuf,
    pub interpreter: Interpreter,
    /// What holds scripts in, and what it was seen to keep.
    pub choice: Choice,
    ladder: environment::Ladder,
    index: environment::Index,
    egress_hosts: Option<Vec<String>>,
    uid_base: Option<u32>,
    log_max_bytes: u64,
    build_timeout_s: u64,
    floor_bytes: u64,
    /// How units name the server, and, where they reach it by the gate, how that one does.
    api_url: String,
    lender: Option<String>,
}

impl Process {
    /// Finds the interpreter, lays out the runtime, and starts the sandbox once to see what it keeps.
    ///
    /// # Errors
    /// A sentence: no interpreter, or no sandbox that keeps its promises (then no script runs).
    pub async fn open(config: &Config, data: &Path, node: &str) -> anyhow::Result<Self> {
        let machine = config.machine.clone();
        let setting = config.python.clone();
        let interpreter = tokio::task::spawn_blocking(move || {
            let path = machine.get("PATH").map_or(DEFAULT_PATH, String::as_str);
            let home = machine.get("HOME").map(OsStr::new);
            python::find(setting.as_deref(), OsStr::new(path), home)
        })
        .await??;
        cgroup::make_room();
        let program = keeper::this_program().context("this program's own file is not found")?;
        let runtime = lay_out(&data.join("runtime"))?;
        let uid_base = nix::unistd::geteuid().is_root().then_some(config.run_uid_base);
        let place = Place {
            program: program.clone(),
            folder: data.to_owned(),
            python: interpreter.executable.clone(),
            binds: interpreter.binds(),
            // Not the same one for every server of this machine: the kernel counts an account's processes together, and
            // two probes at one time would each find the other's within its own limit.
            uid: uid_base.map(|base| free_uid(base, &BTreeSet::new())).transpose()?,
        };
        let wish = match config.sandbox {
            SandboxSetting::Auto => probe::Setting::Auto,
            SandboxSetting::Bwrap => probe::Setting::Bwrap,
            SandboxSetting::Namespaces => probe::Setting::Namespaces,
            SandboxSetting::Landlock => probe::Setting::Landlock,
            SandboxSetting::None => probe::Setting::None,
        };
        let choice = probe::choose(wish, &place).await.map_err(anyhow::Error::msg)?;
        let (machine, python) = (config.machine.clone(), interpreter.clone());
        let (ladder, index) = tokio::task::spawn_blocking(move || {
            let path = machine.get("PATH").map_or(DEFAULT_PATH, String::as_str);
            let ladder = environment::Ladder::find(&python, OsStr::new(path), machine.get("HOME").map(OsStr::new));
            (ladder, environment::Index::from_env(&machine))
        })
        .await?;
        for folder in ["runs", "builds", "envs", "versions"] {
            fs::create_dir_all(data.join(folder))?;
            sweep(&data.join(folder))?;
        }
        let (api_url, lender) = match &config.internal_url {
            Some(url) if url.starts_with("https://") => (url.clone(), None),
            Some(url) => (INSIDE.to_owned(), Some(url.clone())),
            None => (INSIDE.to_owned(), Some(config.near_url())),
        };
        Ok(Process {
            api_url,
            lender,
            scope: format!("process:{node}"),
            data: data.to_owned(),
            program,
            runtime,
            interpreter,
            choice,
            ladder,
            index,
            egress_hosts: config.egress_hosts.clone(),
            uid_base,
            log_max_bytes: config.log_max_bytes,
            // Nothing new starts below the setting; what runs is ended only when half of that is gone too.
            floor_bytes: config.min_free_bytes / 2,
            build_timeout_s: config.build_timeout_s,
        })
    }

    fn folder(&self, unit: Unit) -> PathBuf {
        match unit {
            Unit::Execution(id) => self.data.join("runs").join(id.to_string()),
            Unit::Build(id) => self.data.join("builds").join(id.to_string()),
        }
    }

    fn environment(&self, key: &str) -> PathBuf {
        self.data.join("envs").join(key)
    }

    /// A host account that no living unit of this folder has.
    fn uid(&self) -> anyhow::Result<Option<u32>> {
        let Some(base) = self.uid_base else { return Ok(None) };
        free_uid(base, &unit::uids(&self.data)?).map(Some)
    }

    fn gate(&self, network: Network) -> Option<Gate> {
        match network {
            Network::None | Network::Full => None,
            Network::Https => Some(Gate {
                ports: vec![HTTPS],
                hosts: self.egress_hosts.clone(),
                upstream: self.index.upstream.clone(),
                ..Gate::default()
            }),
        }
    }

    fn run_spec(&self, run: &Run) -> anyhow::Result<Spec> {
        let mut binds = self.interpreter.binds();
        let ro =
            |source: &Path, target: &str| Bind { source: source.to_owned(), target: target.into(), writable: false };
        binds.push(ro(&self.runtime, "/te/runtime"));
        binds.push(ro(&run.script, "/script"));
        let python = match &run.made {
            Some(key) => {
                let folder = self.environment(key);
                anyhow::ensure!(folder.is_dir(), "the environment {key} is not on this machine any more");
                binds.push(ro(&folder, "/env"));
                "/env/bin/python".to_owned()
            }
            None => self.interpreter.executable.to_string_lossy().into_owned(),
        };
        let cores = run.limits.cpu_nanos.div_ceil(1_000_000_000).to_string();
        let mut env = unit::environment();
        env.insert("EXECUTION_ID".into(), run.execution.to_string());
        env.insert("ENV".into(), "prod".into());
        // Where a sandbox has no file system of its own, the keeper exchanges these for the paths outside.
        for (name, path) in [
            ("TE_SCRIPT", "/script"),
            ("TE_PARAMS", "/te/params.json"),
            ("TE_JOURNAL", "/te/journal.ndjson"),
            ("TE_OUT", "/te/out"),
        ] {
            env.insert(name.into(), path.into());
        }
        let mut gate = self.gate(run.limits.network);
        if let Some(gate) = &mut gate {
            let path = loan::path(run.execution);
            gate.lender = self
                .lender
                .as_ref()
                .filter(|_| run.uses_gee)
                .map(|server| Lender { inside: format!("{}{path}", self.api_url), outside: format!("{server}{path}") });
            env.extend(environment::proxies());
            // What a script starts inside its own sandbox, workers of its own for example, is not outside.
            env.extend(["NO_PROXY", "no_proxy"].map(|name| (name.to_owned(), "127.0.0.1,localhost".to_owned())));
            if let Some(bundle) = &self.index.bundle {
                let (bind, names) = environment::certificates(bundle);
                binds.push(bind);
                env.extend(names);
            }
        }
        env.insert("OMP_NUM_THREADS".into(), cores.clone());
        env.insert("OPENBLAS_NUM_THREADS".into(), cores);
        if !run.uses_gee {
            env.insert("SKIP_GEE_INIT".into(), "true".into());
        }
        let argv = ["-I", "-B", "-X", "utf8", "/te/runtime/runner.py"].map(str::to_owned);
        Ok(Spec {
            name: Unit::Execution(run.execution).to_string(),
            sandbox: self.choice.sandbox.clone(),
            uid: self.uid()?,
            argv: std::iter::once(python).chain(argv).collect(),
            env,
            binds,
            cwd: "/work".into(),
            limits: run.limits.clone(),
            gate,
            output: Output::File,
            journal_bytes: self.log_max_bytes.saturating_mul(4),
            output_bytes: 10 << 20,
            floor_bytes: self.floor_bytes,
        })
    }

    /// The environment of a build: its key, unless nothing is required.
    fn key(&self, build: &Build) -> anyhow::Result<(Requirements, Policy, Option<String>)> {
        let requirements = Requirements::parse(&build.requirements)?;
        let policy = if build.sources || !requirements.only_index() { Policy::Sources } else { Policy::Wheels };
        let key = (!requirements.is_empty())
            .then(|| environment::key(&requirements, &self.interpreter, &self.index, policy, build.author));
        Ok((requirements, policy, key))
    }

    /// Where a build makes its environment, before it has its place.
    fn fresh(&self, version: Id) -> PathBuf {
        self.data.join("builds").join(format!("{version}.env"))
    }

    /// What a build unit reads.
    fn inputs(&self, version: Id) -> PathBuf {
        self.data.join("builds").join(format!("{version}.in"))
    }
}

#[async_trait::async_trait]
impl Engine for Process {
    fn scope(&self) -> &str {
        &self.scope
    }

    fn api_url(&self) -> &str {
        &self.api_url
    }

    async fn start(&self, run: &Run) -> anyhow::Result<()> {
        let folder = self.folder(Unit::Execution(run.execution));
        if folder.exists() {
            return Ok(());
        }
        let spec = self.run_spec(run)?;
        let (params, secrets, program) = (run.params.clone(), run.secrets.clone(), self.program.clone());
        let start = move || unit::start(&program, &folder, &spec, Some(params.as_bytes()), None, &secrets);
        tokio::task::spawn_blocking(start).await??;
        Ok(())
    }

    async fn build(&self, build: &Build) -> anyhow::Result<()> {
        let folder = self.folder(Unit::Build(build.version));
        if keeper::is_alive(&folder) {
            return Ok(());
        }
        let (mut requirements, policy, key) = self.key(build)?;
        if key.is_some_and(|key| self.environment(&key).is_dir()) {
            // The packages are there already: only the script's own code is left to check.
            requirements = Requirements::default();
        }
        let (fresh, inputs) = (self.fresh(build.version), self.inputs(build.version));
        for old in [&folder, &fresh, &inputs] {
            environment::remove_tree(old)?;
        }
        let task = environment::Build {
            id: build.version,
            script: &build.script,
            requirements: &requirements,
            policy,
            environment: &fresh,
            inputs: &inputs,
            runtime: &self.runtime,
            interpreter: &self.interpreter,
            ladder: &self.ladder,
            index: &self.index,
            sandbox: self.choice.sandbox.clone(),
            uid: self.uid()?,
            timeout_s: self.build_timeout_s,
            floor_bytes: self.floor_bytes,
        };
        let spec = task.prepare()?;
        unit::open_for_reading(&inputs)?;
        let (program, first) = (self.program.clone(), task.to_string());
        tokio::task::spawn_blocking(move || {
            if let (Some(uid), true) = (spec.uid, fresh.is_dir()) {
                std::os::unix::fs::chown(&fresh, Some(uid), Some(uid))?;
            }
            unit::start(&program, &folder, &spec, None, Some(&first), &BTreeMap::new())
        })
        .await??;
        Ok(())
    }

    async fn seal(&self, build: &Build) -> anyhow::Result<Option<String>> {
        let (_, _, key) = self.key(build)?;
        let Some(key) = key else { return Ok(None) };
        let (fresh, target) = (self.fresh(build.version), self.environment(&key));
        if !target.is_dir() {
            tokio::task::spawn_blocking(move || environment::seal(&fresh, &target)).await??;
        }
        Ok(Some(key))
    }

    fn makes(&self) -> Made {
        Made::Environment
    }

    async fn has(&self, made: &str) -> anyhow::Result<bool> {
        Ok(crate::build::touch(&self.environment(made)))
    }

    async fn forget(&self, unit: Unit) -> anyhow::Result<()> {
        let folder = self.folder(unit);
        if keeper::is_alive(&folder) {
            return Ok(());
        }
        let beside = match unit {
            Unit::Execution(_) => Vec::new(),
            Unit::Build(version) => vec![self.fresh(version), self.inputs(version)],
        };
        tokio::task::spawn_blocking(move || {
            beside.iter().chain([&folder]).try_for_each(|path| environment::remove_tree(path))
        })
        .await??;
        Ok(())
    }

    async fn find(&self, unit: Unit) -> anyhow::Result<Option<Found>> {
        Ok(unit::found(&self.folder(unit)))
    }

    async fn follow(&self, unit: Unit, offset: u64) -> anyhow::Result<News> {
        let folder = self.folder(unit);
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let at = folder.clone();
            let news = tokio::task::spawn_blocking(move || unit::news(&at, offset)).await??;
            if !news.entries.is_empty()
                || news.end.is_some()
                || news.offset != offset
                || tokio::time::Instant::now() >= deadline
            {
                return Ok(news);
            }
            tokio::time::sleep(TICK).await;
        }
    }

    async fn stop(&self, unit: Unit) -> anyhow::Result<()> {
        let folder = self.folder(unit);
        if folder.is_dir() {
            fs::write(folder.join(spec::STOP), b"")?;
        }
        Ok(())
    }

    async fn output(&self, unit: Unit) -> anyhow::Result<Option<String>> {
        let path = self.folder(unit).join(spec::STDOUT);
        Ok(tokio::task::spawn_blocking(move || output::tail(&path)).await??)
    }

    async fn list(&self) -> anyhow::Result<Vec<Unit>> {
        units(&self.data, true)
    }

    async fn ended(&self) -> anyhow::Result<Vec<Unit>> {
        units(&self.data, false)
    }
}

/// The units with a folder, those that live or those that have ended.
fn units(data: &Path, alive: bool) -> anyhow::Result<Vec<Unit>> {
    let mut units = Vec::new();
    for (name, of) in [("runs", Unit::Execution as fn(Id) -> Unit), ("builds", Unit::Build)] {
        for entry in fs::read_dir(data.join(name))? {
            let entry = entry?;
            let id = entry.file_name().to_str().and_then(Id::parse);
            if let Some(id) = id.filter(|_| keeper::is_alive(&entry.path()) == alive) {
                units.push(of(id));
            }
        }
    }
    Ok(units)
}

/// Removes what a server that was killed has left half made under a temporary name. What is young may be another
/// worker's, who is still at it.
fn sweep(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let temporary = name.to_str().and_then(|name| name.strip_prefix('.')).and_then(Id::parse).is_some();
        // It may have got its name meanwhile.
        let Ok(meta) = entry.metadata() else { continue };
        if temporary && meta.modified()?.elapsed().unwrap_or_default() > HALF_MADE {
            environment::remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// A host account from `base` on that is not taken, drawn by lot.
fn free_uid(base: u32, taken: &BTreeSet<u32>) -> anyhow::Result<u32> {
    let mut random = [0; 4];
    getrandom::fill(&mut random)?;
    let start = u32::from_le_bytes(random) % UIDS;
    let free = (0..UIDS).map(|i| base + (start + i) % UIDS).find(|uid| !taken.contains(uid));
    free.ok_or_else(|| anyhow::anyhow!("no host account is free for a run"))
}

/// Writes the runtime's files under a name of their content, once.
fn lay_out(parent: &Path) -> anyhow::Result<PathBuf> {
    let all = runtime::files();
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    for (name, bytes) in &all {
        digest.update(name.as_bytes());
        digest.update(bytes);
    }
    let target = parent.join(&crate::auth::tokens::hex(digest.finish().as_ref())[..16]);
    if target.is_dir() {
        return Ok(target);
    }
    fs::create_dir_all(parent)?;
    let temporary = parent.join(format!(".{}", Id::random()));
    for (name, bytes) in &all {
        let file = temporary.join(name);
        fs::create_dir_all(file.parent().unwrap_or(&temporary))?;
        fs::write(&file, bytes)?;
    }
    // What runs as another account must be able to read it, whatever the server's umask is.
    unit::open_for_reading(&temporary)?;
    fs::rename(&temporary, &target)?;
    Ok(target)
}

/// The sandbox's name for people.
pub fn sandbox_title(sandbox: &Sandbox) -> &'static str {
    probe::title(sandbox)
}
