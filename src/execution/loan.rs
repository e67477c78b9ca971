//! What a run is lent of its owner's Earth Engine credentials, or of the operator's: never the credentials themselves, but a
//! token and a key made for this run, which the server changes for a short access token while the run lives.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use crate::{
    account::earth_engine::Credential,
    app::App,
    auth::{self, tokens},
    google::{Access, account::ServiceAccount},
    outside::Failure,
    store::{self, Id, loans, script_versions::Version, users::Role},
};

/// Whose credentials they are.
pub const OF_USER: &str = "user";
pub const OF_OPERATOR: &str = "default";
/// What stands where a secret would that is not given.
const LENT: &str = "lent";
/// A token that ends sooner is not given again.
const REST: Duration = Duration::from_secs(300);

/// The tokens that runs were given last, and when they end: however often a run asks, Google is asked once an hour.
#[derive(Default)]
pub struct Given(Mutex<HashMap<Id, (Instant, SecretString)>>);

impl Given {
    fn get(&self, run: Id) -> Option<Access> {
        let given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (ends, token) = given.get(&run)?;
        let left = ends.saturating_duration_since(Instant::now());
        let expires_in = i64::try_from(left.as_secs()).ok()?;
        (left > REST).then(|| Access { token: token.clone(), expires_in })
    }

    fn put(&self, run: Id, access: &Access) {
        let now = Instant::now();
        let ends = now + Duration::from_secs(u64::try_from(access.expires_in).unwrap_or(0));
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        given.retain(|_, (ends, _)| *ends > now + REST);
        given.insert(run, (ends, access.token.clone()));
    }
}

/// What was made for one run, as it is kept, sealed.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Made {
    /// The refresh token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// The document of a service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
}

/// What a run gets.
pub struct Loan {
    pub source: &'static str,
    pub sealed: String,
    /// Environment variables (contract/scripts-executions.md 5.3).
    pub variables: BTreeMap<String, SecretString>,
    /// What must not be read in its words.
    pub hidden: Vec<SecretString>,
}

/// What came of the wish to lend.
pub enum Lending {
    Lent(Loan),
    /// There are credentials, but the version of the script is not one of an administrator.
    Withheld,
    Nothing,
}

fn place(execution: Id) -> String {
    format!("loan:{execution}")
}

/// The path at which a run changes what it was lent.
pub fn path(execution: Id) -> String {
    format!("/api/v1/execution/{execution}/google-token")
}

/// Lends to a run what its owner has stored, else what the settings hold. `api` is how the run reaches this server.
pub async fn lend(app: &App, execution: Id, version: &Version, api: &str) -> anyhow::Result<Lending> {
    let Some(owner) = store::executions::user_of(&app.db, execution).await? else { return Ok(Lending::Nothing) };
    let stored = store::users::gee::stored(&app.db, owner).await?;
    let own = stored.and_then(|stored| Credential::of(app, &stored));
    let (source, credential) = match (own, Credential::default(app)) {
        (Some(own), _) => (OF_USER, own),
        (None, Some(default)) => (OF_OPERATOR, default),
        (None, None) => return Ok(Lending::Nothing),
    };
    let author = store::script_versions::author(&app.db, version.id).await?;
    let trusted = author.is_some_and(|(id, email, role)| {
        Role::of(role.as_deref()) >= Role::Admin
            || (app.config.environment_user_superadmin && auth::is_environment(app, &email))
            // His own script may use his own credentials.
            || (id == owner && source == OF_USER)
    });
    if !trusted {
        return Ok(Lending::Withheld);
    }
    let url = format!("{api}{}", path(execution));
    let (mut made, mut variables, mut hidden) = (Made::default(), BTreeMap::new(), Vec::new());
    let mut set = |name: &str, value: &str| variables.insert(name.to_owned(), SecretString::from(value));
    match &credential {
        Credential::OAuth { project, .. } => {
            let token = tokens::random(32);
            let client = app.google.settings.oauth.as_ref().map_or("", |(id, _)| id.as_str());
            set("GEE_OAUTH_ACCESS_TOKEN", LENT);
            set("GEE_OAUTH_REFRESH_TOKEN", &token);
            set("GOOGLE_OAUTH_CLIENT_ID", client);
            set("GOOGLE_OAUTH_CLIENT_SECRET", LENT);
            set("GOOGLE_OAUTH_TOKEN_URI", &url);
            if let Some(project) = project {
                set("GEE_CLOUD_PROJECT", project);
            }
            hidden.push(SecretString::from(token.as_str()));
            made.token = Some(token);
        }
        Credential::ServiceAccount(account) => {
            let account = account.clone();
            // A key takes a tenth of a second of work.
            let lent = tokio::task::spawn_blocking(move || account.lent(&url)).await?;
            let document = lent.ok_or_else(|| anyhow::anyhow!("no key could be made"))?;
            let encoded = STANDARD.encode(document.expose_secret());
            set("EE_SERVICE_ACCOUNT_JSON", &encoded);
            hidden.push(SecretString::from(encoded));
            hidden.extend(lines(document.expose_secret()));
            made.account = Some(document.expose_secret().to_owned());
        }
    }
    if source == OF_OPERATOR
        && let Some(project) = &app.google.settings.project
    {
        set("GOOGLE_PROJECT_ID", project);
    }
    if let Some(endpoint) = &app.google.settings.endpoint {
        set("GEE_ENDPOINT", endpoint);
    }
    let sealed = app.vault.seal(&place(execution), &serde_json::to_string(&made)?)?;
    Ok(Lending::Lent(Loan { source, sealed, variables, hidden }))
}

