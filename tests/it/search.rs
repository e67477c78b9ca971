//! Filters and sorts against a plain evaluation in memory: the same rows in the same order, on either database.

use std::cmp::Ordering;

use axum::extract::FromRequestParts;
use serde_json::Value;
use trends_earth::{
    api::extract::{filter, query::Pairs},
    error::Error,
    store::{executions, scripts},
};

use crate::support::{Random, Server, setting};

/// What one person has, as the filter's columns see it.
#[derive(Debug, Clone)]
struct Person {
    email: String,
    name: String,
    country: Option<String>,
    created_at: &'static str,
    verified: Option<bool>,
}

const NAMES: [&str; 8] = ["ada", "Ada", "BOB", "a,b", "c (d)", "x OR y", "50%", "it''s"];
const COUNTRIES: [Option<&str>; 4] = [None, Some(""), Some("Kenya"), Some("kENYA")];
const TIMES: [&str; 3] = ["2026-01-01 00:00:00", "2026-01-02 12:30:00", "2026-01-02 12:30:00.5"];
const ASKED: [&str; 3] = ["2026-01-02", "2026-01-02T12:30:00", "2027-01-01"];

fn lower(text: &str) -> String {
    text.to_ascii_lowercase()
}

/// Whether a person fits.
type Fits = Box<dyn Fn(&Person) -> bool>;

/// One comparison: its words, and whether a person fits.
fn clause(random: &mut Random) -> (String, Fits) {
    let ops = ["=", "!=", ">=", "<=", ">", "<"];
    let op = ops[usize::try_from(random.below(6)).unwrap()];
    let judge = move |ordering: Ordering| match op {
        "=" => ordering == Ordering::Equal,
        "!=" => ordering != Ordering::Equal,
        ">=" => ordering != Ordering::Less,
        "<=" => ordering != Ordering::Greater,
        ">" => ordering == Ordering::Greater,
        _ => ordering == Ordering::Less,
    };
    let pick = |random: &mut Random, n: usize| usize::try_from(random.below(n as u64)).unwrap();
    match random.below(5) {
        0 => {
            let value = NAMES[pick(random, NAMES.len())].replace("''", "'");
            let words = format!("name{op}'{}'", value.replace('\'', "''"));
            let equal = matches!(op, "=" | "!=");
            (
                words,
                Box::new(move |p| {
                    let ordering = if equal { lower(&p.name).cmp(&lower(&value)) } else { p.name.cmp(&value) };
                    judge(ordering)
                }),
            )
        }
        1 => {
            let value = ["Kenya", "KENYA", "x", ""][pick(random, 4)];
            let words = format!("country {op} \"{value}\"");
            let equal = matches!(op, "=" | "!=");
            (
                words,
                Box::new(move |p| {
                    p.country.as_ref().is_some_and(|country| {
                        judge(if equal { lower(country).cmp(&lower(value)) } else { country.as_str().cmp(value) })
                    })
                }),
            )
        }
        2 => {
            let at = pick(random, 3);
            let (words, value) = (
                format!("created_at{op}'{}'", ASKED[at]),
                ["2026-01-02 00:00:00", "2026-01-02 12:30:00", "2027-01-01 00:00:00"][at],
            );
            (words, Box::new(move |p| judge(p.created_at.cmp(value))))
        }
        3 => {
            let value = random.below(2) == 1;
            let sign = if random.below(2) == 1 { "=" } else { "!=" };
            (
                format!("email_verified{sign}{value}"),
                Box::new(move |p| p.verified.is_some_and(|v| (v == value) == (sign == "="))),
            )
        }
        _ => {
            let part = ["a", "B", "or", ",", "zz"][pick(random, 5)];
            (format!("name like '%{part}%'"), Box::new(move |p| lower(&p.name).contains(&lower(part))))
        }
    }
}

fn compare(a: &Person, b: &Person, column: &str, down: bool) -> Ordering {
    let text = |a: &str, b: &str| lower(a).cmp(&lower(b));
    let ordering = match column {
        "name" => text(&a.name, &b.name),
        "country" => match (&a.country, &b.country) {
            (Some(a), Some(b)) => text(a, b),
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Greater,
            (Some(_), None) => Ordering::Less,
        },
        _ => a.created_at.cmp(b.created_at),
    };
    if down { ordering.reverse() } else { ordering }
}

