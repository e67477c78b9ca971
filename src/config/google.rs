//! What the server may ask of Google: `GOOGLE_…`, `EE_SERVICE_ACCOUNT_JSON`, `GEE_ENDPOINT`, `GCS_OUTPUT_BUCKET`.

use secrecy::{ExposeSecret, SecretString};

use super::reader::Reader;
use crate::google::account::ServiceAccount;

/// Settings of Google's services.
#[derive(Debug, Clone)]
pub struct Google {
    /// `GOOGLE_OAUTH_CLIENT_ID` and `GOOGLE_OAUTH_CLIENT_SECRET`: by which people let the server use Earth Engine for them.
    pub oauth: Option<(String, SecretString)>,
    /// `GOOGLE_OAUTH_REDIRECT_URI`: where Google sends people back to. Default: this server's own page.
    pub redirect_url: Option<String>,
    /// `GOOGLE_OAUTH_TOKEN_URI`: where tokens are had. Default https://oauth2.googleapis.com/token.
    pub token_url: Option<String>,
    /// `TE_GOOGLE_URL`: stands before the address of every service of Google, `<url>/<host>/<path>`: a relay. Default: none.
    pub relay: Option<String>,
    /// `EE_SERVICE_ACCOUNT_JSON`: key of the account that runs use whose owners have none, as JSON or as that in base64.
    pub service_account: Option<ServiceAccount>,
    /// `GOOGLE_PROJECT_ID`: the project that pays for it. Default: the account's own.
    pub project: Option<String>,
    /// `GEE_ENDPOINT`: the address of Earth Engine that runs are told. Default: the library's own.
    pub endpoint: Option<String>,
    /// `GCS_OUTPUT_BUCKET`: the bucket into which people's own Earth Engine exports; they are let in with the account above.
    pub bucket: Option<String>,
    /// `TE_GOOGLE_GROUPS_JSON`, the key of a service account, and `TE_GOOGLE_GROUPS_ADMIN`, the address of the administrator
    /// for whom it puts people into groups.
    pub groups: Option<(ServiceAccount, String)>,
}

impl Google {
    /// Reads all of them.
    pub fn read(r: &mut Reader) -> Self {
        let oauth = match (r.text("GOOGLE_OAUTH_CLIENT_ID"), r.secret("GOOGLE_OAUTH_CLIENT_SECRET")) {
            (Some(id), Some(secret)) => Some((id, secret)),
            (None, None) => None,
            _ => {
                r.errors.push("GOOGLE_OAUTH_CLIENT_ID and GOOGLE_OAUTH_CLIENT_SECRET must be set together.".into());
                None
            }
        };
        let groups = match (account(r, "TE_GOOGLE_GROUPS_JSON"), r.text("TE_GOOGLE_GROUPS_ADMIN")) {
            (Some(account), Some(admin)) => Some((account, admin)),
            (None, None) => None,
            _ => {
                r.errors.push("TE_GOOGLE_GROUPS_JSON and TE_GOOGLE_GROUPS_ADMIN must be set together.".into());
                None
            }
        };
        Google {
            oauth,
            redirect_url: r.url("GOOGLE_OAUTH_REDIRECT_URI"),
            token_url: r.url("GOOGLE_OAUTH_TOKEN_URI"),
            relay: r.url("TE_GOOGLE_URL"),
            service_account: account(r, "EE_SERVICE_ACCOUNT_JSON"),
            project: r.text("GOOGLE_PROJECT_ID"),
            endpoint: r.url("GEE_ENDPOINT"),
            bucket: r.text("GCS_OUTPUT_BUCKET"),
            groups,
        }
    }
}

/// The key of a service account.
fn account(r: &mut Reader, name: &str) -> Option<ServiceAccount> {
    let text = r.secret(name)?;
    let account = ServiceAccount::of_setting(text.expose_secret());
    if account.is_none() {
        r.errors.push(format!("{name} is not the key of a service account, as JSON or as that in base64."));
    }
    account
}
