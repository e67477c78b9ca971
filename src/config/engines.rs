//! Which engines run scripts on this node, and which scripts want which.

use std::collections::BTreeMap;

use super::reader::Reader;

/// A kind of engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineSetting {
    /// Sandboxes of this machine.
    Process,
    /// Containers of one Docker daemon.
    Docker,
    /// Services of a Docker Swarm.
    Swarm,
}

impl EngineSetting {
    const ALL: [Self; 3] = [Self::Process, Self::Docker, Self::Swarm];

    /// As settings call it, and as the names of its places begin.
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
            Self::Swarm => "swarm",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether this is a place of such an engine.
    pub fn has_place(self, scope: &str) -> bool {
        scope.split(':').next() == Some(self.name())
    }
}

/// The engines of this node, and the rules that all nodes must share.
#[derive(Debug, Clone)]
pub struct Engines {
    /// `TE_ENGINE`: comma list of process, docker and swarm. The first takes the scripts that no rule names. Default process.
    pub here: Vec<EngineSetting>,
    /// `TE_ENGINE_FOR`: comma list of `what=engine`, where `what` is an `environment` or a `compute_type` of scripts, or `*` for
    /// all that nothing else names. Default: none, and every worker takes every script.
    rules: BTreeMap<String, EngineSetting>,
}

impl Engines {
    /// Reads them.
    pub fn read(r: &mut Reader) -> Self {
        let mut here = Vec::new();
        for name in r.list("TE_ENGINE").unwrap_or_else(|| vec!["process".into()]) {
            match EngineSetting::named(&name) {
                Some(kind) if here.contains(&kind) => {}
                Some(kind) => here.push(kind),
                None => r.errors.push(format!("TE_ENGINE holds {name:?}; it must be of process, docker and swarm.")),
            }
        }
        let mut rules = BTreeMap::new();
        for rule in r.list("TE_ENGINE_FOR").unwrap_or_default() {
            match rule.split_once('=').map(|(what, name)| (what.trim(), EngineSetting::named(name.trim()))) {
                Some((what, Some(kind))) if !what.is_empty() => {
                    rules.insert(what.to_owned(), kind);
                }
                _ => r.errors.push(format!("TE_ENGINE_FOR holds {rule:?}; it must be a pair such as gee=swarm.")),
            }
        }
        Engines { here, rules }
    }

    pub fn has(&self, kind: EngineSetting) -> bool {
        self.here.contains(&kind)
    }

    /// The engine that a script has to run on; `None` if any will do. Its environment says more than its kind.
    pub fn wanted(&self, environment: Option<&str>, compute_type: &str) -> Option<EngineSetting> {
        let named = environment.and_then(|name| self.rules.get(name));
        named.or_else(|| self.rules.get(compute_type)).or_else(|| self.rules.get("*")).copied()
    }

    /// Whether an engine of this node takes what wants this one.
    pub fn takes(&self, kind: EngineSetting, wanted: Option<EngineSetting>) -> bool {
        wanted.map_or(self.here.first() == Some(&kind), |wanted| wanted == kind)
    }

    /// Whether scripts of a kind have been given an engine by name.
    pub fn serves(&self, compute_type: &str) -> bool {
        self.rules.contains_key(compute_type)
    }
}
