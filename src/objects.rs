//! Objects beside the database: archives of scripts, keyed by script and content. A folder on this machine.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload, local::LocalFileSystem, path::Path as Key};

/// Where objects are kept.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// What is there stays as it is: a rehearsal may stand on the objects of a live system.
    keeps: bool,
}

impl Objects {
    /// Keeps objects in a folder, made if it is not there.
    pub fn local(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let store = LocalFileSystem::new_with_prefix(folder)?.with_automatic_cleanup(true).with_fsync(true);
        Ok(Objects { store: Arc::new(store), keeps: false })
    }

    /// With `true`, nothing that is there is removed or replaced.
    pub fn keeping(self, keeps: bool) -> Self {
        Objects { keeps, ..self }
    }

    /// Stores an object; the same key again replaces it as a whole.
    pub async fn put(&self, key: &str, bytes: Bytes) -> anyhow::Result<()> {
        let mode = if self.keeps { PutMode::Create } else { PutMode::Overwrite };
        match self.store.put_opts(&Key::parse(key)?, PutPayload::from(bytes), mode.into()).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The object, `None` if it is not there.
    pub async fn get(&self, key: &str) -> anyhow::Result<Option<Bytes>> {
        match self.store.get(&Key::parse(key)?).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an object; one that is not there is no error.
    pub async fn delete(&self, key: &str) -> anyhow::Result<()> {
        if self.keeps {
            return Ok(());
        }
        match self.store.delete(&Key::parse(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes all objects under a folder.
    pub async fn delete_under(&self, folder: &str) -> anyhow::Result<()> {
        let mut found = self.store.list(Some(&Key::parse(folder)?));
        while let Some(object) = found.try_next().await? {
            self.delete(object.location.as_ref()).await?;
        }
        Ok(())
    }
}
