//! The package index that this machine uses, as its operator set it for pip and uv: builds use the same, and reach
//! nothing else. What is secret in these settings stays outside the sandbox.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use url::Url;

/// Where packages come from unless the operator says otherwise.
const PYPI: &str = "https://pypi.org/simple";
/// Bundles of certificates of the usual systems.
const SYSTEM_BUNDLES: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];
/// Bytes of a `pip.conf`.
const MAX_CONFIG: u64 = 64 << 10;

/// The operator's settings of pip and uv, without anything secret.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// Index URLs, the default one first; `http` or `https`, without credentials. Empty with `no_index`.
    pub urls: Vec<String>,
    /// Pages of links to packages.
    pub pages: Vec<String>,
    /// Folders of packages on this machine, which exist.
    pub folders: Vec<PathBuf>,
    /// Only pages and folders are looked into.
    pub no_index: bool,
    /// Hosts whose certificates are not checked.
    pub insecure: Vec<String>,
    /// A bundle of certificates; the system's unless another one is set.
    pub bundle: Option<PathBuf>,
    /// `http://host:port` of the machine's proxy.
    pub upstream: Option<String>,
    /// What of the settings is not used, a sentence each, for the server's log and the build's.
    pub notes: Vec<String>,
}

impl Index {
    /// Reads the settings from an environment and the `pip.conf` files that it leads to.
    #[must_use]
    pub fn from_env(env: &BTreeMap<String, String>) -> Self {
        let get = |names: &[&str]| names.iter().find_map(|name| env.get(*name).filter(|value| !value.is_empty()));
        let config = Config::read(&config_files(env));
        // The later a source, the stronger: files, pip's environment, uv's.
        let pip = |key: &str| {
            let variable = format!("PIP_{}", key.to_ascii_uppercase().replace('-', "_"));
            get(&[&variable]).cloned().or_else(|| config.get(key)).unwrap_or_default()
        };
        let mut index = Self::default();
        let default = get(&["UV_DEFAULT_INDEX", "UV_INDEX_URL"]).cloned().unwrap_or_else(|| pip("index-url"));
        let extra = get(&["UV_INDEX", "UV_EXTRA_INDEX_URL"]).cloned().unwrap_or_else(|| pip("extra-index-url"));
        let links = get(&["UV_FIND_LINKS"]).map(|links| links.replace(',', " ")).unwrap_or_else(|| pip("find-links"));
        index.no_index =
            [get(&["UV_NO_INDEX"]).cloned().unwrap_or_default(), pip("no-index")].iter().any(|word| is_true(word));
        if !index.no_index {
            let default = if default.is_empty() { PYPI } else { &default };
            // uv's indexes may have names: `name=https://…`.
            for url in std::iter::once(default).chain(extra.split_whitespace()) {
                let url = url.split_once('=').filter(|(name, _)| !name.contains(':')).map_or(url, |(_, url)| url);
                let url = index.clean(url, "package index");
                index.urls.extend(url);
            }
        }
        for link in links.split_whitespace() {
            let path = link.strip_prefix("file://").unwrap_or(link);
            if path.starts_with('/') {
                index.folder(Path::new(path));
            } else {
                let page = index.clean(link, "page of packages");
                index.pages.extend(page);
            }
        }
        index.insecure = pip("trusted-host").split_whitespace().map(str::to_owned).collect();
        if !pip("client-cert").is_empty() {
            index.note("The client certificate of pip's settings is not handed to builds.".into());
        }
        let bundle = get(&["PIP_CERT"]).cloned().or_else(|| config.get("cert"));
        let bundle = bundle.or_else(|| get(&["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "CURL_CA_BUNDLE"]).cloned());
        index.bundle = index.certificates(bundle.as_deref());
        index.upstream = index.proxy(get, &pip("proxy"));
        index
    }

    /// Names that the gate opens for an installer, with port 443.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        self.places().into_iter().map(|(host, _, _)| host).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// `host:port` of this scheme that the gate opens whatever the address: the operator named them.
    #[must_use]
    pub fn trusted(&self, scheme: &str) -> Vec<String> {
        let places = self.places().into_iter().filter(|(_, _, known)| known == scheme);
        places.map(|(host, port, _)| format!("{host}:{port}")).collect()
    }

    /// What of the settings decides which packages an environment gets: a part of its key.
    #[must_use]
    pub fn identity(&self) -> String {
        format!("{:?} {:?} {:?} {}", self.urls, self.pages, self.folders, self.no_index)
    }

    fn places(&self) -> BTreeSet<(String, u16, String)> {
        let mut places = BTreeSet::new();
        for url in self.urls.iter().chain(&self.pages).filter_map(|url| Url::parse(url).ok()) {
            let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { continue };
            places.insert((host.to_owned(), port, url.scheme().to_owned()));
            // The public index keeps its files elsewhere.
            let files = match host {
                "pypi.org" | "pypi.python.org" => "files.pythonhosted.org",
                "test.pypi.org" => "test-files.pythonhosted.org",
                _ => continue,
            };
            places.insert((files.to_owned(), 443, "https".to_owned()));
        }
        places
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// A URL without its credentials.
    fn clean(&mut self, text: &str, what: &str) -> Option<String> {
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let Some(mut url) = url else {
            self.note(format!("A {what} of the machine's settings is not an http(s) URL; builds do without it."));
            return None;
        };
        if !url.username().is_empty() || url.password().is_some() {
            // Neither can fail: the URL has a host.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            let host = url.host_str().unwrap_or_default().to_owned();
            self.note(format!(
                "The credentials of the {what} at {host} are not handed to builds; it must answer without."
            ));
        }
        Some(url.as_str().trim_end_matches('/').to_owned())
    }

    fn folder(&mut self, path: &Path) {
        match fs::canonicalize(path) {
            Ok(real) if real.is_dir() && real.parent().is_some() => self.folders.push(real),
            _ => self.note(format!("The folder of packages {} does not exist; builds do without it.", path.display())),
        }
    }

    fn certificates(&mut self, set: Option<&str>) -> Option<PathBuf> {
        if let Some(set) = set {
            match fs::canonicalize(set) {
                Ok(real) if real.is_file() => return Some(real),
                _ => self.note(format!("The certificates {set} are not a file; builds use the system's.")),
            }
        }
        SYSTEM_BUNDLES.iter().find_map(|bundle| fs::canonicalize(bundle).ok())
    }

    fn proxy<'a>(&mut self, get: impl Fn(&[&str]) -> Option<&'a String>, pip: &str) -> Option<String> {
        let named = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
        let proxy = if pip.is_empty() { get(&named)?.clone() } else { pip.to_owned() };
        let without = get(&["NO_PROXY", "no_proxy"]).cloned().unwrap_or_default();
        if self.hosts().iter().all(|host| excepted(host, &without)) {
            return None;
        }
        let with_scheme = if proxy.contains("://") { proxy } else { format!("http://{proxy}") };
        let url = Url::parse(&with_scheme).ok().filter(|url| url.scheme() == "http" && url.has_host());
        let Some(url) = url else {
            self.note("The machine's proxy is not an http:// proxy; builds go out without it.".into());
            return None;
        };
        if !url.username().is_empty() {
            self.note("The credentials of the machine's proxy are not used for builds; it must answer without.".into());
        }
        Some(format!("http://{}:{}", url.host_str()?, url.port_or_known_default()?))
    }
}

fn is_true(word: &str) -> bool {
    matches!(word.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on" | "y" | "t")
}

/// Whether `NO_PROXY` names a host.
fn excepted(host: &str, without: &str) -> bool {
    without.split([',', ' ']).map(|rule| rule.trim().trim_start_matches('.')).filter(|rule| !rule.is_empty()).any(
        |rule| {
            let rule = rule.rsplit_once(':').map_or(rule, |(rule, _)| rule);
            rule == "*" || host == rule || host.strip_suffix(rule).is_some_and(|before| before.ends_with('.'))
        },
    )
}

/// pip's own list, the weakest first.
fn config_files(env: &BTreeMap<String, String>) -> Vec<PathBuf> {
    let last = env.get("PIP_CONFIG_FILE").filter(|path| !path.is_empty());
    if last.is_some_and(|path| path == "/dev/null") {
        return Vec::new();
    }
    let mut files = vec!["/etc/xdg/pip/pip.conf".into(), "/etc/pip.conf".into()];
    if let Some(home) = env.get("HOME").filter(|home| home.starts_with('/')).map(Path::new) {
        files.push(home.join(".pip/pip.conf"));
        let config = env.get("XDG_CONFIG_HOME").filter(|path| path.starts_with('/'));
        files.push(config.map_or_else(|| home.join(".config"), PathBuf::from).join("pip/pip.conf"));
    }
    files.extend(last.map(PathBuf::from));
    files
}

/// What `pip.conf` files say in `[global]` and `[install]`, the stronger last.
struct Config(BTreeMap<(u8, String), String>);

impl Config {
    fn read(files: &[PathBuf]) -> Self {
        let mut all = BTreeMap::new();
        for file in files {
            let small = fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.len() <= MAX_CONFIG);
            if let Some(text) = small.then(|| fs::read_to_string(file).ok()).flatten() {
                all.extend(parse(&text));
            }
        }
        Self(all)
    }

    fn get(&self, key: &str) -> Option<String> {
        [1, 0]
            .iter()
            .find_map(|section| self.0.get(&(*section, key.to_owned())).filter(|value| !value.is_empty()).cloned())
    }
}

fn parse(text: &str) -> BTreeMap<(u8, String), String> {
    let mut all: BTreeMap<(u8, String), String> = BTreeMap::new();
    let (mut section, mut key) = (None, None);
    for line in text.lines() {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with([' ', '\t']) {
            if let Some(value) = key.as_ref().and_then(|key| all.get_mut(key)) {
                value.push(' ');
                value.push_str(content);
            }
        } else if content.starts_with('[') {
            section =
                ["[global]", "[install]"].iter().zip(0..).find(|(name, _)| content == **name).map(|(_, rank)| rank);
            key = None;
        } else if let (Some(section), Some((name, value))) = (section, content.split_once(['=', ':'])) {
            let this = (section, name.trim().to_ascii_lowercase().replace('_', "-"));
            all.insert(this.clone(), value.trim().to_owned());
            key = Some(this);
        } else {
            key = None;
        }
    }
    all
}
