//! `requirements.txt` and `src/main.py`: refused at once where that needs no Python, else a build that FAILs with its
//! sentence in `build_error` and as the last line of its log.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Options, Package, Server};

const SCRIPT: &str = "/api/v1/script";

#[tokio::test]
async fn options_local_paths_and_foreign_schemes_are_refused_at_once_and_nothing_is_kept() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let before = server.footprint().await;
    for line in [
        "-r /etc/passwd",
        "--requirement other.txt",
        "-c constraints.txt",
        "-e .",
        "-e git+https://example.org/x.git",
        "--index-url https://evil.example.org/simple",
        "-i https://evil.example.org/simple",
        "--extra-index-url https://evil.example.org/simple",
        "--find-links /tmp",
        "--trusted-host evil.example.org",
        "file:///etc/passwd",
        "x @ file:///etc/passwd",
        "./local",
        "/absolute/local.whl",
        "..",
        "http://example.org/x-1.0-py3-none-any.whl",
        "x @ http://example.org/x-1.0-py3-none-any.whl",
        "x @ https://user:secret@example.org/x-1.0-py3-none-any.whl",
        "x @ https://127.0.0.1/x-1.0-py3-none-any.whl",
        "git+ssh://git@example.org/x.git",
        "numpy ; import os",
        "${HOME}",
        "numpy==1.0 --global-option=x",
    ] {
        let package = Package::echo("Bad").requirements(&format!("# fine\n{line}\n"));
        let answer = admin.upload(Method::POST, SCRIPT, "x.tar.gz", package.pack()).await;
        let body = answer.expect(400);
        let detail = body["detail"].as_str().unwrap();
        assert_eq!(body["error_code"], "invalid_archive", "{line}");
        assert!(detail.starts_with("requirements.txt, line 2"), "{line}: {detail}");
        assert!(detail.ends_with(['.', '`']), "{line}: {detail}");
    }
    let package = Package::echo("Bad").file("requirements.txt", [0xff, 0xfe, b'x', 0].to_vec());
    admin
        .upload(Method::POST, SCRIPT, "x.tar.gz", package.pack())
        .await
        .refused(400, "requirements.txt is not UTF-8 text. PowerShell writes UTF-16 unless told `-Encoding utf8`.");
    assert_eq!(server.footprint().await, before);
}

/// Publishes what cannot be built; its `build_error` after checks that it is said everywhere.
async fn fails(admin: &Client, package: &Package) -> (String, Vec<String>) {
    let script = admin.publish(package).await;
    let slug = script["slug"].as_str().unwrap();
    let (status, log) = admin.built(slug).await;
    assert_eq!(status, "FAIL", "{log:#?}");
    let seen = admin.get(&format!("{SCRIPT}/{slug}?include=build_error,logs")).await.data(200);
    let error = seen["build_error"].as_str().unwrap().to_owned();
    assert_eq!(seen["status"], "FAIL");
    let last: &Value = &seen["logs"].as_array().unwrap().last().unwrap()["text"];
    assert_eq!(last, &json!(format!("Build failed: {error}")));
    let answer = admin.post(&format!("{SCRIPT}/{slug}/run"), &json!({})).await;
    answer.refused(400, &format!("Script with id {slug} is not BUILT"));
    (error, log)
}

#[tokio::test]
async fn a_main_file_that_cannot_run_fails_its_build_with_the_reason() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let takes_two = "run is called as run(params, logger); it must take these two.";
    for (n, (main, sentence)) in [
        ("", "src/main.py does not define run: it needs a function run(params, logger) at its top level."),
        ("x = 1\n", "src/main.py does not define run: it needs a function run(params, logger) at its top level."),
        ("def run(params, logger:\n    pass\n", "src/main.py, line 1: "),
        ("def run(params, logger):\nreturn\n", "src/main.py, line 2: "),
        ("def run():\n    pass\n", &format!("src/main.py, line 1: {takes_two}")),
        ("def run(a, b, c):\n    pass\n", &format!("src/main.py, line 1: {takes_two}")),
        ("async def run(params, logger):\n    pass\n", "src/main.py, line 1: run is an async function;"),
        ("x = '\0'\n", "src/main.py"),
        ("print('\u{feff}')\ndef run(params, logger):\n\tif 1:\n        pass\n", "src/main.py, line 4: "),
    ]
    .into_iter()
    .enumerate()
    {
        let (error, log) = fails(&admin, &Package::new(&format!("Main {n}"), main)).await;
        assert!(error.starts_with(sentence), "{main:?}: {error}");
        assert_eq!(log[0], "Build started.");
    }
    let (error, _) = fails(&admin, &Package::echo("Mainless").without("src/main.py")).await;
    let sentence = "src/main.py is missing: an archive holds a file src/main.py with a function run(params, logger).";
    assert_eq!(error, sentence);
    let deep = format!("x = {}1{}\ndef run(params, logger):\n    return x\n", "(".repeat(5_000), ")".repeat(5_000));
    let (error, _) = fails(&admin, &Package::new("Deep", &deep)).await;
    assert!(error.starts_with("src/main.py"), "{error}");
    assert_eq!(server.files(&["envs"]), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn nothing_of_the_author_s_file_is_executed_by_a_build() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let main = "print('executed')\nraise SystemExit('executed')\ndef run(params, logger):\n    return {}\n";
    admin.publish(&Package::new("Loud", main)).await;
    let (status, log) = admin.built("loud").await;
    assert_eq!(status, "SUCCESS", "{log:#?}");
    assert!(!log.iter().any(|line| line.contains("executed")), "{log:#?}");
}

#[tokio::test]
async fn a_package_that_is_not_to_be_had_fails_its_build_with_what_the_installer_said() {
    let empty = std::env::temp_dir().join(format!("te-wheels-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&empty).unwrap();
    let options = Options::default().set("PIP_NO_INDEX", "1").set("PIP_FIND_LINKS", empty.display());
    let server = Server::with(options).await;
    let admin = server.admin().await;
    let package = Package::echo("Wants").requirements("no-such-package-of-anybody==99.1\n");
    let (error, log) = fails(&admin, &package).await;
    assert_eq!(error, "The packages of requirements.txt could not be installed; see the lines above.");
    assert!(log.iter().any(|line| line.contains("no-such-package-of-anybody")), "{log:#?}");
    assert_eq!(server.files(&["envs"]), Vec::<std::path::PathBuf>::new(), "a half environment is none");
    // The next build is not held up by it, and what it had begun is gone by then.
    admin.publish_built(&Package::echo("Needs Nothing")).await;
    assert_eq!(server.files(&["builds"]), Vec::<std::path::PathBuf>::new());
    std::fs::remove_dir_all(empty).unwrap();
}

#[tokio::test]
async fn an_index_that_does_not_answer_is_named() {
    let options = Options::default().set("PIP_INDEX_URL", "https://127.0.0.1:1/simple").set("PIP_FIND_LINKS", "");
    let server = Server::with(options).await;
    let admin = server.admin().await;
    let (error, log) = fails(&admin, &Package::echo("Alone").requirements("numpy\n")).await;
    assert_eq!(error, "The package index 127.0.0.1:1 does not answer.", "{log:#?}");
}
