//! `openapi`: prints the document that the handlers make.

use std::process::ExitCode;

use super::say;

pub fn run() -> anyhow::Result<ExitCode> {
    say(&crate::api::routes().1.to_pretty_json()?);
    Ok(ExitCode::SUCCESS)
}
