//! How often one may call: who is counted as one, who is not, and how a refused caller gets in again.

use reqwest::Method;
use serde_json::json;
use trends_earth::store::users::Role;

use crate::{
    mail::{files, link},
    support::{Answer, Client, Options, Package, Server, skip, until},
};

const REFUSED: &str = "Rate limit exceeded. Please try again later.";

/// A server with limits, and so many proxies in front of it.
async fn limited(proxies: usize) -> Server {
    let options = Options::default().without_worker();
    Server::with(options.set("RATE_LIMITING_ENABLED", true).set("TRUSTED_PROXY_COUNT", proxies)).await
}

/// Asks as if a proxy had passed it on.
async fn ping_for(caller: &Client, forwarded: &str) -> Answer {
    caller.send(caller.request(Method::GET, "/ping").header("X-Forwarded-For", forwarded)).await
}

fn left(answer: &Answer) -> Option<u32> {
    answer.headers.get("x-ratelimit-remaining").map(|value| value.to_str().unwrap().parse().unwrap())
}

async fn sign_in(caller: &Client, email: &str, password: &str) -> Answer {
    caller.post("/auth", &json!({"email": email, "password": password})).await
}

#[tokio::test]
async fn a_caller_is_refused_after_his_limit_and_told_when_to_come_back() {
    let server = limited(0).await;
    let caller = server.anonymous();
    let first = caller.get("/ping").await;
    first.expect(200);
    assert_eq!((first.headers["x-ratelimit-limit"].to_str().unwrap(), left(&first)), ("100", Some(99)));
    assert!(!first.headers.contains_key("retry-after"), "an answer that was given asks nobody to wait");
    for _ in 0..99 {
        caller.get("/ping").await.expect(200);
    }
    let refused = caller.get("/ping").await;
    refused.refused(429, REFUSED);
    assert_eq!(refused.json()["error_code"], "RATE_LIMIT_EXCEEDED");
    assert_eq!(left(&refused), Some(0));
    let wait: u32 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    // Routes are counted each for itself; health, unknown paths and wrong methods not at all.
    assert_eq!(left(&caller.get("/api/v1/script").await), Some(99));
    for answer in [caller.get("/api-health").await, caller.get("/nothing").await, caller.delete("/ping").await] {
        assert!(answer.status != 429 && left(&answer).is_none(), "{}", answer.what);
    }
}

#[tokio::test]
async fn a_forwarded_address_counts_only_from_a_trusted_proxy_and_only_as_deep_as_proxies_stand() {
    let server = limited(0).await;
    let caller = server.anonymous();
    assert_eq!(left(&ping_for(&caller, "203.0.113.1").await), Some(99));
    assert_eq!(left(&ping_for(&caller, "203.0.113.2").await), Some(98), "without proxies nobody is believed");
    let server = limited(1).await;
    let caller = server.anonymous();
    assert_eq!(left(&ping_for(&caller, "198.51.100.7, 203.0.113.1").await), Some(99));
    assert_eq!(
        left(&ping_for(&caller, "198.51.100.8, 203.0.113.1").await),
        Some(98),
        "what the client says is not read"
    );
    assert_eq!(left(&ping_for(&caller, "203.0.113.2").await), Some(99));
    let options = Options::default().without_worker().set("RATE_LIMITING_ENABLED", true);
    let server = Server::with(options.set("TRUSTED_PROXY_COUNT", 1).set("TE_TRUSTED_PROXIES", "192.0.2.0/24")).await;
    let caller = server.anonymous();
    assert_eq!(left(&ping_for(&caller, "203.0.113.1").await), Some(99));
    assert_eq!(left(&ping_for(&caller, "203.0.113.2").await), Some(98), "the peer is no trusted proxy");
}

#[tokio::test]
async fn a_network_of_ipv6_is_one_caller() {
    let server = limited(1).await;
    let caller = server.anonymous();
    assert_eq!(left(&ping_for(&caller, "2001:db8:1:2::1").await), Some(99));
    assert_eq!(left(&ping_for(&caller, "2001:db8:1:2:ffff::9").await), Some(98));
    assert_eq!(left(&ping_for(&caller, "2001:db8:1:3::1").await), Some(99));
}

