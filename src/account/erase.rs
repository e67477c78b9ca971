//! The end of an account (the own one, or by a SUPERADMIN): own work goes, what others use stays, no word of the person is left.

use chrono::TimeDelta;

use crate::{
    app::App,
    auth::{self, User, tokens},
    error::{Error, Result},
    execution::results,
    store::{
        self,
        users::{Profile, Role, erase::Why},
    },
};

/// Deletes an account. The last SUPERADMIN and the environment account stay.
pub async fn erase(app: &App, by: &User, gone: &Profile) -> Result<()> {
    if auth::is_environment(app, &gone.email) {
        return Err(Error::forbidden());
    }
    let own = by.id == gone.id;
    let environment = app.config.environment_user.as_deref();
    let mut heir = store::users::erase::heir(&app.db, environment, gone.id).await?;
    if !own && environment.is_none() {
        heir = Some(by.id);
    }
    let now = app.clock.now();
    let hash = tokens::digest(&gone.email.to_lowercase());
    let mut tx = app.db.begin().await?;
    if Role::of(gone.role.as_deref()) == Role::Superadmin && store::users::superadmins(&mut tx).await? < 2 {
        return Err(Error::Conflict(
            "The last SUPERADMIN cannot be deleted; give the role to somebody else first.".into(),
        ));
    }
    let why = Why {
        reason: if own { "user_request" } else { "admin_request" },
        by: (!own).then_some(by.id),
        email_sha256: &hash,
        hash_until: own.then(|| now + TimeDelta::days(30)),
    };
    if !store::users::erase::remember(&mut tx, gone.id, &why, now).await? {
        return Err(Error::not_found(format!("User with id {} does not exist", gone.id)));
    }
    let mut archives = Vec::new();
    let mut with_results = store::runs::with_results_of_user(&mut tx, gone.id).await?;
    for script in store::users::erase::own_scripts(&mut tx, gone.id).await? {
        archives.extend(store::script_versions::archive_keys(&mut tx, script).await?);
        with_results.extend(store::runs::with_results_of_script(&mut tx, script).await?);
        store::scripts::delete(&mut tx, script).await?;
    }
    store::users::erase::erase(&mut tx, gone.id, heir).await?;
    let mut act = by.caller.did("user.deleted", "user", &gone.id);
    if own {
        // The last act of somebody who is to be forgotten.
        act.ip_address = None;
    }
    store::audit::insert(&mut tx, &act, now).await?;
    tx.notify();
    tx.commit().await?;
    // Whoever follows a run of the account hears now that the row is gone, and stops the unit.
    app.wake();
    let folders: Vec<String> = with_results.into_iter().map(results::folder).collect();
    app.objects.clear(&archives, &folders).await;
    app.mailer.forget(&gone.email).await?;
    Ok(())
}
