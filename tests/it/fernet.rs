//! What people store for Earth Engine and openEO, as Python's `cryptography` writes and reads it.

use std::process::Command;

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};
use trends_earth::fernet::Fernet;

use crate::support::{Place, Program, python, skip};

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

#[tokio::test]
async fn check_counts_the_people_whose_credentials_the_key_opens() {
    let place = Place::new().await;
    place.on_data(&["migrate"]).run().await.ended(0);
    // Without an interpreter it does not try the sandbox.
    let check = || place.on_data(&["check"]).env("TE_PYTHON", "/none");
    let says = async |check: Program, line: &str| {
        let said = check.run().await;
        assert!(said.out.lines().any(|said| said.starts_with(line)), "{line}: {}{}", said.out, said.err);
    };
    says(check(), "ok    credentials: nobody has stored any").await;
    let token = SecretString::from("1//token");
    let (good, foreign) = (of("right").encrypt(&token), of("wrong").encrypt(&token));
    let db = place.database().await;
    for (n, token, refresh) in [(1, &good, None), (2, &good, Some(&good)), (3, &good, Some(&foreign))] {
        let email = format!("ann{n}@example.org");
        place.on_data(&["user", "create", &email]).input("User!Passw0rd#12\n").run().await.ended(0);
        let text = r#"UPDATE "user" SET gee_oauth_token = $2, gee_refresh_token = $3 WHERE email = $1"#;
        trends_earth::writing!(&db, |on| sqlx::query(text)
            .bind(&email)
            .bind(token)
            .bind(refresh)
            .execute(on)
            .await
            .map(drop))
        .unwrap();
    }
    let two = "FAILS credentials: what 2 of 3 people have stored for Earth Engine and openEO can be read; set GEE_ENCRYPTION_KEY";
    says(check().env("GEE_ENCRYPTION_KEY", "right"), two).await;
    // Without a key of their own they stand under the general one, but in prod under none.
    says(check().env("SECRET_KEY", "right"), two).await;
    let prod = check().env("ENVIRONMENT", "prod").env("SECRET_KEY", "right").env("JWT_SECRET_KEY", "x".repeat(40));
    says(prod.env("CORS_ORIGINS", "https://app.example.org"), "FAILS credentials: what 0 of 3 people").await;
    trends_earth::writing!(&db, |on| sqlx::query(r#"DELETE FROM "user" WHERE email LIKE 'ann3%'"#)
        .execute(on)
        .await
        .map(drop))
    .unwrap();
    db.close().await;
    says(check().env("GEE_ENCRYPTION_KEY", "right"), "ok    credentials: those of 2 people can be read").await;
    let key = "k".repeat(40);
    let twice =
        check().env("ENVIRONMENT", "prod").env("JWT_SECRET_KEY", key.as_str()).env("GEE_ENCRYPTION_KEY", key.as_str());
    twice.run().await.failed("With ENVIRONMENT=prod GEE_ENCRYPTION_KEY must be another one than JWT_SECRET_KEY.");
    let known = check().env("GEE_ENCRYPTION_KEY", "default-key-change-in-production");
    known.run().await.failed("is the default that everybody knows");
}
