//! Random bodies to every method of every route of the OpenAPI document: never a 5xx. A seed that fails is told.

use serde_json::{Map, Value, json};
use trends_earth::store::users::Role;

use crate::support::{Package, Random, Server, gzip, setting};

const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

/// Words that some route reads.
const KEYS: [&str; 40] = [
    "email",
    "password",
    "name",
    "role",
    "country",
    "institution",
    "refresh_token",
    "token",
    "status",
    "progress",
    "text",
    "level",
    "results",
    "params",
    "recipients",
    "html",
    "subject",
    "grant_type",
    "client_id",
    "client_secret",
    "scopes",
    "expires_in_days",
    "old_password",
    "new_password",
    "newPassword",
    "oldPassword",
    "allowed_roles",
    "allowed_users",
    "restricted",
    "public",
    "cpu_limit",
    "memory_limit",
    "environment",
    "automated",
    "news",
    "task_name",
    "id",
    "slug",
    "email_notifications_enabled",
    "register_date",
];

/// Texts that have hurt somebody.
const TEXTS: [&str; 16] = [
    "",
    "\u{0}",
    "a\u{0}b",
    "'; DROP TABLE script; --",
    "\u{1F30D}",
    "\u{202E}x",
    "null",
    "-1",
    "1e999",
    "ADMIN",
    "USER",
    "a@b.c",
    NOBODY,
    "execution-00000000-0000-4000-8000-000000000000",
    "2026-11-24T05:54:28",
    "{{x}}",
];

/// Numbers and half texts that JSON itself has trouble with.
const RAW: [&str; 12] = [
    "NaN",
    "-Infinity",
    "1e400",
    "-1e-400",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "0.1e-7",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "-0",
    "2147483648",
];

fn value(random: &mut Random, depth: u64) -> String {
    let text = |random: &mut Random| json!(TEXTS[random.below(16) as usize]).to_string();
    match random.below(if depth > 3 { 7 } else { 10 }) {
        0 => "null".into(),
        1 => "true".into(),
        2 => (i64::try_from(random.below(2_000)).unwrap() - 1_000).to_string(),
        3 => RAW[random.below(12) as usize].into(),
        4 => json!("y".repeat(random.below(9_000) as usize)).to_string(),
        5 | 6 => text(random),
        7 => {
            let values: Vec<String> = (0..random.below(4)).map(|_| value(random, depth + 1)).collect();
            format!("[{}]", values.join(","))
        }
        _ => object(random, depth + 1),
    }
}

fn object(random: &mut Random, depth: u64) -> String {
    let pairs: Vec<String> = (0..random.below(9))
        .map(|_| format!("\"{}\":{}", KEYS[random.below(40) as usize], value(random, depth + 1)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

/// Content type, encoding and bytes.
fn body(random: &mut Random, fields: &Map<String, Value>) -> (&'static str, bool, Vec<u8>) {
    const KINDS: [&str; 4] =
        ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "text/plain"];
    let noise =
        |random: &mut Random| (0..random.below(300)).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
    match random.below(10) {
        0 => (KINDS[random.below(4) as usize], random.below(2) == 0, noise(random)),
        1 => {
            let mut bytes: Vec<u8> =
                b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"x.tar.gz\"\r\n\r\n".to_vec();
            bytes.extend::<Vec<u8>>(if random.below(2) == 0 { noise(random) } else { gzip(&noise(random)) });
            bytes.extend(b"\r\n--b--\r\n");
            (KINDS[2], false, bytes)
        }
        2 => {
            let pairs: Vec<String> =
                (0..6).map(|_| format!("{}=%{:02x}", KEYS[random.below(40) as usize], random.below(256))).collect();
            (KINDS[1], false, pairs.join("&").into_bytes())
        }
        3 => (KINDS[0], false, value(random, 0).into_bytes()),
        4 => {
            let whole = object(random, 0).into_bytes();
            let cut = random.below(whole.len() as u64) as usize;
            (KINDS[0], false, whole[..cut].to_vec())
        }
        5 => (KINDS[0], true, gzip(object(random, 0).as_bytes())),
        // Every field that the route is known to read, of a wrong type.
        6 if !fields.is_empty() => {
            let pairs: Vec<String> = fields.keys().map(|key| format!("{}:{}", json!(key), value(random, 1))).collect();
            (KINDS[0], false, format!("{{{}}}", pairs.join(",")).into_bytes())
        }
        _ => (KINDS[0], false, object(random, 0).into_bytes()),
    }
}

#[tokio::test]
async fn random_bodies_are_never_the_server_s_fault() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let script = admin.publish(&Package::echo("Echo")).await["id"].as_str().unwrap().to_owned();
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let execution = admin.run("echo", &json!({})).await;
    let caller = server.account("fuzz", Role::Superadmin).await;
    let other = server.user("ada").await.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    let document = admin.get("/swagger.json").await.expect(200);
    let seed = std::env::var("TE_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_124);
    let mut random = Random::new(seed);
    let mut sent = 0;
    for (route, methods) in document["paths"].as_object().unwrap() {
        // They end the session, or the script and the account, that the rest needs.
        if route.starts_with("/auth/logout") || route.ends_with("/stream") || route.contains("/me/sessions") {
            continue;
        }
        for (method, operation) in methods.as_object().unwrap() {
            if method == "delete" {
                continue;
            }
            let schema =
                operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str().unwrap_or("");
            let fields = document.pointer(schema.trim_start_matches('#')).and_then(|s| s["properties"].as_object());
            let fields = fields.cloned().unwrap_or_default();
            for n in 0..setting("TE_TEST_BODIES", 10) {
                let (kind, packed, bytes) = body(&mut random, &fields);
                let (script, execution, other) =
                    if n % 6 == 5 { (NOBODY, NOBODY, "x") } else { (&*script, &*execution, &*other) };
                let path = route.replace("{script}", script).replace("{execution}", execution);
                let path = path.replace("{user}", other).replace("{id}", NOBODY).replace("{identifier}", "ip:x");
                let path = if path.ends_with("unsubscribe") { format!("{path}?token=x") } else { path };
                let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(2_000)]).into_owned();
                let mut request =
                    caller.request(method.to_uppercase().parse().unwrap(), &path).header("Content-Type", kind);
                if packed {
                    request = request.header("Content-Encoding", "gzip");
                }
                let answer = caller.send(request.body(bytes)).await;
                let text = String::from_utf8_lossy(&answer.bytes);
                // What a setting is missing for is nobody's fault.
                let good = answer.status < 500 || answer.json()["error_code"] == "not_configured";
                assert!(good, "seed {seed}: {}: {} {text}\n{kind}: {shown}", answer.what, answer.status);
                for leak in ["sqlx", "panicked", "SQLITE", "src/store"] {
                    assert!(
                        answer.status < 400 || !text.contains(leak),
                        "seed {seed}: {}: {text}\n{shown}",
                        answer.what
                    );
                }
                sent += 1;
            }
        }
    }
    assert!(sent > 800, "{sent}");
    server.anonymous().get("/api-health").await.expect(200);
}
