//! Who may write into the bucket of exports.

use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::Google;
use crate::outside::Failure;

/// May write objects, not read them.
const ROLE: &str = "roles/storage.objectCreator";
/// Tries, if somebody else changes the same rules at the same time.
const TRIES: usize = 3;

impl Google {
    /// Lets a person write into the bucket of the settings, or no longer.
    pub async fn let_into_bucket(&self, token: &SecretString, address: &str, may: bool) -> Result<(), Failure> {
        let bucket = self.settings.bucket.as_deref().unwrap_or_default();
        let url = self.url("storage.googleapis.com", &format!("/storage/v1/b/{bucket}/iam"));
        let member = json!(format!("user:{address}"));
        let mut last = Failure::Silent;
        for _ in 0..TRIES {
            let read = format!("{url}?optionsRequestedPolicyVersion=3");
            let mut policy = self.ask(self.request(Method::GET, &read, token)).await?;
            if !change(&mut policy, &member, may) {
                return Ok(());
            }
            match self.ask(self.request(Method::PUT, &url, token).json(&policy)).await {
                Ok(_) => return Ok(()),
                Err(Failure::Refused(409 | 412, said)) => last = Failure::Refused(412, said),
                Err(other) => return Err(other),
            }
        }
        Err(last)
    }
}

/// Adds a member to the role, or takes him away; false if nothing is to be done.
fn change(policy: &mut Value, member: &Value, may: bool) -> bool {
    if !policy["bindings"].is_array() {
        policy["bindings"] = json!([]);
    }
    let Some(bindings) = policy["bindings"].as_array_mut() else { return false };
    // A binding under a condition is somebody's own; it is left alone.
    let ours = bindings.iter_mut().find(|binding| binding["role"] == ROLE && binding.get("condition").is_none());
    match ours.and_then(|binding| binding["members"].as_array_mut()) {
        Some(members) if members.contains(member) == may => false,
        Some(members) if may => {
            members.push(member.clone());
            true
        }
        Some(members) => {
            members.retain(|other| other != member);
            true
        }
        None if may => {
            bindings.push(json!({"role": ROLE, "members": [member]}));
            true
        }
        None => false,
    }
}
