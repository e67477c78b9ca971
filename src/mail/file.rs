//! Mail as files, where no mail service is set up: one a mail in the data folder, and links to set a password as lines of the log.

use std::{
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use async_trait::async_trait;

use super::{Mailer, NotSent};
use crate::store::mail_outbox::Outgoing;

pub struct Folder {
    folder: PathBuf,
    from: String,
}

impl Folder {
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
}
