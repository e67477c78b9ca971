//! Objects beside the database: archives of scripts, keyed by script and content, and large results. In a folder of this
//! machine, or in S3, where the existing server's own keys stand beside ours.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use futures::{
    TryStreamExt,
    stream::{BoxStream, StreamExt},
};
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig, aws::AmazonS3Builder,
    local::LocalFileSystem, path::Path as Key, prefix::PrefixStore,
};
use secrecy::ExposeSecret;

use crate::{
    config::{
        Config,
        objects::{Place, S3},
    },
    store::Id,
};

/// How long a connection to S3 may take to be made, and how long it may be silent.
const CONNECT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_secs(30);
/// How long one request may last, which is as long as the client of a download takes; and how long it is tried again in all.
const REQUEST: Duration = Duration::from_mins(15);
const TRIED: Duration = Duration::from_secs(20);

/// Where objects are kept.
#[derive(Clone, Debug)]
pub struct Objects {
    /// Archives.
    scripts: Arc<dyn ObjectStore>,
    /// Everything else.
    params: Arc<dyn ObjectStore>,
    /// In S3, where the existing server finds its own.
    remote: bool,
    /// What is there stays as it is: a rehearsal may stand on the objects of a live system.
    keeps: bool,
}

/// An object that is read piece by piece.
pub struct Reading {
    pub bytes: u64,
    pub pieces: BoxStream<'static, object_store::Result<Bytes>>,
}

impl Objects {
    /// The objects of the settings: in S3, else in the folder `objects` of the data folder.
    pub fn open(config: &Config, data: &Path) -> anyhow::Result<Self> {
        let objects = match &config.s3 {
            None => Self::local(&data.join("objects"))?,
            Some(s3) => {
                let (scripts, params) = (bucket(s3, &s3.scripts)?, bucket(s3, &s3.params)?);
                Objects { scripts, params, remote: true, keeps: false }
            }
        };
        Ok(Objects { keeps: config.rehearse, ..objects })
    }

    /// Keeps objects in a folder, made if it is not there.
    fn local(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let store = LocalFileSystem::new_with_prefix(folder)?.with_automatic_cleanup(true).with_fsync(true);
        let store: Arc<dyn ObjectStore> = Arc::new(store);
        Ok(Objects { scripts: store.clone(), params: store, remote: false, keeps: false })
    }

    /// Whether they are in S3, where every node reaches them, and the existing server its own.
    pub fn are_remote(&self) -> bool {
        self.remote
    }

    /// Archives and everything else may lie in buckets of their own.
    fn of(&self, key: &str) -> &Arc<dyn ObjectStore> {
        if key.ends_with(".tar.gz") { &self.scripts } else { &self.params }
    }

    /// Stores an object; the same key again replaces it as a whole.
    pub async fn put(&self, key: &str, bytes: Bytes) -> anyhow::Result<()> {
        let mode = if self.keeps { PutMode::Create } else { PutMode::Overwrite };
        match self.of(key).put_opts(&Key::parse(key)?, PutPayload::from(bytes), mode.into()).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The object, `None` if it is not there.
    pub async fn get(&self, key: &str) -> anyhow::Result<Option<Bytes>> {
        match self.of(key).get(&Key::parse(key)?).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The object, piece by piece as its reader takes it; `None` if it is not there.
    pub async fn read(&self, key: &str) -> anyhow::Result<Option<Reading>> {
        match self.of(key).get(&Key::parse(key)?).await {
            Ok(found) => Ok(Some(Reading { bytes: found.meta.size, pieces: found.into_stream() })),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Copies an object onto another key of the same bucket; false if it is not there.
    pub async fn copy(&self, from: &str, to: &str) -> anyhow::Result<bool> {
        if self.keeps {
            return Ok(true);
        }
        match self.of(from).copy(&Key::parse(from)?, &Key::parse(to)?).await {
            Ok(()) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an object; one that is not there is no error.
    pub async fn delete(&self, key: &str) -> anyhow::Result<()> {
        if self.keeps {
            return Ok(());
        }
        match self.of(key).delete(&Key::parse(key)?).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes all objects under a folder.
    pub async fn delete_under(&self, folder: &str) -> anyhow::Result<()> {
        let mut found = self.of(folder).list(Some(&Key::parse(folder)?));
        while let Some(object) = found.try_next().await? {
            self.delete(object.location.as_ref()).await?;
        }
        Ok(())
    }

    /// Removes what belonged to rows that are gone already, so that nobody can be told to try again: what cannot be removed is
    /// named in the log.
    pub async fn clear(&self, keys: &[String], folders: &[String]) {
        for key in keys {
            if let Err(error) = self.delete(key).await {
                tracing::error!(key, error = format!("{error:#}"), "an object that nobody needs could not be removed");
            }
        }
        for folder in folders {
            if let Err(error) = self.delete_under(folder).await {
                tracing::error!(folder, error = format!("{error:#}"), "objects that nobody needs could not be removed");
            }
        }
    }

    /// The keys of our archives and results that are there, one by one and in no order.
    pub fn keys(&self) -> BoxStream<'_, object_store::Result<String>> {
        let key = |object: object_store::ObjectMeta| object.location.to_string();
        let (scripts, results) = (Key::from("scripts"), Key::from("results"));
        let archives = self.scripts.list(Some(&scripts));
        archives.chain(self.params.list(Some(&results))).map_ok(key).boxed()
    }
}

/// A key of the existing server: the archive that was uploaded last under this slug.
pub fn archive_of_slug(slug: &str) -> String {
    format!("{slug}.tar.gz")
}

/// A key of the existing server: the parameters of an execution.
pub fn params_of(execution: Id) -> String {
    format!("{execution}.json.gz")
}

/// One place in S3. Credentials of an instance, a container or a web identity are renewed before they end.
fn bucket(s3: &S3, place: &Place) -> anyhow::Result<Arc<dyn ObjectStore>> {
    let retry = RetryConfig { backoff: BackoffConfig::default(), max_retries: 4, retry_timeout: TRIED };
    let client = ClientOptions::new()
        .with_allow_http(s3.plain)
        .with_connect_timeout(CONNECT)
        .with_read_timeout(SILENCE)
        .with_timeout(REQUEST);
    let mut builder = AmazonS3Builder::new().with_client_options(client).with_retry(retry);
    for (key, value) in &s3.settings {
        builder = builder.with_config(*key, value.expose_secret());
    }
    let store = builder.with_bucket_name(&place.bucket).build().context("the settings of S3")?;
    Ok(Arc::new(PrefixStore::new(store, place.prefix.as_str())))
}