/// What a run was lent, and must not be read in its words.
pub async fn hidden(app: &App, execution: Id) -> anyhow::Result<Vec<SecretString>> {
    let Some(loan) = loans::of(&app.db, execution).await? else { return Ok(Vec::new()) };
    // Sealed with another key since, it cannot be hidden; nor does it open anything any more.
    let made = opened(app, execution, &loan).unwrap_or_default();
    let mut hidden: Vec<SecretString> = made.token.into_iter().map(SecretString::from).collect();
    if let Some(document) = made.account {
        hidden.push(SecretString::from(STANDARD.encode(&document)));
        hidden.extend(lines(&document));
    }
    Ok(hidden)
}

/// The lines of the key in a document.
fn lines(document: &str) -> Vec<SecretString> {
    ServiceAccount::read(document).map(|account| account.lines().collect()).unwrap_or_default()
}

fn opened(app: &App, execution: Id, loan: &loans::Loan) -> Option<Made> {
    serde_json::from_str(app.vault.open(&place(execution), &loan.sealed)?.expose_secret()).ok()
}

/// The credential that a loan is of, if it is still there.
pub async fn credential(app: &App, source: &str, owner: Option<Id>) -> sqlx::Result<Option<Credential>> {
    match (source, owner) {
        (OF_USER, Some(owner)) => {
            let stored = store::users::gee::stored(&app.db, owner).await?;
            Ok(stored.and_then(|stored| Credential::of(app, &stored)))
        }
        (OF_USER, None) => Ok(None),
        _ => Ok(Credential::default(app)),
    }
}

/// What a run brings to have it changed.
pub enum Brought<'a> {
    Token(&'a str),
    /// A request that is signed with the key.
    Request(&'a str),
}

/// An access token for a living run that brings what it was lent; `None` if it does not.
pub async fn change(app: &App, execution: Id, brought: Brought<'_>) -> anyhow::Result<Option<Result<Access, Failure>>> {
    let Some(loan) = loans::living(&app.db, execution).await? else { return Ok(None) };
    let Some(made) = opened(app, execution, &loan) else { return Ok(None) };
    let right = match brought {
        Brought::Token(token) => made.token.is_some_and(|made| tokens::same(&made, token)),
        Brought::Request(request) => {
            let account = made.account.as_deref().and_then(ServiceAccount::read);
            account.is_some_and(|account| account.verify(request, app.clock.now()))
        }
    };
    if !right {
        return Ok(None);
    }
    if let Some(access) = app.given.get(execution) {
        return Ok(Some(Ok(access)));
    }
    let Some(credential) = credential(app, &loan.source, loan.user_id).await? else { return Ok(None) };
    let got = credential.access(app).await;
    if let Ok(access) = &got {
        app.given.put(execution, access);
    }
    Ok(Some(got))
}
