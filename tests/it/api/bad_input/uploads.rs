//! Archives and configurations that are refused with status 400, a sentence and a code; of none is anything kept.

use reqwest::Method;
use serde_json::json;

use crate::support::{Client, Package, Server, entry, gzip, token};

const SCRIPT: &str = "/api/v1/script";

/// An archive of these raw entries, beside a good configuration.
fn with(entries: &[Vec<u8>]) -> Vec<u8> {
    let configuration = entry(b"configuration.json", b'0', br#"{"name":"Bad"}"#);
    let main = entry(b"src/main.py", b'0', b"def run(params, logger):\n    return {}\n");
    gzip(&[&[configuration, main].concat(), &entries.concat(), &[0; 1024][..]].concat())
}

/// An archive whose configuration is this text.
fn configured(text: &str) -> Vec<u8> {
    Package::echo("Bad").file("configuration.json", text).pack()
}

/// Uploads as a new script and as a new version of `good`: both refused with this sentence (or its beginning), and a code.
async fn refused(admin: &Client, archive: &[u8], code: &str, sentence: &str) {
    for (method, path) in [(Method::POST, SCRIPT), (Method::PATCH, "/api/v1/script/good")] {
        let answer = admin.upload(method, path, "script.tar.gz", archive.to_vec()).await;
        let body = answer.expect(400);
        let detail = body["detail"].as_str().unwrap();
        assert!(detail.starts_with(sentence), "{}: {detail:?}, not {sentence:?}", answer.what);
        assert_eq!((&body["error_code"], &body["status"]), (&json!(code), &json!(400)), "{detail}");
    }
}

async fn with_good() -> (Server, Client) {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    admin.publish(&Package::echo("Good")).await;
    (server, admin)
}

#[tokio::test]
async fn what_is_no_whole_archive_is_refused_and_nothing_is_kept() {
    let (server, admin) = with_good().await;
    let before = server.footprint().await;
    let good = Package::echo("Bad").file("data.bin", vec![7; 50_000]).pack();
    let mut flipped = good.clone();
    let n = flipped.len();
    flipped[n - 6] ^= 0xff;
    let many: Vec<Vec<u8>> = (0..10_001).map(|n| entry(format!("f{n}").as_bytes(), b'0', b"")).collect();
    let device = "The archive's entry \"null\" is a device; only files and folders are allowed.";
    for (archive, sentence) in [
        (Vec::new(), "The file is empty; a .tar.gz archive is needed."),
        (b"hello".to_vec(), "The file is not gzip data; a .tar.gz archive is needed, as `tar czf` makes it."),
        (b"PK\x03\x04xxxx".to_vec(), "The file is a zip archive; a .tar.gz archive is needed, as `tar czf` makes it."),
        (gzip(b"hello"), "The file is not a tar archive, or it is damaged: "),
        (gzip(&vec![b'x'; 5_000]), "The file is not a tar archive, or it is damaged: "),
        (good[..good.len() / 2].to_vec(), "The archive is damaged or was cut off: its gzip data ends early"),
        (flipped, "The archive is damaged or was cut off: its gzip data ends early or does not match its checksum."),
        (gzip(&[0; 1024]), "Invalid File"),
        (gzip(&[entry(b"src/main.py", b'0', b"x"), vec![0; 1024]].concat()), "Invalid File"),
        (gzip(&[entry(b"sub/configuration.json", b'0', b"{}"), vec![0; 1024]].concat()), "Invalid File"),
        (with(&[entry(b"link", b'2', b"")]), "The archive's entry \"link\" is a symbolic link; only files and folders"),
        (with(&[entry(b"link", b'1', b"")]), "The archive's entry \"link\" is a hard link; only files and folders"),
        (
            with(&[entry(b"../evil", b'0', b"x")]),
            "The archive's entry \"../evil\" has `..` in its path; paths must stay below",
        ),
        (with(&[entry(b"a/../../evil", b'0', b"x")]), "The archive's entry \"a/../../evil\" has `..` in its path"),
        (
            with(&[entry(b"/etc/passwd", b'0', b"x")]),
            "The archive's entry \"/etc/passwd\" has an absolute path; paths must be",
        ),
        (with(&[entry(b"null", b'3', b"")]), device),
        (with(&[entry(b"null", b'4', b"")]), device),
        (with(&[entry(b"pipe", b'6', b"")]), "The archive's entry \"pipe\" is a named pipe; only files and folders"),
        (with(&many), "The archive has more than 10000 files and folders."),
        (with(&[entry(b"src/main.py", b'0', b"x")]), "The archive has its entry \"src/main.py\" twice."),
    ] {
        refused(&admin, &archive, "invalid_archive", sentence).await;
    }
    assert_eq!(server.footprint().await, before);
}

#[tokio::test]
async fn a_bomb_is_refused_at_its_bound() {
    let (server, admin) = with_good().await;
    let before = server.footprint().await;
    let bomb = with(&[entry(b"zeros.bin", b'0', &vec![0; 101 << 20])]);
    assert!(bomb.len() < 1 << 20);
    refused(&admin, &bomb, "invalid_archive", "The archive unpacks to more than 100 MiB.").await;
    let text = Package::echo("Bad").file("configuration.json", vec![b' '; 300 << 10]).pack();
    let sentence = "configuration.json has 307200 bytes; at most 262144 are allowed.";
    refused(&admin, &text, "invalid_archive", sentence).await;
    assert_eq!(server.footprint().await, before);
}

#[tokio::test]
async fn more_than_ten_megabytes_are_refused_in_a_sentence_and_no_broken_connection() {
    let (server, admin) = with_good().await;
    let before = server.footprint().await;
    for (size, sentence) in [((10 << 20) + 1, "File too large (max 10MB)"), (30 << 20, "File too large (max 10MB)")] {
        let answer = admin.upload(Method::POST, SCRIPT, "script.tar.gz", vec![b'x'; size]).await;
        answer.refused(400, sentence);
        assert_eq!(answer.json()["error_code"], "body_too_large");
    }
    let answer = admin.upload(Method::POST, SCRIPT, "script.tar.gz", vec![b'x'; 51 << 20]).await;
    assert!(matches!(answer.status, 400 | 413), "{}", answer.status);
    assert!(answer.json()["detail"].is_string());
    assert_eq!(server.footprint().await, before);
}

#[tokio::test]
async fn who_is_refused_before_his_upload_is_read_hears_why() {
    let (server, admin) = with_good().await;
    let before = server.footprint().await;
    let old = token::sign(&json!({"sub": "x", "exp": 1}), token::SECRET);
    let nine = vec![b'x'; 9 << 20];
    for _ in 0..5 {
        let anonymous = server.anonymous();
        let answer = anonymous.upload(Method::POST, SCRIPT, "x.tar.gz", nine.clone()).await;
        answer.refused(401, "Authorization token required");
        let answer = anonymous
            .with_token(old.clone())
            .upload(Method::PATCH, "/api/v1/script/good", "x.tar.gz", nine.clone())
            .await;
        answer.refused(401, "Invalid token");
        admin.post_raw(SCRIPT, "application/gzip", nine.clone()).await.refused(400, "File Required");
        anonymous.post_raw("/auth", "text/plain", nine.clone()).await.expect(415);
        anonymous.post_raw("/api/v1/nothing", "text/plain", nine.clone()).await.refused(404, "Not Found");
        anonymous.post_raw("/api-health", "text/plain", nine.clone()).await.refused(405, "Method Not Allowed");
    }
    assert_eq!(server.footprint().await, before);
}

#[tokio::test]
async fn a_configuration_that_is_not_right_is_refused_and_nothing_is_kept() {
    let (server, admin) = with_good().await;
    let before = server.footprint().await;
    let long = format!(r#"{{"name":"{}"}}"#, "n".repeat(121));
    let wide = format!(r#"{{"name":"{}"}}"#, "日".repeat(60));
    let name = "a text of 1 to 120 characters on one line.";
    let nano = "a whole number of nano-CPUs (1000000000 is one core) from 1 to 1024000000000.";
    let bytes = "a whole number of bytes from 1 to 70368744177664.";
    let is =
        |key: &str, value: &str, right: &str| format!("{key} in configuration.json is {value}; it must be {right}");
    for (text, sentence) in [
        ("", "configuration.json is not valid JSON: ".to_owned()),
        ("{", "configuration.json is not valid JSON: ".into()),
        ("{'name': 'x'}", "configuration.json is not valid JSON: ".into()),
        ("[]", "configuration.json must hold a JSON object, `{…}`.".into()),
        ("\"x\"", "configuration.json must hold a JSON object, `{…}`.".into()),
        ("null", "configuration.json must hold a JSON object, `{…}`.".into()),
        ("{}", "Script configuration must include a 'name'".into()),
        (r#"{"name":null}"#, "Script configuration must include a 'name'".into()),
        (r#"{"name":""}"#, "Script configuration must include a 'name'".into()),
        (r#"{"name":5}"#, is("name", "5", name)),
        (r#"{"name":["x"]}"#, is("name", "[\"x\"]", name)),
        (r#"{"name":"a\nb"}"#, is("name", "\"a\\nb\"", name)),
        (&long, "name in configuration.json is \"nnn".into()),
        (&wide, "name gives a slug of ".into()),
        (r#"{"name":"---"}"#, "Cannot generate valid slug from script name".into()),
        (r#"{"name":"x","cpu_limit":-1}"#, is("cpu_limit", "-1", nano)),
        (r#"{"name":"x","cpu_limit":0}"#, is("cpu_limit", "0", nano)),
        (r#"{"name":"x","cpu_reservation":"many"}"#, is("cpu_reservation", "\"many\"", nano)),
        (r#"{"name":"x","memory_limit":1.5}"#, is("memory_limit", "1.5", bytes)),
        (r#"{"name":"x","memory_limit":[]}"#, is("memory_limit", "[]", bytes)),
        (r#"{"name":"x","memory_reservation":true}"#, is("memory_reservation", "true", bytes)),
        (r#"{"name":"x","memory_limit":1e300}"#, is("memory_limit", "1e300", bytes)),
        (r#"{"name":"x","timeout_s":-5}"#, is("timeout_s", "-5", "a whole number of seconds from 1 to 31622400.")),
        (r#"{"name":"x","uses_gee":"no"}"#, is("uses_gee", "\"no\"", "true or false.")),
        (r#"{"name":"x","network":"some"}"#, is("network", "\"some\"", "one of \"none\", \"https\", \"full\".")),
        (
            r#"{"name":"x","compute_type":"fpga"}"#,
            is("compute_type", "\"fpga\"", "one of \"gee\", \"batch\", \"openeo\"."),
        ),
        (r#"{"name":"x","environment":"../../evil image"}"#, "environment in configuration.json is ".into()),
        (r#"{"name":"x","openeo_backend_url":"http://x"}"#, "openeo_backend_url in configuration.json is ".into()),
        (r#"{"name":"x","params_schema":[]}"#, "params_schema in configuration.json is []".into()),
        (
            r#"{"name":"x","memory_limit":100000000,"memory_reservation":200000000}"#,
            "memory_reservation is 200000000, more than memory_limit, which is 100000000; it must be at most that."
                .into(),
        ),
    ] {
        refused(&admin, &configured(text), "invalid_configuration", &sentence).await;
    }
    assert_eq!(server.footprint().await, before);
}

#[tokio::test]
async fn a_taken_slug_leaves_nothing_behind() {
    let (server, admin) = with_good().await;
    let before = server.footprint().await;
    let answer = admin.upload(Method::POST, SCRIPT, "x.tar.gz", Package::echo("GOOD!").pack()).await;
    answer.refused(400, "Script with name GOOD! generates an existing script slug");
    assert_eq!(server.footprint().await, before);
}

#[tokio::test]
async fn a_configuration_below_a_dot_and_one_with_a_byte_order_mark_are_fine() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let dotted = gzip(
        &[
            entry(b"./", b'5', b""),
            entry(b"./configuration.json", b'0', br#"{"name":"Dotted"}"#),
            entry(b"./src/", b'5', b""),
            entry(b"./src/main.py", b'0', b"def run(params, logger):\n    return {}\n"),
            vec![0; 1024],
        ]
        .concat(),
    );
    assert_eq!(admin.upload(Method::POST, SCRIPT, "x.tar.gz", dotted).await.data(200)["slug"], "dotted");
    let marked = configured("\u{feff}{\"name\":\"Marked\",\"id\":\"x\",\"unknown\":[1,2]}");
    assert_eq!(admin.upload(Method::POST, SCRIPT, "x.tar.gz", marked).await.data(200)["slug"], "marked");
    let lenient =
        configured(r#"{"name":"Lenient","cpu_limit":"500000000","memory_limit":5e8,"memory_reservation":null}"#);
    let script = admin.upload(Method::POST, SCRIPT, "x.tar.gz", lenient).await.data(200);
    assert_eq!((&script["cpu_limit"], &script["memory_limit"]), (&json!(500_000_000), &json!(500_000_000)));
}

#[tokio::test]
async fn a_connection_that_breaks_off_in_the_middle_of_an_upload_leaves_nothing_behind() {
    use std::io::{Read, Write};
    let (server, admin) = with_good().await;
    let before = server.footprint().await;
    let address = server.base.trim_start_matches("http://").to_owned();
    let head = format!(
        "POST {SCRIPT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 100000\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x.tar.gz\"\r\n\r\n",
        admin.token.as_ref().unwrap()
    );
    tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&Package::echo("Bad").pack()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // The server answers or closes once it has seen the end.
        let _ = stream.read_to_end(&mut Vec::new());
    })
    .await
    .unwrap();
    assert_eq!(server.footprint().await, before);
}
