//! `gate`: the one way out for runs in containers, an HTTPS proxy with the address rules of every engine. The engines
//! start it beside the networks of their runs and builds; it reads the settings that the server reads.

use std::{net::SocketAddr, process::ExitCode};

use tokio::net::TcpListener;
use url::Url;

use super::{flags, say};
use crate::{
    config::Config,
    engine::process::{environment::Index, gate::Gate, spec::Gate as Rules},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address and port that the containers reach
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:3128")]
    listen: SocketAddr,
    /// Lead to the server and nowhere else
    #[arg(long)]
    closed: bool,
    /// For builds: lead to the package index and nowhere else
    #[arg(long, conflicts_with = "closed")]
    index: bool,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::from_process(&flags(None))?;
    let listener = TcpListener::bind(args.listen).await?;
    say(&format!("the gate listens on {}", listener.local_addr()?));
    let rules = if args.index { for_builds(&config) } else { for_runs(&config, args.closed)? };
    let note = |sentence: &str| {
        say(sentence);
        Ok(())
    };
    let gate = Gate::on(rules, listener, Box::new(note));
    tokio::select! {
        () = gate.serve() => {}
        () = super::serve::told_to_stop() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Public hosts by HTTPS unless it is closed, and the server itself.
fn for_runs(config: &Config, closed: bool) -> anyhow::Result<Rules> {
    let url = Url::parse(&config.internal_url())?;
    let host = url.host_str().ok_or_else(|| anyhow::anyhow!("API_INTERNAL_URL names no host"))?;
    let api = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
    Ok(Rules {
        ports: vec![443],
        hosts: if closed { Some(Vec::new()) } else { config.egress_hosts.clone() },
        trusted: if url.scheme() == "https" { vec![api.clone()] } else { Vec::new() },
        api: (url.scheme() == "http").then_some(api),
        upstream: Index::from_env(&config.machine).upstream,
        ..Rules::default()
    })
}

/// The hosts of the package index.
fn for_builds(config: &Config) -> Rules {
    let index = Index::from_env(&config.machine);
    Rules {
        ports: vec![443],
        hosts: Some(index.hosts()),
        trusted: index.trusted("https"),
        plain: index.trusted("http"),
        upstream: index.upstream,
        ..Rules::default()
    }
}
