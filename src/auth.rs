//! Who asks: extractors that a handler names as parameters. A handler without one is public.

pub mod blocklist;
pub mod caller;
pub mod lockout;
pub mod passwords;
pub mod scopes;
pub mod tokens;
pub mod vault;

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, MatchedPath},
    http::{HeaderMap, header, request::Parts},
};
pub use caller::Caller;
use scopes::Scopes;

use crate::{
    app::App,
    error::{Error, Result, TokenError},
    limits::layer::Turn,
    store::{
        self, Id,
        scripts::Viewer,
        users::{Held, Holder, Profile, Role},
    },
};

/// A person or program with an account, by a living access token.
#[derive(Debug, Clone)]
pub struct User {
    pub id: Id,
    pub email: String,
    /// From the role column; the environment account counts as SUPERADMIN where the setting says so.
    pub role: Role,
    /// The account that containers of the existing server sign in with.
    pub is_environment: bool,
    /// Of the token that was brought.
    pub token: tokens::Access,
    /// Where the request comes from.
    pub caller: Caller,
}

/// An account with its whole profile, read together with the fate of its token.
#[derive(Debug, Clone)]
pub struct Own {
    pub user: User,
    pub profile: Profile,
}

/// An account of role ADMIN or SUPERADMIN; to others the route is forbidden.
#[derive(Debug, Clone)]
pub struct Admin(pub User);

/// An account of role SUPERADMIN; to others the route is forbidden.
#[derive(Debug, Clone)]
pub struct Superadmin(pub User);

/// Whoever may report for an execution: an account, or the execution itself by its run credential.
#[derive(Debug, Clone)]
pub enum Reporter {
    User(Box<User>),
    Run(Run),
}

/// Marks a request of a run, or of the account that containers sign in with: what it sends may be large, and is heard
/// whatever it is, since nobody there could mend it.
#[derive(Debug, Clone, Copy)]
pub struct OfContainer;

/// An execution that speaks for itself. What it opens is a fixed list of routes: those that take a `Reporter`.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    pub execution: Id,
    /// The attempt that the credential was drawn for; words of an earlier one change nothing.
    pub attempt: i32,
}

impl Reporter {
    /// A run, or the account that containers sign in with.
    pub fn is_container(&self) -> bool {
        match self {
            Reporter::User(user) => user.is_environment,
            Reporter::Run(_) => true,
        }
    }
}

impl User {
    pub fn is_admin(&self) -> bool {
        self.role >= Role::Admin
    }

    pub fn is_superadmin(&self) -> bool {
        self.role == Role::Superadmin
    }

    /// Whose scripts this caller sees.
    pub fn viewer(&self) -> Viewer {
        if self.is_admin() { Viewer::Everything } else { Viewer::Person { id: self.id, role: self.role.as_str() } }
    }

    /// Owners, administrators and the account of the containers see an execution; to everybody else it does not exist.
    pub fn sees(&self, execution: &store::executions::Execution) -> bool {
        self.is_admin() || self.is_environment || execution.user_id == Some(self.id)
    }

    /// How events name this caller.
    pub fn actor(&self) -> String {
        format!("user:{}", self.id)
    }
}

impl FromRequestParts<App> for User {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let access = brought(parts, app)?;
        let granted = access.client.as_ref().map(|client| client.scopes.clone());
        let user = of_token(app, access, Caller::of(parts)).await?;
        admit(parts, &user, granted.as_deref())?;
        Ok(user)
    }
}

impl FromRequestParts<App> for Own {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let access = brought(parts, app)?;
        let granted = access.client.as_ref().map(|client| client.scopes.clone());
        let found = store::users::holder_with_profile(&app.db, held(&access, app)).await?;
        let (holder, profile) = found.ok_or_else(|| nobody(&access))?;
        let user = living(app, access, holder, Caller::of(parts)).await?;
        admit(parts, &user, granted.as_deref())?;
        Ok(Own { user, profile })
    }
}

/// Links that a browser opens, which can carry their token nowhere else.
const LINKS: [&str; 2] = ["/api/v1/script/{script}/download", "/api/v1/execution/{execution}/download-results"];

/// The token that a request brings, verified.
fn brought(parts: &Parts, app: &App) -> Result<tokens::Access> {
    let token = match bearer(&parts.headers) {
        Err(TokenError::Missing) => in_url(parts, app).ok_or(TokenError::Missing)?,
        token => token?.to_owned(),
    };
    Ok(app.tokens.read_access(&token, app.clock.now())?)
}

