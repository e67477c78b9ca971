//! Tasks: what scripts of several versions have in common, read from their slugs (contract/content-admin.md 6).

use std::collections::HashMap;

use crate::{
    error::Result,
    store::{self, Db, Id},
};

/// What a slug says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    pub name: String,
    /// `2.2.4`; empty if the slug has none.
    pub version: String,
}

/// The tasks of all scripts.
pub struct Tasks {
    tasks: HashMap<Id, (String, Task)>,
    unknown: Task,
}

impl Tasks {
    pub async fn read(db: &Db) -> Result<Self> {
        let slugs = store::scripts::slugs(db).await?;
        let tasks = slugs.into_iter().map(|(id, slug)| (id, (slug.clone(), Task::of(&slug)))).collect();
        Ok(Tasks { tasks, unknown: Task { name: "unknown".into(), version: String::new() } })
    }

    /// The task of a script; of one that is gone, `unknown`.
    pub fn of(&self, script: Option<Id>) -> &Task {
        script.and_then(|id| self.tasks.get(&id)).map_or(&self.unknown, |(_, task)| task)
    }

    /// Whether this text stands in the slug of a script, in any case.
    pub fn has(&self, script: Option<Id>, text: &str) -> bool {
        script.and_then(|id| self.tasks.get(&id)).is_some_and(|(slug, _)| slug.contains(&text.to_lowercase()))
    }
}

impl Task {
    /// A version stands at the end: three numbers, or whatever follows the last `-v` that has a digit behind it.
    pub fn of(slug: &str) -> Self {
        let (name, version) = three_numbers(slug).or_else(|| after_v(slug)).unwrap_or((slug, ""));
        let name = match name {
            "sdg-sub-indicators" => "sdg-15-3-1-sub-indicators",
            "vegetation-productivity" => "productivity",
            name if name.starts_with("productivity-") => "productivity",
            name => name,
        };
        Task { name: name.to_owned(), version: version.replace('-', ".") }
    }

    /// The first number of the version, `unknown` if there is none.
    pub fn major(&self) -> &str {
        match self.version.split('.').next() {
            None | Some("") => "unknown",
            Some(major) => major,
        }
    }
}

/// `name-1-2-3`: the name does not end in a digit itself, or the numbers would be part of it.
fn three_numbers(slug: &str) -> Option<(&str, &str)> {
    let mut rest = slug;
    for _ in 0..3 {
        let (before, number) = rest.rsplit_once('-')?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        rest = before;
    }
    (!rest.is_empty() && !rest.ends_with(|c: char| c.is_ascii_digit())).then(|| (rest, &slug[rest.len() + 1..]))
}

fn after_v(slug: &str) -> Option<(&str, &str)> {
    let (name, version) = slug.rsplit_once("-v")?;
    (!name.is_empty() && version.starts_with(|c: char| c.is_ascii_digit())).then_some((name, version))
}
