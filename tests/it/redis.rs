//! What nodes share by Redis, and that nobody notices when it is away.

use std::time::{Duration, Instant};

use serde_json::json;
use trends_earth::limits::Limit;

use crate::support::{Answer, Client, Options, Redis, Server, database_url, token, until};

/// Two servers that count in one Redis: on one database, or on SQLite each with its own.
async fn pair(redis: &Redis, options: Options) -> (Server, Server) {
    let options = options.without_worker().set("RATE_LIMITING_ENABLED", true).set("REDIS_URL", &redis.url);
    let first = Server::with(options.clone()).await;
    let second = match database_url() {
        Some(_) => first.beside(Options::default().without_worker()).await,
        None => Server::with(options).await,
    };
    (first, second)
}

async fn sign_in(caller: &Client, email: &str, password: &str) -> Answer {
    caller.post("/auth", &json!({"email": email, "password": password})).await
}

#[tokio::test]
async fn two_servers_count_together_and_a_reset_on_one_lets_in_at_the_other() {
    let test = "two_servers_count_together_and_a_reset_on_one_lets_in_at_the_other";
    let Some(redis) = Redis::start(test).await else { return };
    let (first, second) = pair(&redis, Options::default().set("DEFAULT_LIMITS", "4/minute, 50/hour")).await;
    let (one, other) = (first.anonymous(), second.anonymous());
    for caller in [&one, &other, &one, &other] {
        caller.get("/ping").await.expect(200);
    }
    for caller in [&one, &other] {
        let refused = caller.get("/ping").await;
        assert_eq!(refused.status, 429, "{}", refused.what);
        let wait: u32 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    }
    until("the refusal is written down", async || first.rows("rate_limit_event").await == 1).await;
    let keys: Vec<String> = redis.ask(&["KEYS", "LIMITS:LIMITER/ip:127.0.0.1/GET /ping/*"]).await;
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in &keys {
        let left: i64 = redis.ask(&["TTL", key]).await;
        assert!((1..=3_600).contains(&left), "{key} ends: {left}");
    }
    redis.ask::<()>(&["SET", "LIMITS:LIMITER/ip:127.0.0.11/ping/1/1/minute", "1"]).await;
    redis.ask::<()>(&["SET", "other", "1"]).await;
    let admin = first.admin().await;
    admin.post_empty("/api/v1/rate-limit/reset/ip:127.0.0.1").await.expect(200);
    for _ in 0..4 {
        other.get("/ping").await.expect(200);
    }
    one.get("/ping").await.expect(429);
    let keys: Vec<String> = redis.ask(&["KEYS", "LIMITS:LIMITER/ip:127.0.0.11/*"]).await;
    assert_eq!(keys.len(), 1, "nobody else is let in");
    second.admin().await.post_empty("/api/v1/rate-limit/reset").await.expect(200);
    one.get("/ping").await.expect(200);
    let keys: Vec<String> = redis.ask(&["KEYS", "*"]).await;
    assert!(keys.contains(&"other".to_owned()), "{keys:?}");
    assert!(!keys.iter().any(|key| key.contains("127.0.0.11")), "{keys:?}");
    drop(second);
}

#[tokio::test]
async fn what_is_given_back_in_redis_is_whole_or_tenths_and_of_the_same_window() {
    let test = "what_is_given_back_in_redis_is_whole_or_tenths_and_of_the_same_window";
    let Some(redis) = Redis::start(test).await else { return };
    let (first, second) = pair(&redis, Options::default().set("AUTH_LIMITS", "3 per minute")).await;
    let (one, other) = (&first.app.counters, &second.app.counters);
    let (limit, key) = (Limit::parse("2/minute").unwrap(), "LIMITER/user:x/GET /y/2/1/minute");
    let (a, b) = (one.take(key, limit, 0).await, other.take(key, limit, 0).await);
    assert_eq!((a.remaining, b.remaining), (1, 0));
    assert_eq!(a.window, b.window);
    let refused = one.take(key, limit, 0).await;
    assert!(!refused.fits && refused.first_refusal);
    assert!(!other.take(key, limit, 0).await.first_refusal, "it is told once");
    other.give_back(key, 9, &a.window).await;
    assert!(!one.take(key, limit, 0).await.fits, "one tenth still counts");
    one.give_back(key, 9, &b.window).await;
    assert!(other.take(key, limit, 0).await.fits, "two tenths leave room for one");
    assert!(one.forget("LIMITER/user:x/").await);
    let next = one.take(key, limit, 0).await;
    other.give_back(key, 10, &a.window).await;
    assert_eq!(
        (next.remaining, one.take(key, limit, 0).await.remaining),
        (1, 0),
        "an earlier window gives nothing back"
    );
    // Sign-ins that succeed are given back at the address.
    for n in 0..5 {
        first.user(&format!("one{n}")).await;
    }
    for n in 0..3 {
        sign_in(&first.anonymous(), &format!("nobody{n}@example.org"), "wrong").await.expect(401);
    }
    sign_in(&first.anonymous(), "one1@example.org", "User!Passw0rd#12").await.expect(429);
    drop(second);
}

