//! The Python that runs inside a unit, and the recipes of images, as they are in this program.

use std::{borrow::Cow, collections::BTreeMap};

use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "runtime"]
#[exclude = "*.md"]
#[exclude = "*Dockerfile"]
struct Runtime;

/// An image with our own runner.
pub const DOCKERFILE: &str = include_str!("../../runtime/Dockerfile");
/// An image on one of the existing Environment.
pub const ENVIRONMENT_DOCKERFILE: &str = include_str!("../../runtime/environment.Dockerfile");

/// The runner's files by their names.
pub fn files() -> BTreeMap<String, Cow<'static, [u8]>> {
    Runtime::iter().filter_map(|name| Some((name.to_string(), Runtime::get(&name)?.data))).collect()
}
