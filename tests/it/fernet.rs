//! What people store for Earth Engine and openEO, as Python's `cryptography` writes and reads it.

use std::process::Command;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use trends_earth::fernet::Fernet;

use crate::support::{python, skip};

/// Reads what is on the command line by a key derived from the secret before it, as the existing server does.
const READS: &str = "
import base64, sys
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
key = HKDF(hashes.SHA256(), 32, b'trends.earth-gee-credentials-v2', b'fernet-key').derive(sys.argv[1].encode())
print(Fernet(base64.urlsafe_b64encode(key)).decrypt(base64.b64decode(sys.argv[2])).decode())
";

fn of(secret: &str) -> Fernet {
    Fernet::new(&SecretString::from(secret)).unwrap()
}

fn read(secret: &str, column: &str) -> Option<String> {
    of(secret).decrypt(column).map(|text| text.expose_secret().to_owned())
}

#[test]
fn what_python_wrote_is_read_by_the_key_of_today_and_by_that_of_before_and_by_no_other() {
    let secret = "contract-test-gee-key";
    let derived = "Z0FBQUFBQmxVX0VBQUFFQ0F3UUZCZ2NJQ1FvTERBME9EMXVXWnM5LXJfaWQ2WVVLNGJDWm4zODR6WWhrZFFEbEpVS0xSZ2NGMDRmb00tOWlWYTBlWGdIWWw5VzhYZkxtbXc9PQ==";
    let padded = "Z0FBQUFBQmxVX0VBQUFFQ0F3UUZCZ2NJQ1FvTERBME9EOVByamhKWWtWZHdiM19ZcWpNQmlrQi1zQ0J3VThUbTRBZFd1aHVjenJLd1pKR3FMN3I5QlNkS3hYMWNiSjZ2MEE9PQ==";
    for column in [derived, padded] {
        assert_eq!(read(secret, column).as_deref(), Some("hello"));
        assert_eq!(read("another", column), None);
    }
    let key = "Z0FBQUFBQnJCZWtlZXExTzZJTFR4by0ydEVuX0NHRVNVS1ZjNDdSTElIX18zc2dNN3h5OTRTUTFMWHZ1ZmstZ3lQdWticThENVl5ZEJuVV9EVFdSelV4ZFgwbHFkbDJOaXRzY01sck1jVG94VUhEQnhvMUIwYnhYb0hRUm9fS05PZXpkWXZ6OXlPNnY=";
    assert_eq!(read("test-gee-secret", key).as_deref(), Some(r#"{"type": "service_account", "name": "Zoë"}"#));
    let mut changed = STANDARD.decode(derived).unwrap();
    changed[60] ^= 1;
    for column in ["", "hello", "é", &derived[4..], &STANDARD.encode(changed)] {
        assert_eq!(read(secret, column), None, "{column}");
    }
}

#[test]
fn what_is_written_here_is_read_by_python() {
    let text = "1//0g refresh Zoë \u{1f30d}";
    // Longer than a key, so that the one of before is cut.
    let secret = "a secret of the settings, 0123456789abcdef";
    let column = of(secret).encrypt(&SecretString::from(text));
    assert_eq!(read(secret, &column).as_deref(), Some(text));
    assert_ne!(column, of(secret).encrypt(&SecretString::from(text)), "nobody sees that two are the same");
    let test = "what_is_written_here_is_read_by_python";
    match python::python("cryptography", "import cryptography.fernet", &[&["cryptography"]]) {
        Err(why) => skip(test, &why),
        Ok(python) => {
            let said = Command::new(python).args(["-c", READS, secret, &column]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&said.stdout).trim_end(), text, "{said:?}");
        }
    }
}