#[tokio::test]
async fn accounts_behind_one_address_are_counted_each_for_itself_and_administrators_not_at_all() {
    let server = limited(0).await;
    let (ann, bob, admin) = (server.user("ann").await, server.user("bob").await, server.admin().await);
    for expected in [99, 98] {
        assert_eq!(left(&ann.get("/api/v1/user/me").await), Some(expected));
    }
    assert_eq!(left(&bob.get("/api/v1/user/me").await), Some(99));
    for _ in 0..110 {
        let answer = admin.get("/api/v1/user/me").await;
        answer.expect(200);
        assert_eq!(left(&answer), None);
    }
}

#[tokio::test]
async fn a_classroom_of_forty_behind_one_address_registers_gets_links_signs_in_and_runs() {
    let server = Server::with(Options::default().set("RATE_LIMITING_ENABLED", true)).await;
    let works = server.has_sandbox().await;
    let admin = server.admin().await;
    let slug = admin.publish_built(&Package::echo("Lesson")).await;
    admin.post_empty(&format!("/api/v1/script/{slug}/publish")).await.expect(200);
    let anonymous = server.anonymous();
    let names: Vec<String> = (10..50).map(|n| format!("pupil{n}@example.org")).collect();
    for name in &names {
        anonymous.post("/api/v1/user", &json!({"email": name, "name": "Pupil"})).await.data(200);
    }
    until("forty letters are written", async || files(&server).len() == names.len()).await;
    let letters = files(&server);
    let mut runs = Vec::new();
    for name in &names {
        let letter = letters.iter().find(|letter| letter.contains(&format!("To: {name}"))).unwrap();
        let token = link(letter).split("token=").nth(1).unwrap().to_owned();
        let set = json!({"token": token, "password": "Pup1l!Passw0rd#12"});
        anonymous.post("/api/v1/user/reset-password", &set).await.expect(200);
        let pupil = server.sign_in(name, "Pup1l!Passw0rd#12").await;
        let id = pupil.run(&slug, &json!({"year": 2020})).await;
        runs.push((pupil, id));
    }
    if !works {
        server.may_log_errors();
        return skip("a_classroom_of_forty", "no sandbox works here: nothing runs");
    }
    for (pupil, id) in runs {
        let run = pupil.ended(&id).await;
        assert_eq!((&run["status"], &run["results"]["params"]["year"]), (&json!("FINISHED"), &json!(2020)), "{run}");
    }
    assert_eq!(server.rows("rate_limit_event").await, 0);
}

#[tokio::test]
async fn a_front_end_that_is_trusted_is_counted_by_the_accounts_it_speaks_for() {
    let options = |trusted: &str| {
        let options = Options::default().without_worker().set("RATE_LIMITING_ENABLED", true);
        options.set("AUTH_LIMITS", "1 per minute").set("TE_TRUSTED_CLIENTS", trusted)
    };
    let guess =
        async |caller: &Client, n: u32| sign_in(caller, &format!("nobody{n}@example.org"), "wrong").await.status;
    // By its network.
    let server = Server::with(options("127.0.0.1")).await;
    let caller = server.anonymous();
    for n in 0..30 {
        assert_eq!(guess(&caller, n).await, 401);
    }
    assert_eq!(guess(&caller, 0).await, 429, "an account is still counted");
    // By its own token, and by no other.
    let server = Server::with(options("192.0.2.0/24, te_cid_front")).await;
    let made = server.admin().await.post("/api/v1/oauth/clients", &json!({"name": "front"})).await.data(201);
    server.execute("UPDATE service_client SET client_id = 'te_cid_front'").await;
    let body = json!({"grant_type": "client_credentials", "client_id": "te_cid_front", "client_secret": made["client_secret"]});
    let token = server.anonymous().post("/api/v1/oauth/token", &body).await.expect(200);
    let front = server.anonymous().with_token(token["access_token"].as_str().unwrap().to_owned());
    for n in 0..30 {
        assert_eq!(guess(&front, n).await, 401);
    }
    assert_eq!(
        (guess(&front, 0).await, guess(&server.anonymous(), 31).await, guess(&server.anonymous(), 32).await),
        (429, 401, 429)
    );
}

