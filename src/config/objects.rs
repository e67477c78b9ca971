//! Where objects are kept: `SCRIPTS_S3_…`, `PARAMS_S3_…`, and what AWS's own tools are told.

use std::fmt;

use object_store::aws::AmazonS3ConfigKey;
use secrecy::SecretString;

use super::reader::Reader;

/// Two places in S3, and how to get there.
#[derive(Debug, Clone)]
pub struct S3 {
    /// `SCRIPTS_S3_BUCKET`, `SCRIPTS_S3_PREFIX`: archives of scripts.
    pub scripts: Place,
    /// `PARAMS_S3_BUCKET`, `PARAMS_S3_PREFIX`: parameters and large results.
    pub params: Place,
    /// Region, address and credentials, as AWS's own tools are told.
    pub settings: Vec<(AmazonS3ConfigKey, SecretString)>,
    /// The address is one without TLS.
    pub plain: bool,
}

/// A bucket and the folder in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub bucket: String,
    /// Empty for none.
    pub prefix: String,
}

/// What is read as it is. Without keys, a web identity is used, else a container's or the instance's own role.
const SETTINGS: [(&str, AmazonS3ConfigKey); 11] = [
    ("AWS_ACCESS_KEY_ID", AmazonS3ConfigKey::AccessKeyId),
    ("AWS_SECRET_ACCESS_KEY", AmazonS3ConfigKey::SecretAccessKey),
    ("AWS_SESSION_TOKEN", AmazonS3ConfigKey::Token),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_ENDPOINT_URL_STS", AmazonS3ConfigKey::StsEndpoint),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
    ("AWS_EC2_METADATA_SERVICE_ENDPOINT", AmazonS3ConfigKey::MetadataEndpoint),
];

impl S3 {
    /// `None` without buckets: then objects lie in the data folder.
    pub fn read(r: &mut Reader) -> Option<Self> {
        let scripts = Place::read(r, "SCRIPTS_S3");
        let params = Place::read(r, "PARAMS_S3");
        let mut settings = Vec::new();
        for (name, key) in SETTINGS {
            settings.extend(r.secret(name).map(|value| (key, value)));
        }
        let (by_name, default) = (r.text("AWS_REGION"), r.text("AWS_DEFAULT_REGION"));
        let region = by_name.or(default).map(|region| (AmazonS3ConfigKey::Region, SecretString::from(region)));
        settings.extend(region);
        let (own, general) = (r.url("AWS_ENDPOINT_URL_S3"), r.url("AWS_ENDPOINT_URL"));
        let address = own.or(general);
        let plain = address.as_ref().is_some_and(|address| address.starts_with("http://"));
        settings.extend(address.map(|address| (AmazonS3ConfigKey::Endpoint, SecretString::from(address))));
        match (scripts, params) {
            (Some(scripts), Some(params)) => Some(S3 { scripts, params, settings, plain }),
            (None, None) => None,
            _ => {
                r.errors.push(
                    "SCRIPTS_S3_BUCKET and PARAMS_S3_BUCKET must be set together; they may name the same bucket."
                        .into(),
                );
                None
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bucket)?;
        if self.prefix.is_empty() { Ok(()) } else { write!(f, "/{}", self.prefix) }
    }
}

impl Place {
    fn read(r: &mut Reader, name: &str) -> Option<Self> {
        let prefix = r.text(&format!("{name}_PREFIX")).unwrap_or_default().trim_matches('/').to_owned();
        let setting = format!("{name}_BUCKET");
        let bucket = r.text(&setting)?;
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if !bucket.chars().all(good) {
            r.errors.push(format!("{setting} is {bucket:?}; it must be the name of a bucket, without a slash."));
        }
        if object_store::path::Path::parse(&prefix).is_err() {
            r.errors.push(format!("{name}_PREFIX is {prefix:?}; it must be the name of a folder, such as scripts."));
        }
        Some(Place { bucket, prefix })
    }
}
