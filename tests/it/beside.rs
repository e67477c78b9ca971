//! Beside the existing server on its own database: what one server does, the other goes on with. What the existing one does is
//! played by the statements that it sends; what it reads is read as it reads it.

mod people;
mod runs;

use std::process::Command;

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use trends_earth::store::Db;

use crate::support::{self, Options, Place, Server, skip};

/// The password of the accounts in the recorded database.
const PASSWORD: &str = "Str0ng!Passw0rd#1";

/// Python's own scrypt in the form of werkzeug: `hash PASSWORD`, or `fits STORED PASSWORD`.
const WERKZEUG: &str = r#"
import hashlib, hmac, secrets, string, sys
def key(password, salt, n, r, p):
    return hashlib.scrypt(password.encode(), salt=salt.encode(), n=n, r=r, p=p, maxmem=132 * n * r * p).hex()
if sys.argv[1] == "hash":
    salt = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(16))
    print("scrypt:32768:8:1$" + salt + "$" + key(sys.argv[2], salt, 32768, 8, 1))
else:
    method, salt, stored = sys.argv[2].split("$", 2)
    name, *costs = method.split(":")
    fits = name == "scrypt" and hmac.compare_digest(key(sys.argv[3], salt, *map(int, costs)), stored)
    print("fits" if fits and len(sys.argv[2]) == 162 else "fits not")
"#;

fn werkzeug(words: &[&str]) -> String {
    let said = Command::new("python3").args(["-c", WERKZEUG]).args(words).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap().trim_end().to_owned()
}

/// Options of a server that stands on the recorded database; `None`, and the test is skipped, where there is none.
fn taken_over(test: &str) -> Option<Options> {
    let why = match (support::reference(), support::database_url()) {
        (None, _) => "the recorded reference does not lie beside the checkout",
        (_, None) => "the reference's database is one of PostgreSQL",
        (Some(reference), Some(_)) => {
            let load = Some(reference.join("database.sql"));
            return Some(Options { load, ..Options::default() }.set("API_ENVIRONMENT_USER", "gef@gef.com"));
        }
    };
    skip(test, why);
    None
}

#[tokio::test]
async fn check_says_what_of_the_existing_server_must_not_go_on() {
    let Some(options) = taken_over("check_says_what_of_the_existing_server_must_not_go_on") else { return };
    let place = Place::new().await;
    place.load(&options.load.unwrap());
    place.on_data(&["migrate"]).run().await.ended(0);
    let line = "ok    existing server: The `celery beat` of the existing server must be stopped";
    // Without an interpreter the sandbox is not tried.
    let check = || place.on_data(&["check"]).env("TE_PYTHON", "/none");
    let said = check().run().await.out;
    assert!(said.contains(line), "{said}");
    let said = check().env("TE_COEXIST", "off").run().await.out;
    assert!(!said.contains(line), "{said}");
}

/// The existing server, as far as the database knows it.
struct They(PgPool);

impl They {
    fn on(server: &Server) -> Self {
        let Db::Postgres(pool) = &server.app.db else { panic!("the existing server has PostgreSQL") };
        They(PgPool::clone(pool))
    }

    /// Runs one statement; how many rows it met.
    async fn run(&self, statement: &str) -> u64 {
        let done = sqlx::query(AssertSqlSafe(statement.to_owned())).execute(&self.0).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}")).rows_affected()
    }

    /// The rows of a query, as JSON.
    async fn see(&self, query: &str) -> Vec<Value> {
        let text = AssertSqlSafe(format!("SELECT to_jsonb(x) FROM ({query}) x"));
        sqlx::query_scalar(text).fetch_all(&self.0).await.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// The only row of a query.
    async fn one(&self, query: &str) -> Value {
        let mut rows = self.see(query).await;
        assert_eq!(rows.len(), 1, "{query}: {rows:?}");
        rows.remove(0)
    }
}

/// Holds a row of ours against one of theirs: where theirs has something, ours has something of the same kind.
#[track_caller]
fn is_filled_like(ours: &Value, theirs: &Value) {
    for (column, value) in theirs.as_object().unwrap() {
        if !value.is_null() {
            assert_eq!(support::json_type(&ours[column]), support::json_type(value), "{column}: {ours:#}");
        }
    }
}
