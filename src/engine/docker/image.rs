//! A version becomes an image: built on an allowed base, named by the digest of its archive, pushed where nodes pull from.
//! A build lives only as long as whoever asks for it; one that is lost begins anew.

use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bollard::{
    body_full,
    models::ImageInspect,
    query_parameters::{
        BuildImageOptions, CreateImageOptions, ListImagesOptions, PruneImagesOptions, PushImageOptions,
        RemoveImageOptions, TagImageOptions,
    },
};
use bytes::Bytes;
use futures::StreamExt;

use super::{
    daemon::{Daemon, INSTANCE, is_away, settled, status, there},
    network::{GATES, Gates, Opened, Way},
    registry,
    unit::NOBODY,
};
use crate::engine::{Build, Entry, Word, process::environment::Index, runtime};

/// Under which tag the existing server keeps the image of a script (contract/scripts-executions.md 5.1).
const LATEST: &str = "latest";
/// The folder of our runner's scripts, which they may write to.
pub const SCRATCH: &str = "/work";

/// Bytes of memory, and microseconds of 100,000, that a step of a build may use.
const MEMORY: i32 = i32::MAX;
const CPU_QUOTA: i32 = 200_000;
/// How the tags of images with our own runner begin.
const OURS: &str = "te-";
/// How long a daemon that does not answer is left alone.
const PAUSE: Duration = Duration::from_secs(5);
/// How often a pull or a push is tried.
const TRIES: u64 = 3;
/// How long one answer of a build may take: a step that prints nothing says nothing.
const SILENCE: Duration = Duration::from_secs(3_600);

/// Who speaks inside an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Our own runner.
    Ours,
    /// The existing Environment, with its own requests to the API.
    Environment,
}

impl Kind {
    /// Of an image that is named as a build names it; all others are of the existing server.
    pub fn of(image: &str) -> Self {
        let name = image.split('@').next().unwrap_or(image);
        let tag = name.rsplit_once(':').map_or("", |(_, tag)| tag);
        if tag.starts_with(OURS) { Kind::Ours } else { Kind::Environment }
    }

    /// What is started.
    pub fn command(self) -> Vec<String> {
        let words: &[&str] = match self {
            Kind::Ours => &["/env/bin/python", "-I", "-B", "-X", "utf8", "/te/runtime/container.py"],
            Kind::Environment => &["./entrypoint.sh"],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    /// As whom, where not as the image says.
    pub fn user(self) -> Option<String> {
        (self == Kind::Ours).then(|| format!("{NOBODY}:{NOBODY}"))
    }

    /// In which folder, where not as the image says.
    pub fn folder(self) -> Option<String> {
        (self == Kind::Ours).then(|| SCRATCH.to_owned())
    }

    fn recipe(self) -> &'static str {
        match self {
            Kind::Ours => runtime::DOCKERFILE,
            Kind::Environment => runtime::ENVIRONMENT_DOCKERFILE,
        }
    }
}

/// What a build says, for whoever follows it; the offset of an entry is its place.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<Mutex<Vec<Entry>>>);

impl Journal {
    pub fn log(&self, text: &str) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        for line in text.split(['\n', '\r']).map(plain).filter(|line| !line.is_empty()) {
            let word = Word::Log { level: "INFO".into(), text: line };
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Entry { at, word });
        }
    }

    /// Entries from a place on.
    pub fn after(&self, offset: u64) -> Vec<Entry> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        usize::try_from(offset).ok().and_then(|from| all.get(from..)).unwrap_or_default().to_vec()
    }
}

/// A line without the colours that a daemon gives to errors, and without what is no text.
fn plain(line: &str) -> String {
    let mut parts = line.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    let rest = parts.map(|part| part.split_once('m').map_or("", |(_, rest)| rest));
    rest.fold(first, |text, part| text + part).trim_end().replace('\0', "\u{fffd}")
}

/// What one build needs.
pub struct Task {
    pub daemon: Arc<Daemon>,
    pub build: Build,
    pub index: Index,
    pub gates: Arc<Gates>,
}

/// Why there is no image: the author's or the operator's to mend, a sentence.
type Refused = String;

