//! The recorded reference against this server: every exchange is the same, mended, or listed with its reason.
//! Runs on PostgreSQL only, on the reference's own database, where the recordings lie beside the checkout.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use trends_earth::store::Db;

use crate::support::{self, Options, Server, python, skip};

fn own(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/contract").join(file)
}

/// The settings under which the reference was recorded.
fn settings(load: PathBuf) -> Options {
    Options { no_worker: true, load: Some(load), ..Options::default() }
        .set("ENVIRONMENT", "prod")
        .set("JWT_SECRET_KEY", "reference-jwt-secret-0123456789abcdef0123456789")
        .set("CORS_ORIGINS", "https://ui.example.org,https://app.example.org")
        .set("GEE_ENCRYPTION_KEY", "reference-gee-key")
        .set("API_ENVIRONMENT_USER", "gef@gef.com")
        .set("API_ENVIRONMENT_USER_PASSWORD", "EnvUser1!secret")
        .set("TE_ENVIRONMENT_USER_SUPERADMIN", "true")
}

/// Lines of `later.txt`: patterns of what is not there yet.
fn later() -> Vec<String> {
    let text = std::fs::read_to_string(own("later.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
}

/// Whether a pattern, in which `*` is anything, fits a name.
fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).filter(|at| tail.is_char_boundary(*at)).any(|at| fits(rest, &tail[at..]))
        }),
    }
}

/// The recordings, and whether calls were limited while they were made.
const RECORDINGS: [(&str, bool); 3] = [("core", false), ("extended", false), ("ratelimit", true)];

#[tokio::test]
async fn every_recorded_exchange_of_the_reference_is_answered_as_it_was_or_better() {
    const NAME: &str = "every_recorded_exchange_of_the_reference_is_answered_as_it_was_or_better";
    let Some(reference) = support::reference() else {
        return skip(NAME, "the recorded reference does not lie beside the checkout");
    };
    if support::database_url().is_none() {
        return skip(NAME, "the reference's database is one of PostgreSQL");
    }
    let python = match python::python("record", "import requests, brotli", &[&["requests", "brotli"]]) {
        Ok(python) => python,
        Err(why) => return skip(NAME, &why),
    };

    let (mut cases, mut different) = (BTreeSet::new(), Vec::new());
    for (name, limited) in RECORDINGS {
        let server = Server::with(settings(reference.join("database.sql")).set("RATE_LIMITING_ENABLED", limited)).await;
        let Db::Postgres(pool) = &server.app.db else { panic!("the suite runs on PostgreSQL") };
        let versions = std::fs::read_to_string(own("versions.sql")).unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(versions)).execute(&**pool).await.unwrap();

        let recorded = server.folder.join("recorded");
        std::fs::create_dir(&recorded).unwrap();
        let mut record = Command::new(&python);
        record.arg(own("record.py")).arg(reference.join("record.py"));
        record.args(["--base", &server.base, "--only", name, "--out"]).arg(&recorded);
        let record = tokio::task::spawn_blocking(move || record.output().unwrap()).await.unwrap();
        assert!(record.status.success(), "{}", String::from_utf8_lossy(&record.stderr));

        let file = format!("{name}.jsonl");
        let goldens = reference.join("goldens").join(&file);
        let mut compare = Command::new(&python);
        compare.arg(reference.join("compare.py")).arg(&goldens).arg(recorded.join(&file));
        let compare = compare.arg("--deviations").arg(own("deviations.tsv")).output().unwrap();
        let (of, parts) = read(&std::fs::read_to_string(goldens).unwrap(), &String::from_utf8(compare.stdout).unwrap());
        cases.extend(of);
        different.extend(parts);
    }
    judge(&cases, &different);
}

/// The cases of a recording, and which of them differ and how.
#[track_caller]
fn read(goldens: &str, said: &str) -> (BTreeSet<String>, Vec<(String, String)>) {
    let cases: BTreeSet<String> = goldens
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|golden| golden["case"].as_str().unwrap().to_owned())
        .collect();
    let totals = said.lines().last().unwrap_or_default();
    assert!(totals.ends_with(&format!("different of {}", cases.len())), "{said}");
    let different: Vec<(String, String)> = said
        .lines()
        .filter_map(|line| line.split_once(" | "))
        .map(|(case, how)| (case.to_owned(), how.to_owned()))
        .collect();
    assert!(totals.contains(&format!(" {} different ", different.len())), "{said}");
    println!("{totals}");
    (cases, different)
}

/// Holds what the comparisons say against what is known not to be there yet.
#[track_caller]
fn judge(cases: &BTreeSet<String>, different: &[(String, String)]) {
    let patterns = later();
    let mut wrong: Vec<String> = Vec::new();
    let mut known = 0;
    for (case, how) in different {
        if patterns.iter().any(|pattern| fits(pattern, case)) {
            known += 1;
        } else {
            wrong.push(format!("{case} | {how}"));
        }
    }
    for pattern in &patterns {
        if !cases.iter().any(|case| fits(pattern, case)) {
            wrong.push(format!("later.txt: {pattern} names no case"));
        } else if !different.iter().any(|(case, _)| fits(pattern, case)) {
            wrong.push(format!("later.txt: all cases of {pattern} agree; delete the line"));
        }
    }
    println!("{known} of the different ones are for later");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_star_in_a_pattern_is_anything_and_nothing_else_is_special() {
    assert!(fits("users*", "users?sort=-email") && fits("users*", "users"));
    assert!(fits("exec-get*?include=user", "exec-get-user?include=user"));
    assert!(!fits("exec-get*?include=user", "exec-get?include=user_name"));
    assert!(!fits("reset-", "reset-empty"));
}
