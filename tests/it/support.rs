//! What tests stand on: a server of their own, callers, script packages, and waiting for events instead of sleeping.

mod client;
mod database;
pub mod google;
mod index;
pub mod mail_server;
mod package;
mod postgres;
mod processes;
mod program;
pub mod python;
mod random;
mod redis;
mod s3;
mod server;
pub mod token;

pub use client::{Answer, Client, PATIENCE};
pub use database::server_url as database_url;
pub use index::{PackageIndex, source, wheel};
pub use package::{Package, entry, sized};
pub use postgres::Postgres;
pub use processes::{keeper_of, processes_of};
pub use program::{Place, Program, Running, Said};
pub use random::Random;
pub use redis::Redis;
pub use s3::{S3, role_of_the_machine};
pub use server::{Options, Server, program};

/// Waits until something holds that no event tells of.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The name of a JSON value's type.
pub fn json_type(value: &serde_json::Value) -> &'static str {
    use serde_json::Value;
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Says that a test cannot run here, and why; `test.sh` counts these lines. Not by a macro: the output of a test that passes
/// is swallowed.
pub fn skip(test: &str, why: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// The folder with the recorded reference, where it lies beside the checkout.
pub fn reference() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("TE_TEST_REFERENCE").map(std::path::PathBuf::from);
    let beside = || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference");
    Some(named.unwrap_or_else(beside)).filter(|folder| folder.is_dir())
}

/// Whether this account is root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// These bytes as gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// JSON without the blanks that PostgreSQL puts behind commas and colons.
pub fn compact(json: &str) -> String {
    let (mut out, mut quoted, mut escaped) = (String::new(), false, false);
    for c in json.chars() {
        if c == ' ' && !quoted {
            continue;
        }
        quoted ^= c == '"' && !escaped;
        escaped = quoted && c == '\\' && !escaped;
        out.push(c);
    }
    out
}

/// A setting of the test itself, a number.
pub fn setting(name: &str, default: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a setting of the test, not of the server")]
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