/// The token in the address of such a link, where the settings allow it.
fn in_url(parts: &Parts, app: &App) -> Option<String> {
    let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let query = parts.uri.query().filter(|_| app.config.token_in_url && LINKS.contains(&path))?;
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "token").map(|(_, token)| token.into_owned())
}

/// Lets an account in where its token allows it, and counts the request as its own.
fn admit(parts: &Parts, user: &User, granted: Option<&str>) -> Result<()> {
    if let Some(granted) = granted {
        let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let scopes = parts.extensions.get::<Arc<Scopes>>().cloned().unwrap_or_default();
        scopes.check(&parts.method, path, granted)?;
    }
    if let Some(turn) = parts.extensions.get::<Turn>() {
        turn.seen(user);
    }
    Ok(())
}

impl FromRequestParts<App> for Admin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let user = User::from_request_parts(parts, app).await?;
        if user.is_admin() { Ok(Admin(user)) } else { Err(Error::forbidden()) }
    }
}

impl FromRequestParts<App> for Superadmin {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let user = User::from_request_parts(parts, app).await?;
        if user.is_superadmin() { Ok(Superadmin(user)) } else { Err(Error::forbidden()) }
    }
}

impl FromRequestParts<App> for Reporter {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let token = bearer(&parts.headers)?;
        if let Some(claims) = app.tokens.read_run(token, app.clock.now())? {
            // The credential ends with its run, whatever the token says of itself.
            let living = store::credentials::living(&app.db, claims.execution, app.clock.now()).await?;
            if living.is_none() {
                return Err(TokenError::Expired.into());
            }
            parts.extensions.insert(OfContainer);
            return Ok(Reporter::Run(Run { execution: claims.execution, attempt: claims.attempt }));
        }
        let user = User::from_request_parts(parts, app).await?;
        if user.is_environment {
            parts.extensions.insert(OfContainer);
        }
        Ok(Reporter::User(Box::new(user)))
    }
}

/// The account behind a token, if both still live.
pub async fn of_token(app: &App, access: tokens::Access, caller: Caller) -> Result<User> {
    let holder = store::users::holder(&app.db, held(&access, app)).await?.ok_or_else(|| nobody(&access))?;
    living(app, access, holder, caller).await
}

fn held<'a>(access: &'a tokens::Access, app: &App) -> Held<'a> {
    let client = access.client.as_ref().map(|client| client.id.as_str());
    Held { user: access.sub, jti: &access.jti, client, now: app.clock.now() }
}

fn nobody(access: &tokens::Access) -> Error {
    let msg = format!("Error loading the user {}", access.sub);
    Error::SignIn { status: axum::http::StatusCode::UNAUTHORIZED, msg, code: None }
}

async fn living(app: &App, access: tokens::Access, holder: Holder, caller: Caller) -> Result<User> {
    let before = holder.tokens_not_before.is_some_and(|t| access.iat < t.and_utc().timestamp());
    if holder.revoked || before || app.blocklist.holds(&access).await {
        return Err(TokenError::Revoked.into());
    }
    let is_environment = is_environment(app, &holder.email);
    let role = match Role::of(holder.role.as_deref()) {
        _ if is_environment && app.config.environment_user_superadmin => Role::Superadmin,
        role => role,
    };
    let caller = Caller { user: Some(holder.id), ..caller };
    Ok(User { id: holder.id, email: holder.email, role, is_environment, token: access, caller })
}

/// Whether an address is that of the account which containers of the existing server sign in with.
pub fn is_environment(app: &App, email: &str) -> bool {
    app.config.environment_user.as_deref() == Some(email.to_lowercase().as_str())
}

/// The token of the one `Bearer` item in the Authorization header (contract/auth-users.md 4.1).
pub fn bearer(headers: &HeaderMap) -> Result<&str, TokenError> {
    let value = headers.get(header::AUTHORIZATION).ok_or(TokenError::Missing)?;
    let value = value.to_str().map_err(|_| TokenError::Invalid)?;
    let mut bearers = value.split(',').map(str::trim).filter_map(|item| {
        let rest = item.strip_prefix("Bearer")?;
        (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim())
    });
    match (bearers.next(), bearers.next()) {
        (None, _) | (Some(_), Some(_)) => Err(TokenError::Missing),
        (Some(token), None) if token.is_empty() || token.contains(' ') => Err(TokenError::Invalid),
        (Some(token), None) => Ok(token),
    }
}
