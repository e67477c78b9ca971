//! Reads settings one by one and collects what is wrong with them: a bad value counts as the default until all are read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    limits::{Limit, Storage},
    redis,
};

/// The environment, what of it was asked for, and what was wrong with it.
pub struct Reader {
    pub env: BTreeMap<String, String>,
    seen: BTreeSet<String>,
    pub errors: Vec<String>,
}

impl Reader {
    /// Reads from these variables.
    pub fn new(env: BTreeMap<String, String>) -> Self {
        Reader { env, seen: BTreeSet::new(), errors: Vec::new() }
    }

    /// The setting, from the environment or the file that `<NAME>_FILE` names; what is empty is unset.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let file = format!("{name}_FILE");
        self.seen.extend([name.to_owned(), file.clone()]);
        let direct = self.env.get(name).filter(|v| !v.is_empty()).cloned();
        let from_file = self.env.get(&file).filter(|v| !v.is_empty()).cloned();
        match (direct, from_file) {
            (Some(_), Some(_)) => {
                self.errors.push(format!("{name} and {file} are both set; set one of them."));
                None
            }
            (Some(value), None) => Some(value),
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(value) => Some(value.trim_end_matches(['\r', '\n']).to_owned()).filter(|v| !v.is_empty()),
                Err(error) => {
                    self.errors.push(format!("{file} names {path}, which cannot be read: {error}."));
                    None
                }
            },
            (None, None) => None,
        }
    }

    /// The same, as a value that does not print.
    pub fn secret(&mut self, name: &str) -> Option<SecretString> {
        self.text(name).map(SecretString::from)
    }

    /// What credentials of people are encrypted with; the word that the existing server ships in its place is none.
    pub fn gee_secret(&mut self, otherwise: Option<&SecretString>) -> Option<SecretString> {
        let secret = self.secret("GEE_ENCRYPTION_KEY").or_else(|| otherwise.cloned())?;
        if secret.expose_secret() == "default-key-change-in-production" {
            self.errors
                .push("GEE_ENCRYPTION_KEY, or SECRET_KEY in its place, is the default that everybody knows.".into());
        }
        Some(secret)
    }

    /// The URL of Redis, whole or as links between containers give it.
    pub fn redis(&mut self) -> Option<SecretString> {
        let host = self.text("REDIS_PORT_6379_TCP_ADDR");
        let port = self.number("REDIS_PORT_6379_TCP_PORT", 6379, 1..=u16::MAX);
        let (name, url) = match (self.text("REDIS_URL"), host) {
            (Some(url), _) => ("REDIS_URL", url),
            (None, Some(host)) => ("REDIS_PORT_6379_TCP_ADDR", format!("redis://{host}:{port}")),
            (None, None) => return None,
        };
        self.is_redis(name, url)
    }

    /// Where requests are counted.
    pub fn storage(&mut self) -> Storage {
        match self.text("RATE_LIMIT_STORAGE_URI") {
            None => Storage::Redis,
            Some(url) if url.starts_with("memory:") => Storage::Here,
            Some(url) => self.is_redis("RATE_LIMIT_STORAGE_URI", url).map_or(Storage::Here, Storage::Other),
        }
    }

    /// The URL is not shown: it may hold a password.
    fn is_redis(&mut self, name: &str, url: String) -> Option<SecretString> {
        if redis::open(&url).is_none() {
            self.errors.push(format!("{name} is not understood; it must be an address such as redis://host:6379/0."));
            return None;
        }
        Some(SecretString::from(url))
    }

    /// An address of the web, without the slash at its end.
    pub fn url(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        if !url::Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            self.errors.push(format!("{name} is {text:?}; it must be an address such as https://api.example.org."));
            return None;
        }
        Some(text.trim_end_matches('/').to_owned())
    }

    /// A list parted by commas; quotes around a part go.
    pub fn list(&mut self, name: &str) -> Option<Vec<String>> {
        let text = self.text(name)?;
        Some(
            text.split(',')
                .map(|part| part.trim_matches([' ', '"', '\'']).to_owned())
                .filter(|part| !part.is_empty())
                .collect(),
        )
    }

    /// Networks such as `10.0.0.0/8`; an address alone is a network of one.
    pub fn networks(&mut self, name: &str) -> Option<Vec<IpNet>> {
        let texts = self.list(name)?;
        Some(texts.iter().filter_map(|text| self.network(name, text)).collect())
    }

    fn network(&mut self, name: &str, text: &str) -> Option<IpNet> {
        let network = text.parse().or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from)).ok();
        if network.is_none() {
            self.errors.push(format!("{name} holds {text:?}; it must be a network such as 10.0.0.0/8."));
        }
        network
    }

    /// Limits such as `60 per minute, 600 per hour`, the shortest window first.
    pub fn limits(&mut self, name: &str, default: &str) -> Vec<Limit> {
        let text = self.text(name).unwrap_or_else(|| default.to_owned());
        let mut limits = Vec::new();
        for part in text.split([',', ';']).map(|part| part.trim_matches([' ', '"', '\'', '[', ']'])) {
            match Limit::parse(part) {
                Some(limit) => limits.push(limit),
                None => self.errors.push(format!("{name} holds {part:?}; it must be a limit such as 60 per minute.")),
            }
        }
        limits.sort_by_key(|limit| limit.seconds());
        limits
    }

    /// Front ends that speak for many people: networks, and ids of service clients.
    pub fn front_ends(&mut self) -> (Vec<IpNet>, Vec<String>) {
        let named = self.list("TE_TRUSTED_CLIENTS").unwrap_or_default();
        let (clients, networks): (Vec<_>, Vec<_>) = named.into_iter().partition(|name| name.starts_with("te_cid_"));
        let networks = networks.iter().filter_map(|text| self.network("TE_TRUSTED_CLIENTS", text)).collect();
        (networks, clients)
    }

    /// Networks of the existing server's settings that nobody limits, by the operator's word; without it, what is ignored.
    pub fn internal(&mut self) -> (Vec<IpNet>, Vec<String>) {
        let trusted = self.switch("TE_TRUST_INTERNAL_NETWORKS", false);
        let (mut networks, mut ignored) = (Vec::new(), Vec::new());
        for name in ["INTERNAL_NETWORKS", "EXECUTION_SUBNET", "DOCKER_SUBNET"] {
            match trusted {
                true => networks.extend(self.networks(name).unwrap_or_default()),
                false if self.text(name).is_some() => ignored.push(format!(
                    "{name} is ignored: nobody is exempt by his address unless TE_TRUST_INTERNAL_NETWORKS=true."
                )),
                false => {}
            }
        }
        (networks, ignored)
    }

    /// Yes or no, in the words that people use.
    pub fn switch(&mut self, name: &str, default: bool) -> bool {
        let values = [
            ("true", true),
            ("1", true),
            ("yes", true),
            ("on", true),
            ("false", false),
            ("0", false),
            ("no", false),
            ("off", false),
        ];
        self.choice(name, default, &values)
    }

    /// One of these words, in any case.
    pub fn choice<T: Copy>(&mut self, name: &str, default: T, values: &[(&str, T)]) -> T {
        let Some(text) = self.text(name) else { return default };
        let lower = text.to_lowercase();
        match values.iter().find(|(word, _)| *word == lower) {
            Some((_, value)) => *value,
            None => {
                let words: Vec<&str> = values.iter().map(|(word, _)| *word).collect();
                self.errors.push(format!("{name} is {text:?}; it must be one of {}.", words.join(", ")));
                default
            }
        }
    }

    /// A number within the range; `_` may part its digits.
    pub fn number<T: FromStr + PartialOrd + fmt::Display + Copy>(
        &mut self,
        name: &str,
        default: T,
        range: std::ops::RangeInclusive<T>,
    ) -> T {
        let Some(text) = self.text(name) else { return default };
        match text.replace('_', "").parse::<T>() {
            Ok(value) if range.contains(&value) => value,
            _ => {
                self.errors.push(format!(
                    "{name} is {text:?}; it must be a number from {} to {}.",
                    range.start(),
                    range.end()
                ));
                default
            }
        }
    }

    /// A misspelt setting of ours must not be passed over in silence.
    pub fn report_unknown(&mut self) {
        let unknown: Vec<String> = self
            .env
            .keys()
            .filter(|name| name.starts_with("TE_") && !name.starts_with("TE_TEST_") && !self.seen.contains(*name))
            .cloned()
            .collect();
        for name in unknown {
            self.errors.push(format!("{name} is not a setting of this server."));
        }
    }
}
