//! Who is a member of a group.

use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;

use super::Google;
use crate::{outside::Failure, store::Time};

const HOST: &str = "admin.googleapis.com";
const SCOPE: &str = "https://www.googleapis.com/auth/admin.directory.group.member";

impl Google {
    /// A token for the groups; `None` where the settings know no account for them.
    pub async fn groups_token(&self, now: Time) -> Option<Result<SecretString, Failure>> {
        let (account, admin) = self.settings.groups.as_ref()?;
        Some(self.access(account, &[SCOPE], Some(admin), now).await.map(|access| access.token))
    }

    /// Puts a person into a group, or out of it. That it is so already is success.
    pub async fn let_into_group(
        &self,
        token: &SecretString,
        group: &str,
        address: &str,
        may: bool,
    ) -> Result<(), Failure> {
        let members = self.url(HOST, &format!("/admin/directory/v1/groups/{group}/members"));
        let asked = if may {
            let member = json!({"email": address, "role": "MEMBER"});
            self.ask(self.request(Method::POST, &members, token).json(&member)).await
        } else {
            let name: String = url::form_urlencoded::byte_serialize(address.as_bytes()).collect();
            self.ask(self.request(Method::DELETE, &format!("{members}/{name}"), token)).await
        };
        match asked {
            Ok(_) => Ok(()),
            Err(Failure::Refused(409, _)) if may => Ok(()),
            Err(Failure::Refused(404, _)) if !may => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}
