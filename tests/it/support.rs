//! What tests stand on: a server of their own, callers, script packages, and waiting for events instead of sleeping.

mod client;
mod database;
mod package;
mod server;
pub mod token;

pub use client::{Answer, Client};
pub use package::{Package, entry, sized};
pub use server::{Options, Server};

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

/// Says that a test cannot run here, and why; `test.sh` counts these lines.
pub fn skip(test: &str, why: &str) {
    println!("SKIPPED {test}: {why}");
    eprintln!("SKIPPED {test}: {why}");
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
