//! Who is signed in where, kept in a file that nobody else may read.

use std::{
    io::{ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

const FILE: &str = "session.json";

/// A signed-in account.
#[derive(Debug, Clone)]
pub struct Session {
    /// Address of the server, without a slash at its end.
    pub url: String,
    pub email: String,
    pub access_token: SecretString,
    /// Trades for a new access token; service accounts have none.
    pub refresh_token: Option<SecretString>,
}

impl Session {
    /// What `/auth` or this file says; `None` if there is no token in it.
    pub fn of(answer: &Value, url: &str, email: &str) -> Option<Self> {
        let secret = |key: &str| answer[key].as_str().map(|text| SecretString::from(text.to_owned()));
        let (url, email) = (url.to_owned(), email.to_owned());
        Some(Session { url, email, access_token: secret("access_token")?, refresh_token: secret("refresh_token") })
    }
}

/// The session of this folder, if somebody is signed in.
pub fn read(folder: &Path) -> anyhow::Result<Option<Session>> {
    let path = folder.join(FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mode = std::fs::metadata(&path)?.permissions().mode() & 0o777;
    anyhow::ensure!(
        mode & 0o077 == 0,
        "{} can be read by others (mode {mode:o}); make it private: chmod 600 {}",
        path.display(),
        path.display()
    );
    let kept: Value = serde_json::from_str(&text).unwrap_or_default();
    let session = Session::of(&kept, kept["url"].as_str().unwrap_or(""), kept["email"].as_str().unwrap_or(""));
    let session = session.filter(|session| !session.url.is_empty());
    Ok(Some(
        session.with_context(|| format!("{} is damaged; sign in again: trends-earth client login", path.display()))?,
    ))
}

/// Keeps a session, whole or not at all.
pub fn keep(folder: &Path, session: &Session) -> anyhow::Result<()> {
    let text = json!({
        "url": session.url,
        "email": session.email,
        "access_token": session.access_token.expose_secret(),
        "refresh_token": session.refresh_token.as_ref().map(ExposeSecret::expose_secret),
    });
    let write = || {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let temporary = folder.join(format!(".{FILE}.{}", std::process::id()));
        let _ = std::fs::remove_file(&temporary);
        let mut file = std::fs::File::options().create_new(true).write(true).mode(0o600).open(&temporary)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        std::fs::rename(&temporary, folder.join(FILE))
    };
    write().with_context(|| format!("the session cannot be kept in {}", folder.display()))
}

/// Forgets the session.
pub fn forget(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(folder.join(FILE)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