/// The base of a script's image.
fn base(daemon: &Daemon, build: &Build) -> Result<(Kind, String), Refused> {
    use crate::build::configuration::{ENVIRONMENT, ENVIRONMENT_VERSION};
    let environment = build.configuration.environment.as_deref().unwrap_or(ENVIRONMENT);
    let version = build.configuration.environment_version.as_deref().unwrap_or(ENVIRONMENT_VERSION);
    let lists =
        [(Kind::Ours, &daemon.settings.python_images), (Kind::Environment, &daemon.settings.environment_images)];
    for (kind, images) in lists {
        if let Some(image) = images.get(environment) {
            let name = image.rsplit('/').next().unwrap_or(image);
            let tagged = name.contains([':', '@']);
            return Ok((kind, if tagged { image.clone() } else { format!("{image}:{version}") }));
        }
    }
    let mut known: Vec<&str> = lists.iter().flat_map(|(_, images)| images.keys().map(String::as_str)).collect();
    known.sort_unstable();
    Err(format!("The environment {environment} is not one of this server's: {}.", known.join(", ")))
}

impl Task {
    /// Builds, pushes and names the image; a refusal is a sentence for the author. A daemon that does not answer is waited for,
    /// as long as a build may take.
    pub async fn run(self, journal: Journal) -> anyhow::Result<Result<String, Refused>> {
        loop {
            match self.go(&journal).await {
                Err(error) if is_away(&error) => {
                    tracing::warn!(version = %self.build.version, error = format!("{error:#}"), "the daemon does not answer");
                    journal.log("The engine does not answer; the build waits for it.");
                    tokio::time::sleep(PAUSE).await;
                }
                other => return other,
            }
        }
    }

    async fn go(&self, journal: &Journal) -> anyhow::Result<Result<String, Refused>> {
        let (kind, base) = match base(&self.daemon, &self.build) {
            Ok(base) => base,
            Err(refused) => return Ok(Err(refused)),
        };
        let opened = self.gates.open(&self.daemon, Way::Index).await?;
        self.make(journal, kind, &base, &opened).await
    }

    async fn make(
        &self,
        journal: &Journal,
        kind: Kind,
        base: &str,
        opened: &Opened,
    ) -> anyhow::Result<Result<String, Refused>> {
        let daemon = &self.daemon;
        let from = match daemon.pull(base, journal).await? {
            Some(image) => pinned(base, &image),
            None => return Ok(Err(format!("The base image {base} cannot be had."))),
        };
        journal.log(&format!("The base is {base} ({from})."));
        let slug = &self.build.configuration.slug;
        let repository = match &daemon.settings.registry {
            Some(registry) => format!("{registry}/{slug}"),
            None => format!("trends-earth/{slug}"),
        };
        let digest = self.build.digest.trim_start_matches("sha256:");
        let mark = if kind == Kind::Environment { "env-" } else { OURS };
        let tag = format!("{mark}{}", &digest[..digest.len().min(32)]);
        let name = format!("{repository}:{tag}");
        let (recipe, script, index) = (kind.recipe(), self.build.script.clone(), self.index.clone());
        let context = tokio::task::spawn_blocking(move || context(recipe, &script, &index)).await??;
        // Built before, and lost: the name moves on from that image.
        let before = there(daemon.docker.inspect_image(&name).await)?.and_then(|image| image.id);
        let mut last = None;
        if let Err(refused) = self.steps(journal, &from, &name, context, opened, &mut last).await? {
            if let Some(nameless) = last {
                daemon.forget_image(&nameless).await?;
            }
            return Ok(Err(refused));
        }
        let id = daemon.docker.inspect_image(&name).await?.id.unwrap_or_default();
        if let Some(before) = before.filter(|before| *before != id) {
            daemon.forget_image(&before).await?;
        }
        let Some(registry) = &daemon.settings.registry else {
            return Ok(Ok(format!("{name}@{id}")));
        };
        journal.log(&format!("The image is pushed to {registry}."));
        let digest = match daemon.push(&repository, &tag, journal).await? {
            Ok(digest) => digest,
            Err(refused) => return Ok(Err(refused)),
        };
        // The existing server starts no runner but its own.
        if self.build.is_shared && kind == Kind::Environment {
            let latest = TagImageOptions { repo: Some(repository.clone()), tag: Some(LATEST.into()) };
            daemon.docker.tag_image(&name, Some(latest)).await?;
            if let Err(refused) = daemon.push(&repository, LATEST, journal).await? {
                return Ok(Err(refused));
            }
        }
        Ok(Ok(format!("{name}@{digest}")))
    }