#[tokio::test]
async fn failed_sign_ins_are_counted_by_address_and_by_account_and_successful_ones_by_account() {
    let options = Options::default().without_worker().set("RATE_LIMITING_ENABLED", true);
    let server = Server::with(options.set("AUTH_LIMITS", "3 per minute")).await;
    let caller = server.anonymous();
    for n in 0..6 {
        server.user(&format!("one{n}")).await;
    }
    for n in 0..3 {
        sign_in(&caller, &format!("nobody{n}@example.org"), "wrong").await.expect(401);
    }
    let refused = sign_in(&caller, "one1@example.org", "User!Passw0rd#12").await;
    refused.refused(429, REFUSED);
    until("the refusal is written down", async || server.rows("rate_limit_event").await == 1).await;
    for _ in 0..10 {
        sign_in(&caller, "one1@example.org", "User!Passw0rd#12").await.refused(429, REFUSED);
    }
    assert_eq!(server.rows("rate_limit_event").await, 1, "a row a window, however often one asks");
}

#[tokio::test]
async fn containers_and_runs_sign_in_whatever_others_at_their_address_have_done() {
    let options = Options::default().without_worker().set("RATE_LIMITING_ENABLED", true);
    let options = options.set("AUTH_LIMITS", "1 per minute").set("API_ENVIRONMENT_USER", "env@example.org");
    let server = Server::with(options).await;
    let (caller, boss) = (server.anonymous(), server.admin().await);
    boss.publish(&Package::echo("echo")).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let run = boss.run("echo", &json!({})).await;
    let digest = trends_earth::auth::tokens::digest("secret");
    server
        .execute(&format!(
            "INSERT INTO execution_credential (execution_id, attempt, secret_sha256) VALUES ('{run}', 1, '{digest}')
             ON CONFLICT (execution_id) DO UPDATE SET secret_sha256 = '{digest}', expires_at = NULL"
        ))
        .await;
    let run = format!("execution-{run}");
    server.user("env").await;
    for n in 0..25 {
        let _ = sign_in(&caller, &format!("nobody{n}@example.org"), "wrong").await;
    }
    sign_in(&caller, "nobody@example.org", "wrong").await.refused(429, REFUSED);
    let nobody = "execution-00000000-0000-4000-8000-000000000000";
    sign_in(&caller, nobody, "x").await.refused(429, REFUSED);
    caller.post("/auth", &json!({})).await.refused(429, REFUSED);
    // The account has signed in once already.
    for n in 0..19 {
        let answer = sign_in(&caller, "env@example.org", "User!Passw0rd#12").await;
        answer.expect(200);
        assert_eq!(left(&answer), Some(18 - n));
    }
    sign_in(&caller, "env@example.org", "User!Passw0rd#12").await.refused(429, REFUSED);
    for _ in 0..25 {
        sign_in(&caller, &run, "secret").await.expect(200);
    }
}

#[tokio::test]
async fn a_second_link_within_a_minute_is_refused_for_the_same_account_only() {
    let server = limited(0).await;
    let caller = server.anonymous();
    let path = |name: &str| format!("/api/v1/user/{name}@example.org/recover-password");
    let first = caller.post_empty(&path("ann")).await;
    first.expect(200);
    assert_eq!((first.headers["x-ratelimit-limit"].to_str().unwrap(), left(&first)), ("1", Some(0)));
    caller.post_empty(&path("ANN")).await.refused(429, REFUSED);
    caller.post_empty(&path("bob")).await.expect(200);
}

