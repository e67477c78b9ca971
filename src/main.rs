//! `trends-earth`, one binary: see `cli.rs` for its commands.

use std::process::ExitCode;

use clap::Parser;
use trends_earth::cli::{self, Cli};

fn main() -> ExitCode {
    if let Some(code) = cli::hidden() {
        return code;
    }
    // Two TLS providers in one program would panic at the first connection; there is one, and it is named here.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return fail("the TLS provider could not be set");
    }
    let cli = Cli::parse();
    // What holds the signing key must not be read by others of the same account.
    let _ = nix::sys::prctl::set_dumpable(false);
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("the async runtime could not start: {error}")),
    };
    match runtime.block_on(cli::run(cli.command)) {
        Ok(code) => code,
        Err(error) => fail(&format!("{error:#}")),
    }
}

fn fail(text: &str) -> ExitCode {
    eprintln!("trends-earth: {}", cli::plain(text));
    ExitCode::FAILURE
}