    /// Runs the recipe. `last` becomes the image of the last step that has no name.
    async fn steps(
        &self,
        journal: &Journal,
        from: &str,
        name: &str,
        context: Bytes,
        opened: &Opened,
        last: &mut Option<String>,
    ) -> anyhow::Result<Result<(), Refused>> {
        let proxies = ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"].map(|name| (name, opened.proxy));
        let args = proxies.into_iter().chain([("BASE", from)]).map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = BuildImageOptions {
            t: Some(name.to_owned()),
            rm: true,
            forcerm: true,
            memory: Some(MEMORY),
            memswap: Some(MEMORY),
            cpuperiod: Some(100_000),
            cpuquota: Some(CPU_QUOTA),
            networkmode: Some(opened.network.clone()),
            buildargs: Some(args.collect()),
            labels: Some(self.daemon.mine()),
            ..BuildImageOptions::default()
        };
        let docker = self.daemon.docker.clone().with_timeout(SILENCE);
        let mut said = docker.build_image(options, None, Some(body_full(context)));
        let mut of_base = false;
        while let Some(info) = said.next().await {
            match info {
                Ok(info) => {
                    if let Some(text) = info.stream {
                        of_base |= text.contains(": FROM ");
                        let image = text.trim().strip_prefix("---> ").filter(|id| id.len() == 12 && !id.contains(' '));
                        if let Some(id) = image
                            && !std::mem::take(&mut of_base)
                        {
                            *last = Some(id.to_owned());
                        }
                        journal.log(&text);
                    }
                    if let Some(error) = info.error_detail.and_then(|error| error.message) {
                        return Ok(Err(error));
                    }
                }
                Err(error) => {
                    let error = anyhow::Error::from(error);
                    if is_away(&error) {
                        return Err(error);
                    }
                    let said = sentence(&error);
                    return Ok(Err(if has_no_builder(&error) { format!("{NO_BUILDER} ({said})") } else { said }));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// What a daemon lacks that only builds by sessions of BuildKit.
const NO_BUILDER: &str = "The Docker daemon has no classic builder, which this server needs to build images; name one that has it in DOCKER_HOST";

/// Whether a daemon refuses to build at all, whatever there is to build.
fn has_no_builder(error: &anyhow::Error) -> bool {
    let Some(bollard::errors::Error::DockerResponseServerError { status_code, message }) = error.downcast_ref() else {
        return false;
    };
    let message = message.to_lowercase();
    matches!(status_code, 405 | 501)
        || ["buildkit", "classic builder", "legacy builder"].iter().any(|word| message.contains(word))
}

fn sentence(error: &anyhow::Error) -> String {
    match error.downcast_ref() {
        Some(bollard::errors::Error::DockerStreamError { error }) => error.trim().to_owned(),
        Some(bollard::errors::Error::DockerResponseServerError { message, .. }) => message.trim().to_owned(),
        _ => format!("{error:#}"),
    }
}

/// An image by what cannot change: its digest at the registry, else its own id.
fn pinned(name: &str, image: &ImageInspect) -> String {
    let repository = name.split('@').next().unwrap_or(name);
    let colon = repository.rfind(':').filter(|at| !repository[*at..].contains('/'));
    let repository = &repository[..colon.unwrap_or(repository.len())];
    let digests = image.repo_digests.iter().flatten();
    let of_name = |digest: &&String| digest.split('@').next().is_some_and(|name| repository.ends_with(name));
    digests.clone().find(of_name).cloned().or_else(|| image.id.clone()).unwrap_or_else(|| name.to_owned())
}

/// What the daemon gets to build from.
fn context(recipe: &str, script: &Path, index: &Index) -> anyhow::Result<Bytes> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.mode(tar::HeaderMode::Deterministic);
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, bytes)
    };
    add("Dockerfile", recipe.as_bytes())?;
    for (name, bytes) in runtime::files() {
        add(&format!("te/runtime/{name}"), &bytes)?;
    }
    add("te/requirements.txt", &std::fs::read(script.join("requirements.txt")).unwrap_or_default())?;
    add("te/pip.conf", pip(index).as_bytes())?;
    if let Some(bundle) = &index.bundle {
        add(CERTIFICATES.trim_start_matches('/'), &std::fs::read(bundle)?)?;
    }
    tar.append_dir_all("script", script)?;
    Ok(Bytes::from(tar.into_inner()?))
}

/// Where the certificates of the machine lie in an image, for its package index.
const CERTIFICATES: &str = "/te/certificates.pem";

/// The machine's settings of pip, which hold nothing secret.
fn pip(index: &Index) -> String {
    let mut lines = vec!["[global]".to_owned(), "disable-pip-version-check = true".to_owned()];
    if let Some((first, more)) = index.urls.split_first() {
        lines.push(format!("index-url = {first}"));
        if !more.is_empty() {
            lines.push(format!("extra-index-url = {}", more.join(" ")));
        }
    }
    if !index.insecure.is_empty() {
        lines.push(format!("trusted-host = {}", index.insecure.join(" ")));
    }
    if index.bundle.is_some() {
        lines.push(format!("cert = {CERTIFICATES}"));
    }
    lines.join("\n") + "\n"
}

/// The program itself as an image, for its gates.
pub fn program_context(base: &str, program: &PathBuf) -> anyhow::Result<Bytes> {
    let recipe = format!(
        "FROM {base}\nUSER root\nCOPY trends-earth /usr/local/bin/trends-earth\nRUN mkdir -p /tmp/home && chmod 777 /tmp/home\nUSER 65534:65534\nWORKDIR /tmp\nENTRYPOINT [\"/usr/local/bin/trends-earth\", \"gate\"]\n"
    );
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(recipe.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "Dockerfile", recipe.as_bytes())?;
    let bytes = std::fs::read(program)?;
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "trends-earth", bytes.as_slice())?;
    Ok(Bytes::from(tar.into_inner()?))
}

impl Daemon {
    /// Fetches an image if it can be had, and looks at it; one that only this daemon has is good too.
    pub async fn pull(&self, image: &str, journal: &Journal) -> anyhow::Result<Option<ImageInspect>> {
        let docker = self.docker.clone().with_timeout(SILENCE);
        for attempt in 1..=TRIES {
            let options = CreateImageOptions { from_image: Some(image.to_owned()), ..CreateImageOptions::default() };
            let mut said = docker.create_image(Some(options), None, self.credentials());
            let mut failed = None;
            while let Some(info) = said.next().await {
                failed = failed.or(info.err());
            }
            let Some(error) = failed else { break };
            let is_missing = status(&error) == Some(404);
            let error = anyhow::Error::from(error);
            if is_away(&error) {
                return Err(error);
            }
            journal.log(&format!("{image} is not pulled: {}", sentence(&error)));
            // One that is here will do; one that is nowhere will not come.
            let found = there(self.docker.inspect_image(image).await)?;
            if found.is_some() || is_missing || attempt == TRIES {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_secs(2 * attempt)).await;
        }
        Ok(there(self.docker.inspect_image(image).await)?)
    }