#[tokio::test]
async fn a_reset_lets_the_caller_in_again_and_is_in_the_audit_trail() {
    let options = Options::default().without_worker().set("RATE_LIMITING_ENABLED", true);
    let server = Server::with(options.set("DEFAULT_LIMITS", "2/minute")).await;
    let (admin, ann) = (server.admin().await, server.user("ann").await);
    let id = ann.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    ann.get("/api/v1/user/me").await.expect(200);
    ann.get("/api/v1/user/me").await.refused(429, REFUSED);
    until("the refusal is written down", async || server.rows("rate_limit_event").await == 1).await;
    let status = admin.get("/api/v1/rate-limit/status").await.data(200);
    let held = &status["active_limits"][0];
    assert_eq!((status["total_active_limits"].clone(), status["enabled"].clone()), (json!(1), json!(true)));
    assert_eq!(held["identifier"], json!(format!("user:{id}")));
    assert_eq!(held["user_info"]["email"], json!("ann@example.org"));
    assert_eq!((&held["type"], &held["limit_definition"]), (&json!("user"), &json!("2 per 1 minute")));
    let reset = admin.post_empty(&format!("/api/v1/rate-limit/reset/user:{id}")).await.expect(200);
    assert_eq!(reset["message"], json!(format!("Rate limit reset for identifier: user:{id}")));
    ann.get("/api/v1/user/me").await.expect(200);
    let nobody = admin.post_empty("/api/v1/rate-limit/reset/ip:192.0.2.99").await.expect(404);
    assert_eq!(nobody["error"], json!("No rate limit found for identifier: ip:192.0.2.99"));
    let all = admin.post_empty("/api/v1/rate-limit/reset").await.expect(200);
    assert_eq!(all["message"], json!("All rate limits have been reset."));
    let audit = admin.get("/api/v1/admin/audit?filter=action='rate_limit.reset'").await.data(200);
    assert_eq!(audit.as_array().unwrap().len(), 2, "{audit}");
}

#[tokio::test]
async fn events_are_for_administrators_and_can_be_narrowed() {
    let options = Options::default().without_worker().set("RATE_LIMITING_ENABLED", true);
    let server = Server::with(options.set("DEFAULT_LIMITS", "1/minute")).await;
    let (ann, boss) = (server.user("ann").await, server.account("boss", Role::Admin).await);
    ann.get("/api/v1/user/me").await.expect(200);
    ann.get("/api/v1/user/me").await.refused(429, REFUSED);
    until("the refusal is written down", async || server.rows("rate_limit_event").await == 1).await;
    ann.get("/api/v1/rate-limit/events").await.refused(403, "Admin or superadmin access required");
    boss.get("/api/v1/rate-limit/status").await.refused(403, "Superadmin access required");
    let list = async |query: &str| boss.get(&format!("/api/v1/rate-limit/events?{query}")).await.expect(200);
    let all = list("").await;
    assert_eq!((&all["total"], &all["total_pages"], &all["per_page"]), (&json!(1), &json!(1), &json!(100)));
    assert_eq!(all["data"][0]["user_email"], json!("ann@example.org"));
    for (query, total) in [
        ("status=active", 1),
        ("status=historical", 0),
        ("type=user", 1),
        ("ip=192.0.2.1", 0),
        ("since_hours=1", 1),
        ("since=2999-01-01", 0),
        ("filter=method='GET'&sort=-occurred_at", 1),
        ("page=2&per_page=1", 1),
    ] {
        assert_eq!(list(query).await["total"], json!(total), "{query}");
    }
    boss.get("/api/v1/rate-limit/events?user_id=x").await.refused(400, "user_id is \"x\"; it must be a UUID.");
    boss.get("/api/v1/rate-limit/events?since_days=x").await.expect(400);
}

#[tokio::test]
async fn limits_that_are_off_limit_nobody() {
    let server = Server::api_only().await;
    let caller = server.anonymous();
    for _ in 0..120 {
        let answer = caller.get("/ping").await;
        answer.expect(200);
        assert_eq!(left(&answer), None);
    }
    let status = server.admin().await.get("/api/v1/rate-limit/status").await.data(200);
    assert_eq!(status["enabled"], json!(false));
}