#[tokio::test]
async fn filters_and_sorts_find_what_a_plain_evaluation_finds() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let mut random = Random::new(20_261_124);
    let mut people = Vec::new();
    let mut rows = Vec::new();
    for i in 0..60 {
        let pick = |random: &mut Random, n: usize| usize::try_from(random.below(n as u64)).unwrap();
        let name = NAMES[pick(&mut random, NAMES.len())];
        let country = COUNTRIES[pick(&mut random, 4)];
        let created_at = TIMES[pick(&mut random, 3)];
        let verified = [None, Some(true), Some(false)][pick(&mut random, 3)];
        let email = format!("p{i:02}@x.org");
        let quoted = |text: Option<&str>| text.map_or("NULL".to_owned(), |text| format!("'{text}'"));
        let flag = verified.map_or("NULL", |v| if v { "TRUE" } else { "FALSE" });
        rows.push(format!(
            "('{}', '{email}', 'x', 'USER', '{name}', {}, '{created_at}', {flag}, FALSE, FALSE, TRUE, 0, FALSE, FALSE, TRUE)",
            uuid::Uuid::new_v4(),
            quoted(country)
        ));
        let (name, country) = (name.replace("''", "'"), country.map(str::to_owned));
        people.push(Person { email, name, country, created_at, verified });
    }
    server
        .execute(&format!(
            "INSERT INTO \"user\" (id, email, password, role, name, country, created_at, email_verified, google_groups_trends_earth_users,
             google_groups_trendsearth, email_notifications_enabled, failed_login_count, email_subscription_news,
             email_subscription_engagement, email_subscription_system_updates) VALUES {}",
            rows.join(",")
        ))
        .await;
    for _ in 0..120 {
        let mut words = vec!["email like '%@x.org'".to_owned()];
        let mut groups: Vec<Vec<Fits>> = Vec::new();
        for _ in 0..random.below(3) {
            let (text, fits) = clause(&mut random);
            if random.below(2) == 0 {
                let (other, also) = clause(&mut random);
                words.push(format!("({text} OR {other})"));
                groups.push(vec![fits, also]);
            } else if !text.contains('=') || text.contains("!=") || text.contains(">=") || text.contains("<=") {
                // Plain equals of one field mean any of them, which is tried elsewhere.
                words.push(text);
                groups.push(vec![fits]);
            }
        }
        let columns = ["name", "country", "created_at"];
        let (first, down) = (columns[usize::try_from(random.below(3)).unwrap()], random.below(2) == 1);
        let direction = if down { " desc" } else { "" };
        let mut expected: Vec<&Person> =
            people.iter().filter(|p| groups.iter().all(|group| group.iter().any(|fits| fits(p)))).collect();
        expected.sort_by(|a, b| compare(a, b, first, down).then(a.email.cmp(&b.email)));
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("filter", &words.join(", "))
            .append_pair("sort", &format!("{first}{direction},email"))
            .append_pair("per_page", "100")
            .finish();
        let answer = admin.get(&format!("/api/v1/user?{query}")).await.expect(200);
        let found: Vec<&str> =
            answer["data"].as_array().unwrap().iter().map(|row| row["email"].as_str().unwrap()).collect();
        let emails: Vec<&str> = expected.iter().map(|p| p.email.as_str()).collect();
        assert_eq!(found, emails, "{words:?} sorted by {first}{direction}");
        assert_eq!(answer["total"], Value::from(emails.len()), "{words:?}");
    }
}

/// What filters are made of, and what they are not.
const PIECES: [&str; 24] = [
    "name",
    "email",
    "id",
    "=",
    "!=",
    ">=",
    "<",
    " like ",
    "'",
    "\"",
    "(",
    ")",
    " OR ",
    ",",
    "%",
    "_",
    "\\",
    "\0",
    "é",
    "true",
    "2026-01-01",
    " ",
    "-",
    "country",
];

/// A text of up to so many pieces.
fn text(random: &mut Random, most: u64) -> String {
    (0..random.below(most)).map(|_| PIECES[usize::try_from(random.below(24)).unwrap()]).collect()
}

#[tokio::test]
async fn every_text_is_a_filter_and_a_sort_or_is_refused_with_a_sentence() {
    let mut random = Random::new(13);
    for _ in 0..setting("TE_TEST_FILTERS", 10_000) {
        let (filter, sort) = (text(&mut random, 40), text(&mut random, 12));
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("filter", &filter)
            .append_pair("sort", &sort)
            .finish();
        let (mut parts, ()) = axum::http::Request::get(format!("/?{query}")).body(()).unwrap().into_parts();
        let Ok(pairs) = Pairs::from_request_parts(&mut parts, &()).await;
        for columns in [&scripts::SEARCHABLE[..], &executions::SEARCHABLE[..]] {
            match filter::read(&pairs, columns) {
                Ok(search) => assert!(search.filter.iter().flatten().count() <= 32 && search.ignored.len() <= 10),
                Err(Error::Invalid { detail, .. }) => assert!(!detail.is_empty()),
                Err(error) => panic!("{filter:?} {sort:?}: {error:?}"),
            }
        }
    }
}

#[tokio::test]
async fn no_filter_and_no_sort_breaks_the_server() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let mut random = Random::new(7);
    for _ in 0..300 {
        let text = text(&mut random, 14);
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("filter", &text)
            .append_pair("sort", &text)
            .finish();
        let status = admin.get(&format!("/api/v1/user?{query}&per_page=1")).await.status;
        assert!(status == 200 || status == 400, "{text:?}: {status}");
    }
}
