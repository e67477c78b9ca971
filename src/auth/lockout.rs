//! Failed sign-ins lock an account for a while (contract/auth-users.md 4.6). An address that nobody has fails and locks alike,
//! so that no answer tells which addresses are known.

use chrono::TimeDelta;

use super::{caller::Caller, tokens};
use crate::{
    app::App,
    error::{Error, Result},
    store::{self, Id, Time, users::logins::Login},
};

/// Minutes of a lock from so many failures on; the last one holds until the password is reset.
pub const STEPS: [(i32, i64); 3] = [(5, 15), (10, 60), (20, FOR_GOOD_DAYS * 24 * 60)];

/// A lock of this length ends with a new password only.
const FOR_GOOD_DAYS: i64 = 36_500;

/// How a lock stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Failures {
    pub failed_count: i32,
    pub locked_until: Option<Time>,
}

/// Refuses who is locked.
pub fn check(locked_until: Option<Time>, now: Time) -> Result<()> {
    match locked_until.filter(|until| *until > now) {
        Some(until) => Err(locked(until, now)),
        None => Ok(()),
    }
}

fn is_for_good(until: Time, now: Time) -> bool {
    until - now > TimeDelta::days(FOR_GOOD_DAYS / 2)
}

fn locked(until: Time, now: Time) -> Error {
    if is_for_good(until, now) {
        let message = "Your account is locked due to too many failed login attempts. Please reset your password to regain access.";
        return Error::Locked { message: message.into(), minutes: None };
    }
    let minutes = (until - now).num_minutes().max(1);
    let message = format!("Your account is temporarily locked. Please try again in {minutes} minute(s).");
    Error::Locked { message, minutes: Some(minutes) }
}

/// What the attempt that locks is told.
fn now_locked(failures: Failures, until: Time, now: Time) -> Error {
    if is_for_good(until, now) {
        let message =
            "Your account has been locked due to too many failed login attempts. Please reset your password to unlock.";
        return Error::Locked { message: message.into(), minutes: None };
    }
    let minutes = (until - now).num_minutes();
    let n = failures.failed_count;
    let message = format!(
        "Your account has been temporarily locked after {n} failed login attempts. Please try again in {minutes} minute(s)."
    );
    Error::Locked { message, minutes: Some(minutes) }
}

/// Counts a failed sign-in and says what it is answered with. `refused` is the answer while nothing is locked.
pub async fn failed(app: &App, login: Option<&Login>, email: &str, caller: &Caller, refused: Error) -> Error {
    match count(app, login, email, caller).await {
        Ok(Some(locked)) => locked,
        Ok(None) => refused,
        Err(error) => error,
    }
}

async fn count(app: &App, login: Option<&Login>, email: &str, caller: &Caller) -> Result<Option<Error>> {
    let now = app.clock.now();
    let hash = tokens::digest(&email.to_lowercase());
    let mut tx = app.db.begin().await?;
    let never_locks = login.is_some_and(|login| super::is_environment(app, &login.email));
    let failures = match login {
        Some(_) if never_locks => None,
        Some(login) => store::users::logins::count_failure(&mut tx, login.id, now).await?,
        None => store::unknown_logins::count_failure(&mut tx, &hash, now).await?,
    };
    let until = failures.and_then(|f| f.locked_until).filter(|until| *until > now);
    let target = login.map_or_else(|| format!("unknown:{}", &hash[..16]), |login| login.id.to_string());
    store::audit::insert(&mut tx, &caller.did("auth.failed", "user", &target), now).await?;
    if until.is_some() {
        store::audit::insert(&mut tx, &caller.did("auth.locked", "user", &target), now).await?;
    }
    tx.commit().await?;
    Ok(match (failures, until) {
        (Some(failures), Some(until)) => Some(now_locked(failures, until, now)),
        // Another attempt locked it a moment ago: this one was not counted.
        (None, _) if !never_locks => match locked_since(app, login.map(|l| l.id), &hash).await? {
            Some(until) if until > now => Some(locked(until, now)),
            _ => None,
        },
        _ => None,
    })
}

async fn locked_since(app: &App, user: Option<Id>, hash: &str) -> Result<Option<Time>> {
    Ok(match user {
        Some(id) => store::users::logins::locked_until(&app.db, id).await?,
        None => store::unknown_logins::locked_until(&app.db, hash).await?,
    })
}

/// Until when an address that nobody has is locked.
pub async fn unknown(app: &App, email: &str) -> Result<Option<Time>> {
    Ok(store::unknown_logins::locked_until(&app.db, &tokens::digest(&email.to_lowercase())).await?)
}