#[tokio::test]
async fn redis_that_goes_away_or_hangs_refuses_nobody_and_delays_nobody() {
    let test = "redis_that_goes_away_or_hangs_refuses_nobody_and_delays_nobody";
    let Some(mut redis) = Redis::start(test).await else { return };
    let options = Options::default().set("TE_COEXIST", "on").set("DEFAULT_LIMITS", "30/minute");
    let (first, second) = pair(&redis, options).await;
    let user = first.user("ann").await;
    let (one, other) = (first.anonymous(), second.anonymous());
    for _ in 0..30 {
        one.get("/ping").await.expect(200);
    }
    other.get("/ping").await.expect(429);
    redis.go_away();
    for caller in [&one, &other] {
        for _ in 0..25 {
            caller.get("/ping").await.expect(200);
        }
    }
    user.get("/api/v1/user/me").await.expect(200);
    until("it counts for itself", async || one.get("/ping").await.status == 429).await;
    redis.come_back().await;
    until("it counts in Redis again", async || {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let _ = one.get("/ping").await;
        !redis.ask::<Vec<String>>(&["KEYS", "LIMITS:*"]).await.is_empty()
    })
    .await;
    assert!(first.log().contains("Redis answers again"), "{}", first.log());
    redis.hang();
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let begun = Instant::now();
        user.get("/api/v1/user/me").await.expect(200);
        slowest = slowest.max(begun.elapsed());
    }
    println!("slowest while Redis hangs: {slowest:?}");
    // 200 ms, and what a busy machine adds.
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let warnings = first.log().lines().filter(|line| line.contains("Redis is away")).count();
    assert_eq!(warnings, 1, "{}", first.log());
    drop(second);
}

#[tokio::test]
async fn beside_the_existing_server_a_token_that_either_ends_is_ended_at_both() {
    let test = "beside_the_existing_server_a_token_that_either_ends_is_ended_at_both";
    let Some(mut redis) = Redis::start(test).await else { return };
    let options = Options::default().without_worker().set("REDIS_URL", &redis.url);
    let server = Server::with(options.clone().set("TE_COEXIST", "on")).await;
    let user = server.user("ann").await;
    let jti = |client: &Client| token::read(client.token.as_ref().unwrap()).1["jti"].as_str().unwrap().to_owned();
    user.get("/api/v1/user/me").await.expect(200);
    redis.ask::<()>(&["SET", &format!("blocklist:{}", jti(&user)), "revoked", "EX", "60"]).await;
    let refused = user.get("/api/v1/user/me").await.expect(401);
    assert_eq!(refused["error"], json!("token_revoked"));
    let again = server.sign_in(&user.email, &user.password).await;
    again.post_empty("/auth/logout").await.expect(200);
    let key = format!("blocklist:{}", jti(&again));
    assert_eq!(redis.ask::<Option<String>>(&["GET", &key]).await.as_deref(), Some("revoked"));
    let left: i64 = redis.ask(&["TTL", &key]).await;
    assert!((3_600..=3_660).contains(&left), "what is left of its hour, and a minute: {left}");
    redis.go_away();
    again.get("/api/v1/user/me").await.expect(401);
    server.sign_in(&user.email, &user.password).await.get("/api/v1/user/me").await.expect(200);
    redis.come_back().await;
    // Alone, the table is enough.
    let alone = Server::with(options.set("TE_COEXIST", "off")).await;
    let user = alone.user("bob").await;
    user.post_empty("/auth/logout").await.expect(200);
    user.get("/api/v1/user/me").await.expect(401);
    assert_eq!(redis.ask::<Vec<String>>(&["KEYS", "blocklist:*"]).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_url_of_redis_that_is_none_is_told_without_what_it_says() {
    let flags = trends_earth::config::Flags::default();
    for (name, value) in [("REDIS_URL", "http://:secret@host"), ("RATE_LIMIT_STORAGE_URI", "secret")] {
        let env = std::collections::BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let said = trends_earth::config::Config::read(&flags, env).unwrap_err().to_string();
        assert!(said.contains(name) && !said.contains("secret"), "{said}");
    }
}
