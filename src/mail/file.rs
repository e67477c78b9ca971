//! Mail as files, where no mail service is set up: one a mail in the data folder, and links to set a password as lines of the log.

use std::{
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use async_trait::async_trait;

use super::{Mailer, NotSent};
use crate::store::mail_outbox::Outgoing;

/// Each letter becomes a file: for a server that has no mail service.
pub struct Folder {
    folder: PathBuf,
    from: String,
}

impl Folder {
    /// Letters go to this folder, which is made with the first one.
    pub fn new(folder: &Path, from: &str) -> Self {
        Folder { folder: folder.to_owned(), from: from.to_owned() }
    }

    fn write(&self, mail: &Outgoing) -> anyhow::Result<PathBuf> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let path = self.folder.join(format!("{}.eml", mail.id));
        let part = self.folder.join(format!(".{}.part", mail.id));
        let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(&super::smtp::message(mail, &self.from)?.formatted())?;
        file.sync_all()?;
        std::fs::rename(part, &path)?;
        Ok(path)
    }

    fn remove(&self, recipient: &str) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            // One that is just being written gets its name meanwhile.
            let Ok(mail) = std::fs::read(&path) else { continue };
            if is_to(&String::from_utf8_lossy(&mail), recipient) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// Whether a mail's `To` header, which may be folded, is this address.
fn is_to(mail: &str, recipient: &str) -> bool {
    let mut lines = mail.lines().take_while(|line| !line.is_empty()).skip_while(|line| !line.starts_with("To:"));
    let first = lines.next().unwrap_or("").trim_start_matches("To:");
    let to: String =
        std::iter::once(first).chain(lines.take_while(|line| line.starts_with(' '))).map(str::trim).collect();
    to.eq_ignore_ascii_case(recipient)
}

#[async_trait]
impl Mailer for Folder {
    async fn send(&self, mail: &Outgoing) -> Result<(), NotSent> {
        let path = self.write(mail).map_err(|error| NotSent(format!("{error:#}")))?;
        let link = mail.text.split_whitespace().find(|word| word.contains("/reset-password?token="));
        tracing::info!(file = %path.display(), link, "no mail service is set up: a mail was written to a file");
        Ok(())
    }

    async fn check(&self) -> anyhow::Result<String> {
        Ok(format!("no mail service is set up; each mail is a file in {}", self.folder.display()))
    }

    async fn forget(&self, recipient: &str) -> anyhow::Result<()> {
        match self.remove(recipient) {
            // There was no mail yet.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => Ok(other?),
        }
    }
}
