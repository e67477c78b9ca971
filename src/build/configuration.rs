//! `configuration.json` of a package: what the author asks for, its limits and its name in URLs.
//! Unknown keys are ignored, known ones must have the right type and a value that makes sense.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use unicode_normalization::UnicodeNormalization;

use crate::{
    build::{archive::Reject, schema},
    engine::{Limits, Network},
};

/// What a script gets that does not ask: the columns' defaults in the reference.
pub const CPU_RESERVATION: u64 = 100_000_000;
pub const CPU_LIMIT: u64 = 500_000_000;
pub const MEMORY_RESERVATION: u64 = 100_000_000;
pub const MEMORY_LIMIT: u64 = 1_000_000_000;
pub const ENVIRONMENT: &str = "trends.earth-environment";
pub const ENVIRONMENT_VERSION: &str = "0.1.6";
pub const COMPUTE_TYPE: &str = "gee";

/// Characters of a name, and of a slug: the columns' widths.
pub const MAX_NAME: usize = 120;
pub const MAX_SLUG: usize = 80;
/// Bytes of `params_schema` as written.
pub const MAX_SCHEMA_BYTES: usize = 64 << 10;

/// Less than this no interpreter starts, so limits are never below.
const MIN_CPU: u64 = 10_000_000;
const MIN_MEMORY: u64 = 32 << 20;

/// A configuration. `None` is "not said": the default for a new script, the stored value for an existing one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    pub name: String,
    /// What [`slug`] makes of the name.
    pub slug: String,
    /// Nano-CPUs: 1,000,000,000 is one core.
    pub cpu_reservation: Option<u64>,
    pub cpu_limit: Option<u64>,
    /// Bytes.
    pub memory_reservation: Option<u64>,
    pub memory_limit: Option<u64>,
    /// Name and version of the base image, for engines that have images.
    pub environment: Option<String>,
    pub environment_version: Option<String>,
    /// `gee`, `batch` or `openeo`.
    pub compute_type: Option<String>,
    pub batch_job_definition: Option<String>,
    pub batch_job_queue: Option<String>,
    pub batch_image: Option<String>,
    /// True unless said otherwise, also for an existing script, as in the reference.
    pub uses_gee: bool,
    /// An `https` URL.
    pub openeo_backend_url: Option<String>,
    /// Seconds of wall time.
    pub timeout_s: Option<u64>,
    pub network: Option<Network>,
    pub max_processes: Option<u64>,
    /// Bytes of one file.
    pub max_file_bytes: Option<u64>,
    /// A JSON Schema of at most [`MAX_SCHEMA_BYTES`], as written.
    pub params_schema: Option<String>,
    /// How often a run that an infrastructure failure ended is started anew, 0 to 5.
    pub retry: Option<u64>,
}

/// What the settings allow at most, and give where the author does not ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    pub timeout_default_s: u64,
    pub timeout_max_s: u64,
    /// Nano-CPUs.
    pub cpu_max: u64,
    /// Bytes.
    pub memory_max: u64,
    pub processes_default: u64,
    pub processes_max: u64,
    /// Bytes of one file.
    pub file_bytes_default: u64,
    pub file_bytes_max: u64,
    /// Bytes of the scratch folder.
    pub scratch_bytes: u64,
    /// Whether an administrator has granted `full` to this version.
    pub allow_full: bool,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            timeout_default_s: 259_200,
            timeout_max_s: 30 * 86_400,
            cpu_max: 1_024_000_000_000,
            memory_max: 1 << 46,
            processes_default: 256,
            processes_max: 4_096,
            file_bytes_default: 10 << 30,
            file_bytes_max: 1 << 40,
            scratch_bytes: 2 << 30,
            allow_full: false,
        }
    }
}