    /// Pushes a tag and says under which digest the registry has it.
    pub async fn push(
        &self,
        repository: &str,
        tag: &str,
        journal: &Journal,
    ) -> anyhow::Result<Result<String, Refused>> {
        let docker = self.docker.clone().with_timeout(SILENCE);
        let mut why = String::new();
        for attempt in 1..=TRIES {
            let options = PushImageOptions { tag: Some(tag.to_owned()), ..PushImageOptions::default() };
            let mut said = docker.push_image(repository, Some(options), self.credentials());
            let mut failed = None;
            while let Some(info) = said.next().await {
                match info {
                    Ok(info) => {
                        // Not each step of each layer's progress.
                        let progress = info.progress_detail.is_some_and(|progress| progress.total.is_some());
                        let told = |status: &String| !progress && !matches!(status.as_str(), "Preparing" | "Waiting");
                        if let Some(status) = info.status.filter(told) {
                            journal.log(&status);
                        }
                    }
                    Err(error) => failed = Some(anyhow::Error::from(error)),
                }
            }
            match failed {
                None => {
                    let image = self.docker.inspect_image(&format!("{repository}:{tag}")).await?;
                    let start = format!("{repository}@");
                    let digest = image.repo_digests.iter().flatten().find_map(|digest| digest.strip_prefix(&start));
                    if let Some(digest) = digest {
                        return Ok(Ok(digest.to_owned()));
                    }
                    why = "the registry names no digest".into();
                }
                Some(error) => why = sentence(&error),
            }
            journal.log(&format!("The push did not succeed ({why})."));
            if attempt < TRIES {
                tokio::time::sleep(Duration::from_secs(2 * attempt)).await;
            }
        }
        Ok(Err(format!("The image could not be pushed: {why}")))
    }

