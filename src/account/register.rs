//! A new account: the row, its profile, and a password that nobody knows until the person sets one.

use super::fields::{self, Registration};
use crate::{
    app::App,
    auth::{self, User, caller::Caller, tokens},
    error::{Error, Result},
    mail::letters::{self, Occasion},
    store::{
        self, Id,
        search::Value,
        users::{NewUser, Profile, Role},
    },
};

/// Registers a person, who gets a link by mail. Only a SUPERADMIN gives other roles than USER.
pub async fn register(app: &App, by: Option<&User>, caller: &Caller, new: Registration) -> Result<Profile> {
    let role = match (new.role, by) {
        (None | Some(Role::User), _) | (_, None) => Role::User,
        (Some(role), Some(by)) if by.is_superadmin() => role,
        _ => return Err(Error::forbidden()),
    };
    // Whoever owned that mailbox would own what its address opens.
    if auth::is_environment(app, &new.email) && !by.is_some_and(User::is_superadmin) {
        return Err(taken());
    }
    make(app, caller, role, new).await.map(|(profile, _)| profile)
}

/// Makes an account for somebody, from the shell; gives the link to set the password too.
pub async fn invite(app: &App, new: Registration) -> Result<(Profile, Option<String>)> {
    let role = new.role.unwrap_or(Role::User);
    make(app, &Caller::default(), role, new).await
}

fn taken() -> Error {
    Error::invalid("Email address is already registered")
}

async fn make(app: &App, caller: &Caller, role: Role, new: Registration) -> Result<(Profile, Option<String>)> {
    let (id, now) = (Id::random(), app.clock.now());
    let password = app.hasher.hash(tokens::random(24)).await?;
    let mut tx = app.db.begin().await?;
    let row = NewUser { email: &new.email, name: &new.name, role, password: &password, verified: false };
    if !store::users::insert(&mut tx, id, &row, now).await? {
        return Err(taken());
    }
    let mut changes = new.changes;
    if fields::consents(&changes) {
        changes.0.push(("consent_given_at", Some(Value::Time(now))));
        changes.0.push(("consent_source", Some(Value::Text("registration".into()))));
    }
    store::users::update(&mut tx, id, &changes, now).await?;
    store::audit::insert(&mut tx, &caller.did("user.created", "user", &id), now).await?;
    let profile = store::users::profile_within(&mut tx, id).await?;
    let profile = profile.ok_or_else(|| anyhow::anyhow!("the new account is not there"))?;
    let link = letters::send_password_link(&mut tx, app, Occasion::Welcome, &profile, now).await?;
    tx.commit().await?;
    app.wake();
    Ok((profile, link))
}