impl Configuration {
    /// Reads `configuration.json` as it stands in the archive.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what is right; the contract's own texts for the name.
    pub fn parse(bytes: &[u8]) -> Result<Self, Reject> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let keys: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(bytes).map_err(|error| {
            if error.is_data() {
                reject("configuration.json must hold a JSON object, `{…}`.")
            } else {
                reject(format!("configuration.json is not valid JSON: {error}."))
            }
        })?;
        let keys = Keys(keys);
        let name = keys.name()?;
        let slug = slug(&name);
        if slug.is_empty() {
            return Err(reject("Cannot generate valid slug from script name"));
        }
        if slug.len() > MAX_SLUG {
            let n = slug.len();
            return Err(reject(format!(
                "name gives a slug of {n} characters; at most {MAX_SLUG} are allowed. Shorten it."
            )));
        }
        let configuration = Self {
            name,
            slug,
            cpu_reservation: keys.number(
                "cpu_reservation",
                1..=1_024_000_000_000,
                "nano-CPUs (1000000000 is one core)",
            )?,
            cpu_limit: keys.number("cpu_limit", 1..=1_024_000_000_000, "nano-CPUs (1000000000 is one core)")?,
            memory_reservation: keys.number("memory_reservation", 1..=1 << 46, "bytes")?,
            memory_limit: keys.number("memory_limit", 1..=1 << 46, "bytes")?,
            environment: keys.image("environment", 255)?,
            environment_version: keys.image("environment_version", 128)?,
            compute_type: keys.one_of("compute_type", &["gee", "batch", "openeo"])?,
            batch_job_definition: keys.text("batch_job_definition", 255)?,
            batch_job_queue: keys.text("batch_job_queue", 255)?,
            batch_image: keys.text("batch_image", 512)?,
            uses_gee: keys.get("uses_gee", "true or false")?.unwrap_or(true),
            openeo_backend_url: keys.https("openeo_backend_url", 512)?,
            timeout_s: keys.number("timeout_s", 1..=366 * 86_400, "seconds")?,
            network: keys.one_of("network", &["none", "https", "full"])?.map(|word| match word.as_str() {
                "none" => Network::None,
                "full" => Network::Full,
                _ => Network::Https,
            }),
            max_processes: keys.number("max_processes", 1..=1 << 15, "processes and threads")?,
            max_file_bytes: keys.number("max_file_bytes", 1..=1 << 46, "bytes")?,
            params_schema: keys.schema()?,
            retry: keys.number("retry", 0..=5, "more attempts")?,
        };
        for (what, reservation, limit) in [
            ("cpu", configuration.cpu_reservation, configuration.cpu_limit),
            ("memory", configuration.memory_reservation, configuration.memory_limit),
        ] {
            if let (Some(reservation), Some(limit)) = (reservation, limit)
                && reservation > limit
            {
                return Err(reject(format!(
                    "{what}_reservation is {reservation}, more than {what}_limit, which is {limit}; it must be at most that."
                )));
            }
        }
        Ok(configuration)
    }

    /// The limits of a run: what the author asks for, within what the settings allow. No word of the network is
    /// `https`; `full` that nobody has granted is `https` too.
    #[must_use]
    pub fn limits(&self, caps: &Caps) -> Limits {
        let within = |asked: Option<u64>, default: u64, max: u64| asked.unwrap_or(default).min(max);
        Limits {
            cpu_nanos: within(self.cpu_limit, CPU_LIMIT, caps.cpu_max).max(MIN_CPU),
            memory_bytes: within(self.memory_limit, MEMORY_LIMIT, caps.memory_max).max(MIN_MEMORY),
            timeout_s: within(self.timeout_s, caps.timeout_default_s, caps.timeout_max_s),
            max_processes: within(self.max_processes, caps.processes_default, caps.processes_max),
            max_file_bytes: within(self.max_file_bytes, caps.file_bytes_default, caps.file_bytes_max),
            scratch_bytes: caps.scratch_bytes,
            network: match self.network {
                Some(Network::None) => Network::None,
                Some(Network::Full) if caps.allow_full => Network::Full,
                _ => Network::Https,
            },
        }
    }
}

