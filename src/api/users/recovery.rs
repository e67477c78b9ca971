//! A forgotten password: a link by mail, and what it opens (contract/auth-users.md 7).

use std::time::Duration;

use axum::{Json, extract::State};

use crate::{
    api::{
        Data, ErrorBody, Said, data,
        extract::{json::MaybeJson, path::UserPath},
    },
    app::App,
    auth::{Caller, passwords, tokens},
    error::{Error, Result},
    limits::layer::Turn,
    mail::letters::{self, Occasion},
    store::{self, users::Key},
};

/// Known and unknown addresses are answered at the same time.
const ANSWERED_AFTER: Duration = Duration::from_millis(400);

/// Sends a link to set a new password, if there is such an account. Public; the answer never says whether there is.
#[utoipa::path(post, path = "/api/v1/user/{user}/recover-password", tag = "users", security(()), params(("user" = String, Path)),
    responses((status = 200, body = Data<Said>)))]
pub async fn request(State(app): State<App>, caller: Caller, turn: Turn, path: UserPath) -> Result<Json<Data<Said>>> {
    turn.account(&path.text).await?;
    let begun = tokio::time::Instant::now();
    if let Some(person) = known(&app, &path).await? {
        let now = app.clock.now();
        let mut tx = app.db.begin().await?;
        if letters::send_password_link(&mut tx, &app, Occasion::Recovery, &person, now).await?.is_some() {
            store::audit::insert(&mut tx, &caller.did("user.password_link", "user", &person.id), now).await?;
        }
        tx.commit().await?;
        app.wake();
    }
    tokio::time::sleep_until(begun + ANSWERED_AFTER).await;
    let message = "If an account with that email exists, a password recovery email has been sent.".to_owned();
    Ok(data(Said { message }))
}

/// The account of an id or an address; an address in any case, if that is one account.
async fn known(app: &App, path: &UserPath) -> Result<Option<store::users::Profile>> {
    if let Key::Email(email) = &path.key {
        let mut found = store::users::logins::find(&app.db, email).await?;
        let login = if found.len() == 1 { found.pop() } else { None };
        return Ok(match login {
            Some(login) => store::users::profile(&app.db, login.id).await?,
            None => None,
        });
    }
    Ok(store::users::find(&app.db, &path.key).await?)
}

/// Sets a new password by the token of a link. Public. Every session of the account ends, and a lock with it.
#[utoipa::path(post, path = "/api/v1/user/reset-password", tag = "users", security(()), request_body = Object,
    responses((status = 200, body = Data<Said>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody), (status = 422, body = ErrorBody)))]
pub async fn reset(
    State(app): State<App>,
    caller: Caller,
    turn: Turn,
    MaybeJson(body): MaybeJson,
) -> Result<Json<Data<Said>>> {
    let body = body.filter(|body| !body.is_empty()).ok_or_else(|| Error::invalid("Request body required"))?;
    let text = |name: &str| body.get::<String>(name).filter(|text| !text.is_empty());
    let token = text("token").ok_or_else(|| Error::invalid("Reset token is required"))?;
    let password = text("password").ok_or_else(|| Error::invalid("New password is required"))?;
    turn.account(&token).await?;
    set(&app, &caller, &token, password).await?;
    Ok(data(Said { message: "Password reset successful".into() }))
}

/// Uses up a link and sets the password. A password that breaks a rule leaves the link as it is.
pub async fn set(app: &App, caller: &Caller, token: &str, password: String) -> Result<()> {
    let dead = || Error::NotFound("Invalid or expired password reset token".into());
    let stored = tokens::stored(&token.replace('\0', ""));
    let stored = [stored[0].as_str(), stored[1].as_str()];
    let now = app.clock.now();
    // Who has no living link is not told the rules, and costs no hash.
    let mut tx = app.db.begin().await?;
    store::password_reset_tokens::take(&mut tx, stored, now).await?.ok_or_else(dead)?;
    drop(tx);
    passwords::check(&password).map_err(Error::Weak)?;
    let hash = app.hasher.hash(password).await?;
    let mut tx = app.db.begin().await?;
    let user = store::password_reset_tokens::take(&mut tx, stored, now).await?.ok_or_else(dead)?;
    store::users::logins::set_password(&mut tx, user, &hash, app.clock.next_second()).await?;
    store::users::logins::verify_email(&mut tx, user, now).await?;
    store::refresh_tokens::revoke_all(&mut tx, user).await?;
    store::audit::insert(&mut tx, &caller.did("user.password_reset", "user", &user), now).await?;
    if let Some(person) = store::users::profile_within(&mut tx, user).await? {
        letters::password_changed(&mut tx, app, &person, now).await?;
    }
    tx.commit().await?;
    app.wake();
    Ok(())
}
