//! `client login`: signs in and keeps the session.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::Context;
use url::Url;

use super::session;
use crate::cli::{api::Api, aside, ask_password, say};

/// Where a server of one's own listens.
const HERE: &str = "http://127.0.0.1:3000";

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address of the server [default: that of the last session, else http://127.0.0.1:3000]
    #[arg(long)]
    url: Option<String>,
    /// Whom to sign in [default: who was signed in last, else asked for]
    #[arg(long, value_name = "E-MAIL")]
    email: Option<String>,
}

pub async fn run(args: Args, folder: &Path) -> anyhow::Result<ExitCode> {
    // A session that cannot be read is replaced.
    let last = session::read(folder).unwrap_or_default();
    let (last_url, last_email) = last.map(|session| (session.url, session.email)).unzip();
    let url = args.url.or(last_url).unwrap_or_else(|| HERE.to_owned());
    let parsed = Url::parse(&url).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    let parsed = parsed.with_context(|| format!("{url:?} is no address such as https://api.trends.earth"))?;
    anyhow::ensure!(
        parsed.username().is_empty() && parsed.password().is_none(),
        "The address holds a name; use --email"
    );
    let loopback = matches!(parsed.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    if parsed.scheme() == "http" && !loopback {
        aside("The address begins with http: the password goes over the network in clear.");
    }
    let email = match args.email.or(last_email) {
        Some(email) => email,
        None => ask_email()?,
    };
    let password = ask_password(&format!("Password of {email} at {url}: "))?;
    let session = Api::sign_in(url.trim_end_matches('/'), &email, &password).await?;
    session::keep(folder, &session)?;
    say(&format!("{email} is signed in at {}.", session.url));
    Ok(ExitCode::SUCCESS)
}

fn ask_email() -> anyhow::Result<String> {
    anyhow::ensure!(std::io::stdin().is_terminal(), "Say whom to sign in: --email");
    write!(std::io::stderr(), "E-mail: ")?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}