/// The name of a script in URLs: lower-case ASCII letters and digits in words joined by `-`; empty if nothing is left.
#[must_use]
pub fn slug(name: &str) -> String {
    // The order is that of the reference's library: a written quote parts words, one that transliteration
    // makes (the soft sign of `Область`) does not.
    let name = name.replace('\'', "-");
    let name = html_escape::decode_html_entities(&name).nfkd().collect::<String>();
    let ascii = deunicode::deunicode_with_tofu(&name, "").to_ascii_lowercase().replace('\'', "");
    let bytes = ascii.as_bytes();
    let digit = |i: Option<usize>| i.and_then(|i| bytes.get(i)).is_some_and(u8::is_ascii_digit);
    let mut slug = String::new();
    for (i, byte) in bytes.iter().enumerate() {
        if byte.is_ascii_alphanumeric() {
            slug.push(char::from(*byte));
        } else if *byte == b',' && digit(i.checked_sub(1)) && digit(Some(i + 1)) {
            // 1,000 is one number.
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_end_matches('-').to_owned()
}

fn reject(detail: impl Into<String>) -> Reject {
    Reject { code: "invalid_configuration", detail: detail.into() }
}

/// The keys of the document, each still as written.
struct Keys(BTreeMap<String, Box<RawValue>>);

impl Keys {
    /// The text of a value; `None` if it is absent or null.
    fn raw(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| value.get()).filter(|text| *text != "null")
    }

    fn wrong(&self, key: &str, right: &str) -> Reject {
        const CUT: usize = 60;
        let value = self.raw(key).unwrap_or("null");
        let shown: String = value.chars().filter(|c| !c.is_control()).take(CUT).collect();
        let more = if value.chars().count() > CUT { "…" } else { "" };
        reject(format!("{key} in configuration.json is {shown}{more}; it must be {right}."))
    }

    fn get<T: DeserializeOwned>(&self, key: &str, right: &str) -> Result<Option<T>, Reject> {
        self.raw(key).map(|text| serde_json::from_str(text).map_err(|_| self.wrong(key, right))).transpose()
    }

    fn name(&self) -> Result<String, Reject> {
        let right = format!("a text of 1 to {MAX_NAME} characters on one line");
        let name: String = self.get("name", &right)?.unwrap_or_default();
        if name.is_empty() {
            return Err(reject("Script configuration must include a 'name'"));
        }
        if name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(self.wrong("name", &right));
        }
        Ok(name)
    }

    /// A whole number, also as `5e8` or as a text of digits.
    fn number(&self, key: &str, range: std::ops::RangeInclusive<u64>, unit: &str) -> Result<Option<u64>, Reject> {
        let Some(text) = self.raw(key) else { return Ok(None) };
        let digits = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).trim();
        let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = if whole {
            digits.parse().ok()
        } else {
            text.parse::<f64>().ok().filter(|n| n.fract() == 0.0 && *n >= 0.0 && *n < 9e15).map(|n| n as u64)
        };
        number.filter(|number| range.contains(number)).map(Some).ok_or_else(|| {
            let (least, most) = range.into_inner();
            self.wrong(key, &format!("a whole number of {unit} from {least} to {most}"))
        })
    }

    /// A text; an empty one counts as absent.
    fn text(&self, key: &str, most: usize) -> Result<Option<String>, Reject> {
        let right = format!("a text of at most {most} characters on one line");
        let text: Option<String> = self.get(key, &right)?;
        match text {
            Some(text) if text.chars().count() > most || text.chars().any(char::is_control) => {
                Err(self.wrong(key, &right))
            }
            text => Ok(text.filter(|text| !text.is_empty())),
        }
    }

    /// A text that stands in the name of an image.
    fn image(&self, key: &str, most: usize) -> Result<Option<String>, Reject> {
        let text = self.text(key, most)?;
        if text.as_ref().is_some_and(|text| !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._/-".contains(&b))) {
            return Err(self.wrong(key, "made of letters, digits, `.`, `_`, `-` and `/`"));
        }
        Ok(text)
    }

    fn one_of(&self, key: &str, words: &[&str]) -> Result<Option<String>, Reject> {
        let text = self.text(key, 40)?;
        if text.as_ref().is_some_and(|text| !words.contains(&text.as_str())) {
            return Err(self.wrong(key, &format!("one of \"{}\"", words.join("\", \""))));
        }
        Ok(text)
    }

    fn https(&self, key: &str, most: usize) -> Result<Option<String>, Reject> {
        let text = self.text(key, most)?;
        let good = |text: &String| {
            url::Url::parse(text).is_ok_and(|url| {
                url.scheme() == "https" && url.host().is_some() && url.username().is_empty() && url.password().is_none()
            })
        };
        if text.as_ref().is_some_and(|text| !good(text)) {
            return Err(self.wrong(key, "an https:// URL without a user name or password"));
        }
        Ok(text)
    }

    fn schema(&self) -> Result<Option<String>, Reject> {
        let key = "params_schema";
        let Some(text) = self.raw(key) else { return Ok(None) };
        if text.len() > MAX_SCHEMA_BYTES {
            let n = text.len();
            return Err(reject(format!("{key} has {n} bytes; at most {MAX_SCHEMA_BYTES} are allowed.")));
        }
        // The parse keeps to 128 levels, which keeping the text alone would not.
        let _: Option<serde_json::Map<String, serde_json::Value>> =
            self.get(key, "a JSON Schema, an object of at most 128 levels")?;
        schema::check(text).map_err(|why| reject(format!("{key} in configuration.json {why}.")))?;
        Ok(Some(text.to_owned()))
    }
}
