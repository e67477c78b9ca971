//! Secrets that an administrator granted to a script: which names they may have, what a run gets of them, and how its words are
//! kept free of them.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};

use super::loan;
use crate::{
    app::App,
    engine::{Entry, Word},
    store::{self, Id, script_secrets::Sealed},
};

/// Characters of a name.
const NAME_CHARS: usize = 64;
/// Characters from which on a value is looked for: a shorter one would be found everywhere.
const MASKED_CHARS: usize = 6;
/// What stands in the place of a value.
const MASK: &str = "***";

/// Variables that a run has already, or that change how its programs are found and started.
const TAKEN: [&str; 33] = [
    "API_ENVIRONMENT_USER",
    "API_ENVIRONMENT_USER_PASSWORD",
    "API_PASSWORD",
    "API_URL",
    "API_USER",
    "CURL_CA_BUNDLE",
    "ENV",
    "EXECUTION_ID",
    "GCONV_PATH",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "LANG",
    "LANGUAGE",
    "LOCPATH",
    "LOGNAME",
    "NLSPATH",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "PARAMS_S3_BUCKET",
    "PARAMS_S3_PREFIX",
    "PATH",
    "PWD",
    "REQUESTS_CA_BUNDLE",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "SHELL",
    "SKIP_GEE_INIT",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    "VIRTUAL_ENV",
];
const TAKEN_STARTS: [&str; 11] =
    ["AWS_ENDPOINT_URL", "BASH_", "DOCKER_", "GLIBC_", "LC_", "LD_", "MALLOC_", "PIP_", "PYTHON", "TE_", "UV_"];
const TAKEN_ENDS: [&str; 1] = ["_PROXY"];

/// What is wrong with a name: a sentence, `None` if it can be a secret's.
pub fn refused(name: &str) -> Option<String> {
    let letters = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty()
        || name.len() > NAME_CHARS
        || !name.chars().all(letters)
        || name.starts_with(|c: char| c.is_ascii_digit())
    {
        return Some(format!(
            "The name of a secret is one of an environment variable: at most {NAME_CHARS} of A to Z, 0 to 9 and _, and no digit first"
        ));
    }
    let taken = TAKEN.contains(&name)
        || name.starts_with("SSL_CERT_")
        || TAKEN_STARTS.iter().any(|start| name.starts_with(start))
        || TAKEN_ENDS.iter().any(|end| name.ends_with(end));
    taken.then(|| format!("{name} is a variable that runs have already; choose another name"))
}

/// The place that a secret is sealed for.
fn place(script: Id, name: &str) -> String {
    format!("script:{script}:{name}")
}

/// A secret of a script, ready to be kept.
pub fn seal(app: &App, script: Id, name: &str, value: &str) -> anyhow::Result<Sealed> {
    Ok(Sealed { name: name.to_owned(), ciphertext: app.vault.seal(&place(script, name), value)? })
}

/// A secret that was sealed with another key.
#[derive(Debug, thiserror::Error)]
#[error("The script's secret {0} cannot be read with this server's key; an administrator has to grant it again.")]
pub struct Unreadable(String);

/// The values, by name.
pub fn open(app: &App, script: Id, sealed: &[Sealed]) -> Result<BTreeMap<String, SecretString>, Unreadable> {
    let value = |secret: &Sealed| {
        let value = app.vault.open(&place(script, &secret.name), &secret.ciphertext);
        Ok((secret.name.clone(), value.ok_or_else(|| Unreadable(secret.name.clone()))?))
    };
    sealed.iter().map(value).collect()
}

/// Values that must not be read in what a run says.
#[derive(Debug, Default)]
pub struct Mask(Vec<SecretString>);

impl Mask {
    /// Hides these values, the longest first: one may hold another.
    pub fn of<'a>(values: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let mut texts = Vec::new();
        for value in values {
            let value = value.expose_secret();
            // As it is, and as one line of JSON or of Python's repr shows it.
            let escaped = serde_json::Value::from(value).to_string();
            texts.push(value.to_owned());
            texts.push(escaped.trim_matches('"').to_owned());
        }
        texts.retain(|text| text.chars().nth(MASKED_CHARS - 1).is_some());
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        texts.dedup();
        Mask(texts.into_iter().map(SecretString::from).collect())
    }

    /// What is granted to the script of an execution, and what the run was lent.
    pub async fn of_execution(app: &App, execution: Id) -> anyhow::Result<Self> {
        let sealed = store::script_secrets::of_execution(&app.db, execution).await?;
        // One that cannot be read was given to nobody.
        let opened = |(script, name, text): &(Id, String, String)| app.vault.open(&place(*script, name), text);
        let mut values: Vec<SecretString> = sealed.iter().filter_map(opened).collect();
        values.extend(loan::hidden(app, execution).await?);
        Ok(Mask::of(&values))
    }

    /// The text without them.
    pub fn hide(&self, text: String) -> String {
        self.0
            .iter()
            .map(ExposeSecret::expose_secret)
            .fold(text, |text, secret| if text.contains(secret) { text.replace(secret, MASK) } else { text })
    }

    /// A word of a run without them.
    pub fn hide_in(&self, entry: &mut Entry) {
        match &mut entry.word {
            Word::Log { text, .. } | Word::Failed { message: text, .. } => *text = self.hide(std::mem::take(text)),
            Word::Progress(_) | Word::Phase(_) => {}
        }
    }
}
