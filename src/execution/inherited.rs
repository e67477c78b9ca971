//! A script that the existing server has built has no version of ours: number 1 is made when a run first needs it, from the
//! archive that lies in S3 under the script's name.

use sqlx::types::Json as SqlJson;

use crate::{
    app::App,
    build::{self, archive::Reject},
    engine::Made,
    error::{Error, Result},
    objects,
    store::{
        self, Id,
        script_versions::{NewVersion, Version},
        scripts::Script,
    },
};

/// Number 1 of a script that was built before this server came; `None` if it was not, or its archive cannot be here.
pub async fn version(app: &App, script: &Script) -> Result<Option<Version>> {
    if !app.objects.are_remote()
        || script.status != "SUCCESS"
        || store::script_versions::newest(&app.db, script.id).await?.is_some()
    {
        return Ok(None);
    }
    let gz = app.objects.get(&objects::archive_of_slug(&script.slug)).await?.ok_or_else(|| {
        Error::Gone(format!("The archive of script {} is not there any more; publish it again.", script.slug))
    })?;
    let bytes = gz.clone();
    let checked = tokio::task::spawn_blocking(move || build::check(&bytes)).await.map_err(anyhow::Error::from)?;
    let mut checked = checked.map_err(|Reject { code, detail }| {
        Error::invalid_as(code, format!("The archive of script {} cannot be run here. {detail}", script.slug))
    })?;
    build::keep(&mut checked.configuration, script);
    let key = build::archive_key(script.id, &checked.package.digest);
    app.objects.put(&key, gz).await?;
    let schema = checked.configuration.params_schema.take();
    let schema = schema.map(serde_json::value::RawValue::from_string).transpose().map_err(anyhow::Error::from)?;
    let schema = schema.map(SqlJson);
    let config = SqlJson(serde_json::value::to_raw_value(&checked.configuration).map_err(anyhow::Error::from)?);
    let new = NewVersion {
        script: script.id,
        digest: &checked.package.digest,
        archive_key: &key,
        config: &config,
        params_schema: schema.as_ref(),
        created_by: script.user_id,
    };
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    store::scripts::lock(&mut tx, script.id).await?;
    let id = Id::ordered();
    store::script_versions::insert(&mut tx, id, &new, now).await?;
    // Somebody else may have been faster, by a run or by an upload.
    if !store::script_versions::is_first(&mut tx, id).await? {
        drop(tx);
        return Ok(store::script_versions::current(&app.db, script.id).await?);
    }
    // It is built: what it needs on a machine of ours is made there by its first run.
    store::script_versions::set_status(&mut tx, id, "SUCCESS", None, now).await?;
    // Where runs are containers, the image is there as well: whoever starts the first one looks which it is.
    let image = format!("{}:latest", script.slug);
    store::script_versions::set_made(&mut tx, id, Made::Image, &image).await?;
    tx.commit().await?;
    Ok(store::script_versions::get(&app.db, id).await?)
}
