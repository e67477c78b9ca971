//! Whom an item is meant for: platform, version and role of who reads.

use pep440_rs::Version;

use super::{super::extract::query::Pairs, NewsItem, Role};

/// Platforms have two names each: what is written with one is read with the other (contract/content-admin.md, trap 14).
const ALIASES: [(&str, &str); 3] = [("qgis_plugin", "app"), ("web", "webapp"), ("api_ui", "api-ui")];

/// Who reads.
pub struct Reader {
    /// Any of these; none is any.
    platforms: Vec<String>,
    /// `None` where it cannot be compared.
    version: Option<Version>,
    role: Option<Role>,
}

impl Reader {
    /// Who reads, as the query says.
    pub fn of(query: &Pairs, role: Option<Role>) -> Self {
        Reader {
            platforms: platforms(query.get("platform").unwrap_or("")),
            version: version(query.get("version")),
            role,
        }
    }

    /// Whether an item is meant for this reader.
    pub fn is_meant(&self, item: &NewsItem) -> bool {
        self.fits(item) && is_for_role(item, self.role)
    }

    /// The same for who sees the items of every role.
    pub fn fits(&self, item: &NewsItem) -> bool {
        let meant = platforms(&item.target_platforms);
        let here = self.platforms.is_empty() || self.platforms.iter().any(|one| meant.contains(one));
        here && self.version.as_ref().is_none_or(|own| {
            version(item.min_version.as_deref()).is_none_or(|least| least <= *own)
                && version(item.max_version.as_deref()).is_none_or(|most| *own <= most)
        })
    }
}

/// The parts of a comma list, as they were written.
pub fn split(text: Option<&str>) -> Vec<String> {
    text.filter(|text| !text.is_empty()).map_or_else(Vec::new, |text| text.split(',').map(str::to_owned).collect())
}

/// Whether the role of who reads, or nobody's, is meant.
pub fn is_for_role(item: &NewsItem, role: Option<Role>) -> bool {
    let roles = split(item.target_roles.as_deref());
    roles.is_empty() || role.is_some_and(|role| roles.iter().any(|name| name.trim() == role.as_str()))
}

/// The platforms of a comma list, each by its first name.
fn platforms(list: &str) -> Vec<String> {
    let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| ALIASES.iter().find(|(_, other)| *other == name).map_or(name, |(first, _)| first).to_owned())
        .collect()
}

fn version(text: Option<&str>) -> Option<Version> {
    text?.trim().parse().ok()
}
