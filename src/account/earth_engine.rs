//! What a person, or the operator, lets the server use of Earth Engine: read, tried, used.

use secrecy::{ExposeSecret, SecretString};

use crate::{
    app::App,
    error::{Error, Result},
    google::{SCOPES, account::ServiceAccount},
    outside::Failure,
    store::{Id, users::gee::Stored},
};

/// The project of whoever names none.
pub const NO_PROJECT: &str = "earthengine-legacy";

/// Something that opens Earth Engine.
#[derive(Debug, Clone)]
pub enum Credential {
    /// A person's consent.
    OAuth {
        refresh: SecretString,
        project: Option<String>,
    },
    ServiceAccount(ServiceAccount),
}

impl Credential {
    /// What a person has stored; `None` if that is nothing, or cannot be read with this server's key.
    pub fn of(app: &App, stored: &Stored) -> Option<Self> {
        let open = |column: &Option<String>| app.fernet.as_ref()?.decrypt(column.as_deref()?);
        match stored.told.credentials_type.as_deref()? {
            "oauth" => Some(Credential::OAuth {
                refresh: open(&stored.gee_refresh_token)?,
                project: stored.told.cloud_project.clone(),
            }),
            "service_account" => {
                let key = open(&stored.gee_service_account_key)?;
                ServiceAccount::read(key.expose_secret()).map(Credential::ServiceAccount)
            }
            _ => None,
        }
    }

    /// The operator's, for whoever has none.
    pub fn default(app: &App) -> Option<Self> {
        app.google.settings.service_account.clone().map(Credential::ServiceAccount)
    }

    /// A token for it.
    pub async fn access(&self, app: &App) -> Result<crate::google::Access, Failure> {
        match self {
            Credential::OAuth { refresh, .. } => app.google.refresh(refresh).await,
            Credential::ServiceAccount(account) => app.google.access(account, &SCOPES, None, app.clock.now()).await,
        }
    }

    /// The project that it is used with.
    pub fn project(&self) -> &str {
        match self {
            Credential::OAuth { project, .. } => project.as_deref().unwrap_or(NO_PROJECT),
            Credential::ServiceAccount(account) if is_name(&account.project_id) => &account.project_id,
            Credential::ServiceAccount(_) => NO_PROJECT,
        }
    }
}

/// Whether this can be a part of an address: a key's document may say anything.
fn is_name(project: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    !project.is_empty() && !project.starts_with('.') && project.chars().all(fits)
}

/// Whether Earth Engine works with what a person has stored.
pub async fn works(app: &App, stored: &Stored) -> Result<bool> {
    let Some(credential) = Credential::of(app, stored) else { return Ok(false) };
    let tried = async {
        let access = credential.access(app).await?;
        app.google.computes(&access.token, credential.project()).await
    };
    match tried.await {
        Ok(()) => Ok(true),
        Err(Failure::Refused(..)) => Ok(false),
        Err(Failure::Silent) => Err(Error::silent("Google")),
    }
}

/// Encrypts what is to be stored.
pub fn encrypt(app: &App, text: &SecretString) -> Result<String> {
    Ok(key(app)?.encrypt(text))
}

/// The key; a sentence where the settings have none.
pub fn key(app: &App) -> Result<&crate::fernet::Fernet> {
    app.fernet.as_ref().ok_or_else(|| {
        Error::NotConfigured(
            "This server has no key to encrypt credentials with; its operator has to set GEE_ENCRYPTION_KEY.".into(),
        )
    })
}

/// Lets a person's account at Google write into the bucket of exports, or no longer; false if it could not be done.
pub async fn let_into_bucket(app: &App, address: &str, may: bool) -> bool {
    let (Some(account), Some(_)) = (Credential::default(app), &app.google.settings.bucket) else { return false };
    let done = async {
        let access = account.access(app).await?;
        app.google.let_into_bucket(&access.token, address, may).await
    };
    match done.await {
        Ok(()) => true,
        Err(failure) => {
            tracing::warn!(error = ?failure, "the bucket's rules could not be changed");
            false
        }
    }
}

/// The place that the verifier of a person's way to Google is sealed for.
pub fn verifier_place(user: Id) -> String {
    format!("oauth:{user}")
}