    /// An image of the existing server at the registry, by its digest; `None` if there is none, or it is one of ours.
    pub async fn inherited(&self, image: &str) -> anyhow::Result<Option<String>> {
        let Some(registry) = &self.settings.registry else { return Ok(None) };
        let name = format!("{registry}/{image}");
        let Some(found) = self.pull(&name, &Journal::default()).await? else { return Ok(None) };
        let labels = found.config.as_ref().and_then(|config| config.labels.as_ref());
        if labels.is_some_and(|labels| labels.contains_key(INSTANCE)) {
            return Ok(None);
        }
        let digest = pinned(&name, &found);
        Ok(digest.split_once('@').map(|(_, digest)| format!("{name}@{digest}")))
    }

    /// Whether an image can be used: it is here, or the registry has it.
    pub async fn has(&self, image: &str, here: bool) -> anyhow::Result<bool> {
        if here && there(self.docker.inspect_image(self.reference(image)).await)?.is_some() {
            return Ok(true);
        }
        if self.settings.registry.is_none() {
            return Ok(false);
        }
        match self.docker.inspect_registry_image(image, self.credentials()).await {
            Ok(_) => Ok(true),
            Err(error) => {
                let error = anyhow::Error::from(error);
                if is_away(&error) { Err(error) } else { Ok(false) }
            }
        }
    }

    /// How an image is asked for: without a registry by its id.
    pub fn reference<'a>(&self, image: &'a str) -> &'a str {
        match (&self.settings.registry, image.split_once('@')) {
            (None, Some((_, id))) => id,
            _ => image,
        }
    }

    /// Removes the images of versions that are not among these, and those without a name; not what is younger.
    pub async fn keep_images(&self, needed: &BTreeSet<String>, younger: Duration) -> anyhow::Result<()> {
        let label = format!("{INSTANCE}={}", self.instance);
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListImagesOptions { filters: Some(filters.clone()), ..ListImagesOptions::default() };
        let oldest = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(younger);
        let repositories: BTreeSet<&str> = needed.iter().filter_map(|name| Some(name.rsplit_once(':')?.0)).collect();
        for image in self.docker.list_images(Some(options)).await? {
            if u64::try_from(image.created).is_ok_and(|created| created > oldest.as_secs()) {
                continue;
            }
            for name in &image.repo_tags {
                let Some((repository, tag)) = name.rsplit_once(':') else { continue };
                let is_needed = needed.contains(name) || (tag == LATEST && repositories.contains(repository));
                if is_needed || repository.ends_with(GATES) {
                    continue;
                }
                tracing::info!(image = name, "the image of a version that is gone is removed");
                let start = format!("{repository}@");
                let digest = image.repo_digests.iter().find_map(|digest| digest.strip_prefix(&start));
                if let Some(digest) = digest.filter(|_| self.settings.registry.is_some())
                    && !registry::delete(self, repository, digest).await?
                {
                    tracing::info!(image = name, "the registry does not allow that images are deleted");
                }
                self.forget_image(name).await?;
            }
        }
        let nameless = [("dangling".to_owned(), vec!["true".to_owned()])];
        let until = [("until".to_owned(), vec![oldest.as_secs().to_string()])];
        let options = PruneImagesOptions { filters: Some(filters.into_iter().chain(nameless).chain(until).collect()) };
        self.docker.prune_images(Some(options)).await?;
        Ok(())
    }

    /// Forgets an image of this daemon; whoever runs it goes on.
    pub async fn forget_image(&self, name: &str) -> anyhow::Result<()> {
        Ok(settled(self.docker.remove_image(name, None::<RemoveImageOptions>, None).await)?)
    }
}
