//! `client logout`: ends the session there and forgets it here.

use std::{path::Path, process::ExitCode};

use secrecy::ExposeSecret;
use serde_json::json;

use super::session::{self, Session};
use crate::cli::{api::Api, say};

pub async fn run(api: &Api, session: &Session, folder: &Path) -> anyhow::Result<ExitCode> {
    let token = session.refresh_token.as_ref().map(ExposeSecret::expose_secret);
    let ended = api.post("/auth/logout", &json!({"refresh_token": token}).to_string()).await;
    session::forget(folder)?;
    // A session that had ended before is signed out too.
    if let Err(trouble) = ended
        && trouble.status.is_none_or(|status| status != reqwest::StatusCode::UNAUTHORIZED)
    {
        anyhow::bail!("The session is forgotten here, but {} has not heard of it: {trouble}", api.base);
    }
    say(&format!("{} is signed out.", session.email));
    Ok(ExitCode::SUCCESS)
}
