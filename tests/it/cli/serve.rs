//! `serve`: what it refuses to start with, each in a sentence; how soon it answers, and how it stops.

use std::{
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::support::{Options, Place, Running, Server};

const SERVE: [&str; 4] = ["serve", "--no-worker", "--listen", "127.0.0.1:0"];

/// Waits until it listens; its address.
async fn listening(server: &mut Running) -> String {
    let line = server.until(" listens on http://").await;
    line.split("listens on ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned()
}

async fn status(url: &str) -> u16 {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    http.get(url).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn it_answers_soon_after_its_start_and_stops_when_told_to() {
    let place = Place::new().await;
    let mut server = place.on_data(&SERVE).start().await;
    let base = listening(&mut server).await;
    assert_eq!(status(&format!("{base}/api-health")).await, 200);
    assert!(server.started.elapsed() < Duration::from_secs(5), "{:?}", server.started.elapsed());
    assert!(server.out.contains("There is no account yet. Make the first one with:\n  trends-earth user create"));

    // The line for the first account is one that works while the server runs.
    let hint = server.out.lines().find(|line| line.contains("user create")).unwrap().trim().to_owned();
    let words: Vec<&str> = hint.split_whitespace().skip(1).collect();
    place.program(&words).input("First!Passw0rd#1\n").run().await.ended(0);

    let told = Instant::now();
    server.signal(Signal::SIGTERM);
    server.end().await.ended(0);
    assert!(told.elapsed() < Duration::from_secs(20), "{:?}", told.elapsed());
}

#[tokio::test]
async fn a_folder_that_others_may_read_or_that_is_taken_is_refused() {
    let place = Place::new().await;
    std::fs::create_dir(&place.data).unwrap();
    for mode in [0o750, 0o705, 0o755] {
        std::fs::set_permissions(&place.data, std::fs::Permissions::from_mode(mode)).unwrap();
        let said = place.on_data(&SERVE).run().await;
        said.failed(&format!("can be read by others (mode {mode:o}); make it private: chmod 700 "));
    }
    std::fs::set_permissions(&place.data, std::fs::Permissions::from_mode(0o700)).unwrap();
    let mut server = place.on_data(&SERVE).start().await;
    let base = listening(&mut server).await;
    for words in [&SERVE[..], &["demo", "--once"]] {
        place.on_data(words).run().await.failed("Another server works on ");
    }
    assert_eq!(status(&format!("{base}/api-health")).await, 200);
}

#[tokio::test]
async fn a_taken_port_is_refused_with_what_to_do() {
    let place = Place::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = place.on_data(&["serve", "--no-worker", "--listen", &address]).run().await;
    said.failed(&format!("cannot listen on {address}; is another server there? Choose another port with --listen"));
}

#[tokio::test]
async fn all_that_is_wrong_with_the_settings_is_said_at_once() {
    let place = Place::new().await;
    let file = place.folder.join("secret");
    std::fs::write(&file, "from-a-file-0123456789abcdef0123456789\n").unwrap();
    let said = place
        .on_data(&SERVE)
        .env("JWT_SECRET_KEY", "from-the-environment-0123456789")
        .env("JWT_SECRET_KEY_FILE", &file)
        .env("TE_MAX_RUN", "3")
        .env("TE_LEASE_S", "soon")
        .env("ENVIRONMENT", "moon")
        .env("TE_ADMIN_EMAIL", "admin@example.org")
        .env("TE_ADMIN_PASSWORD", "")
        .env("SECRET_KEY_FILE", "/no/such/file")
        .run()
        .await;
    said.failed("The settings are not right:\n");
    for line in [
        "JWT_SECRET_KEY and JWT_SECRET_KEY_FILE are both set; set one of them.",
        "TE_MAX_RUN is not a setting of this server.",
        "TE_LEASE_S is \"soon\"; it must be a number from 1 to 3600.",
        "ENVIRONMENT is \"moon\"; it must be one of dev, test, staging, prod, production.",
        "TE_ADMIN_EMAIL and TE_ADMIN_PASSWORD must be set together.",
        "SECRET_KEY_FILE names /no/such/file, which cannot be read: ",
    ] {
        assert!(said.err.contains(&format!("\n  {line}")), "{line}: {}", said.err);
    }
    assert!(!said.err.contains("0123456789"), "{}", said.err);
    assert!(!place.data.exists(), "nothing is made before the settings are right");
}

#[tokio::test]
async fn in_prod_a_signing_key_a_sandbox_and_web_addresses_are_needed() {
    let place = Place::new().await;
    let said = place.on_data(&SERVE).env("ENVIRONMENT", "prod").env("JWT_SECRET_KEY", "").run().await;
    said.failed("With ENVIRONMENT=prod JWT_SECRET_KEY must be set, to 32 characters or more.");
    let said = place.on_data(&SERVE).env("ENVIRONMENT", "prod").env("TE_SANDBOX", "none").run().await;
    said.failed("TE_SANDBOX=none and TE_SANDBOX=landlock are refused with ENVIRONMENT=prod.");
    let said = place.on_data(&SERVE).env("ENVIRONMENT", "prod").env("CORS_ORIGINS", ",").run().await;
    said.failed("With ENVIRONMENT=prod CORS_ORIGINS must name a web address, such as https://app.example.org.");
    let said = place.on_data(&SERVE).env("ENVIRONMENT", "prod").run().await;
    said.failed("CORS_ORIGINS holds \"http://localhost:3000\", which is refused with ENVIRONMENT=prod.");
}

#[tokio::test]
async fn the_documentation_s_page_comes_from_the_binary_with_a_policy_that_lets_it_run() {
    let server = Server::with(Options { no_worker: true, ..Options::default() }).await;
    let anonymous = server.anonymous();
    let page = anonymous.get("/api/docs/").await;
    page.expect(200);
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    assert_eq!(
        page.headers["content-security-policy"],
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; font-src 'self'; img-src 'self' data:"
    );
    assert_eq!(page.headers["x-frame-options"], "SAMEORIGIN");
    assert_eq!(page.headers["cross-origin-embedder-policy"], "require-corp");
    assert_eq!(page.headers["cross-origin-opener-policy"], "same-origin");
    let html = String::from_utf8(page.bytes.clone()).unwrap();
    let parts = html.split(['"', '\'']).filter(|part| part.ends_with(".js") || part.ends_with(".css"));
    let parts: Vec<&str> = parts.collect();
    assert!(parts.len() > 2, "{html}");
    for part in parts {
        assert!(!part.contains("//"), "{part} lies elsewhere");
        let answer = anonymous.get(&format!("/api/docs/{}", part.trim_start_matches("./"))).await;
        assert_eq!(answer.status, 200, "{part}");
        if part.contains("initializer") {
            assert!(String::from_utf8_lossy(&answer.bytes).contains("/swagger.json"));
        }
    }
    // The page's own address without the slash leads to it.
    let answer = anonymous.get("/api/docs").await;
    assert_eq!(answer.status, 200, "{}", answer.what);
}
