//! `POST /api/v1/script/<s>/run`.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Package, Server, compact, gzip};

/// A server without worker, and a public script of which version 1 counts as built.
pub async fn with_script() -> (Server, Client, Client) {
    let server = Server::api_only().await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    admin.publish(&Package::echo("Echo")).await;
    admin.post_empty("/api/v1/script/echo/publish").await.expect(200);
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    server.execute("UPDATE script SET status = 'SUCCESS'").await;
    (server, admin, ada)
}

/// A run with this body as it stands.
async fn send(who: &Client, path: &str, body: &str) -> Answer {
    who.post_raw(&format!("/api/v1/script/echo/{path}"), "application/json", body.to_owned()).await
}

/// The parameters of a run as the answer writes them.
async fn params(who: &Client, path: &str, body: &str) -> String {
    let answer = send(who, path, body).await;
    answer.expect(200);
    let text = String::from_utf8(answer.bytes).unwrap();
    let rest = text.split_once(r#""params":"#).unwrap().1;
    compact(rest.split_once(r#","results""#).unwrap().0)
}

#[tokio::test]
async fn an_accepted_run_is_answered_whole_with_200() {
    let (server, admin, ada) = with_script().await;
    let me = ada.get("/api/v1/user/me").await.data(200);
    let script = admin.get("/api/v1/script/echo").await.data(200);
    let run = ada.post("/api/v1/script/echo/run", &json!({"a": [1, {"b": null}]})).await.data(200);
    let (id, start) = (run["id"].clone(), run["start_date"].clone());
    let queue = json!({"ahead": 0, "position": 1, "reason": "no_capacity", "waiting_since": start,
        "message": "It starts as soon as a machine has room for it."});
    let expected = json!({"id": id, "script_id": script["id"], "user_id": me["id"], "start_date": start, "end_date": null,
        "status": "PENDING", "progress": 0, "params": {"a": [1, {"b": null}]}, "results": {}, "queued_at": null,
        "dispatched_at": null, "is_plugin_execution": true, "deleted": false, "queue": queue, "script_version": 1});
    assert_eq!(run, expected);
    for key in [script["id"].as_str().unwrap().to_uppercase(), "echo".to_owned()] {
        ada.post(&format!("/api/v1/script/{key}/run/"), &json!({})).await.expect(200);
    }
    assert_eq!(server.rows("execution").await, 3);
}

#[tokio::test]
async fn parameters_come_from_query_and_body_and_the_body_wins() {
    let (_server, _, ada) = with_script().await;
    for (path, body, expected) in [
        ("run?a=1&b=x%20y&a=2", "", r#"{"a":"1","b":"x y"}"#),
        ("run?a=1&b=2", r#"{"b":{"c":3},"d":4}"#, r#"{"a":"1","b":{"c":3},"d":4}"#),
        ("run?token=&page=2&sort=x", "{}", r#"{"page":"2","sort":"x","token":""}"#),
        ("run", r#"{"token":"mine"}"#, r#"{"token":"mine"}"#),
        ("run", "null", "{}"),
        ("run?a=%00", "[]", r#"{"a":"�"}"#),
        ("run?x=1", "\"\"", r#"{"x":"1"}"#),
        ("run", "0", "{}"),
        ("run", "false", "{}"),
        ("run", " \n", "{}"),
        ("run", r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
    ] {
        assert_eq!(params(&ada, path, body).await, expected, "{path} {body}");
    }
    let other = ada.post_raw("/api/v1/script/echo/run?q=1", "text/plain", "{\"a\":1}").await.data(200);
    assert_eq!(other["params"], json!({"q": "1"}));
    let form = ada.post_raw("/api/v1/script/echo/run", "application/x-www-form-urlencoded", "a=1").await.data(200);
    assert_eq!(form["params"], json!({}));
    assert_eq!(ada.post_empty("/api/v1/script/echo/run").await.data(200)["params"], json!({}));
}

#[tokio::test]
async fn a_get_runs_with_the_parameters_of_its_query() {
    let (server, _, ada) = with_script().await;
    let run = ada.get("/api/v1/script/echo/run?year=2020&name=x").await.data(200);
    assert_eq!((&run["status"], &run["params"]), (&json!("PENDING"), &json!({"year": "2020", "name": "x"})));
    server.anonymous().get("/api/v1/script/echo/run").await.expect(401);
    assert_eq!(server.rows("execution").await, 1);
}

#[tokio::test]
async fn digits_and_letters_of_the_parameters_are_kept_as_they_were_sent() {
    let (server, _, ada) = with_script().await;
    for text in [
        r#"{"a":0.1,"b":1.00,"c":123456789012345678901234567890,"d":0.1234567890123456789}"#,
        r#"{"deep":{"list":[[],[[]],{}]},"text":"Ünïcödé 日本 🌍","void":""}"#,
        r#"{"":1," ":2}"#,
    ] {
        assert_eq!(params(&ada, "run", text).await, text);
    }
    // PostgreSQL's jsonb keeps the value of these and chooses another spelling.
    for text in [r#"{"c":1e400,"d":-0.0,"f":1E+2}"#, r#"{"escaped":"\ud83c\udf0d","quote":"\"\\\/"}"#] {
        let kept = params(&ada, "run", text).await;
        if server.app.config.is_postgres() {
            continue;
        }
        assert_eq!(kept, text);
    }
}

#[tokio::test]
async fn what_python_writes_and_json_does_not_know_is_mended() {
    let (_server, _, ada) = with_script().await;
    for (sent, kept) in [
        (r#"{"a":NaN,"b":[Infinity,-Infinity],"c":"NaN"}"#, r#"{"a":null,"b":[null,null],"c":"NaN"}"#),
        (r#"{"a":"x\u0000y"}"#, r#"{"a":"x\ufffdy"}"#),
        (r#"{"a":"\ud800"}"#, r#"{"a":"\ufffd"}"#),
    ] {
        let got: Value = serde_json::from_str(&params(&ada, "run", sent).await).unwrap();
        assert_eq!(got, serde_json::from_str::<Value>(kept).unwrap(), "{sent}");
    }
}

#[tokio::test]
async fn a_gzipped_body_is_unpacked() {
    let (_server, _, ada) = with_script().await;
    let body = json!({"geojson": {"coordinates": vec![[1.5, 2.25]; 5_000]}});
    let request = ada.request(Method::POST, "/api/v1/script/echo/run").header("content-type", "application/json");
    let request = request.header("content-encoding", "gzip").body(gzip(body.to_string().as_bytes()));
    assert_eq!(ada.send(request).await.data(200)["params"], body);
}

#[tokio::test]
async fn a_body_that_cannot_be_parameters_starts_nothing() {
    let (server, _, ada) = with_script().await;
    for body in ["{", "{\"a\":}", "{'a': 1}", "{\"a\":1}}", "{\"a\":01}", "\u{feff}x", "nan", "{\"a\":\"\n"] {
        let answer = send(&ada, "run", body).await.expect(400);
        assert_eq!((&answer["error_code"], &answer["status"]), (&json!("invalid_json"), &json!(400)), "{body}");
        assert!(answer["detail"].as_str().unwrap().starts_with("The body is not valid JSON: "), "{answer}");
    }
    for body in ["[1]", "5", "true", "\"text\"", "[[\"a\",1]]"] {
        let sentence = "The body must be a JSON object, for example {\"key\": \"value\"}";
        send(&ada, "run", body).await.refused(400, sentence);
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(send(&ada, "run", &deep).await.expect(400)["error_code"], "invalid_json");
    assert_eq!((server.rows("execution").await, server.rows("job WHERE kind = 'run_execution'").await), (0, 0));
}

#[tokio::test]
async fn a_token_in_the_query_is_neither_a_sign_in_nor_a_parameter() {
    let (server, _, ada) = with_script().await;
    let token = ada.token.clone().unwrap();
    let sentence = "Token authentication via query parameters is not supported. Use the Authorization header with a Bearer token instead.";
    let path = format!("/api/v1/script/echo/run?token={token}");
    ada.post(&path, &json!({})).await.refused(400, sentence);
    ada.get(&path).await.refused(400, sentence);
    server.anonymous().post(&path, &json!({})).await.expect(401);
    assert_eq!(server.rows("execution").await, 0);
}

#[tokio::test]
async fn a_script_that_is_not_built_or_not_there_runs_not() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let script = admin.publish(&Package::echo("Unbuilt")).await;
    let id = script["id"].as_str().unwrap();
    for key in ["unbuilt", id] {
        let answer = admin.post(&format!("/api/v1/script/{key}/run"), &json!({})).await;
        answer.refused(400, &format!("Script with id {id} is not BUILT"));
        assert_eq!(answer.json()["error_code"], "script_not_built");
    }
    for key in ["nothing", "00000000-0000-4000-8000-000000000000"] {
        let answer = admin.post(&format!("/api/v1/script/{key}/run"), &json!({})).await;
        answer.refused(404, &format!("Script with id {key} does not exist"));
    }
    assert_eq!(server.rows("execution").await, 0);
}

#[tokio::test]
async fn a_header_chooses_the_version() {
    let (server, admin, ada) = with_script().await;
    for _ in 0..2 {
        let archive = Package::echo("Echo").pack();
        admin.upload(Method::PATCH, "/api/v1/script/echo", "x.tar.gz", archive).await.expect(200);
    }
    server.execute("UPDATE script_version SET status = 'SUCCESS' WHERE number = 2").await;
    let run = async |version: &str| {
        let request = ada.request(Method::POST, "/api/v1/script/echo/run").header("x-te-script-version", version);
        ada.send(request).await
    };
    assert_eq!(ada.post("/api/v1/script/echo/run", &json!({})).await.data(200)["script_version"], 2);
    for number in [1, 2] {
        assert_eq!(run(&number.to_string()).await.data(200)["script_version"], number);
    }
    for number in [0, 3, 4, -1] {
        let answer = run(&number.to_string()).await;
        answer.refused(400, &format!("Version {number} of script echo is not built"));
        assert_eq!(answer.json()["error_code"], "script_not_built");
    }
    for text in ["x", "1.0", "", "99999999999", "1,2"] {
        run(text).await.refused(400, "X-TE-Script-Version must be the number of a version, such as 3");
    }
}

#[tokio::test]
async fn an_execution_knows_whether_the_plugin_started_it() {
    let (_server, _, ada) = with_script().await;
    for (client, plugin) in [
        (Some("type=qgis_plugin; version=2.1"), true),
        (Some("type=api_ui; version=unknown"), false),
        (Some(""), false),
        (None, true),
    ] {
        let mut request = ada.request(Method::POST, "/api/v1/script/echo/run");
        if let Some(client) = client {
            request = request.header("x-te-client", client);
        }
        assert_eq!(ada.send(request).await.data(200)["is_plugin_execution"], plugin, "{client:?}");
    }
}

#[tokio::test]
async fn results_equal_parameters_to_the_last_digit() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let slug = admin.publish_built(&Package::echo("Mirror")).await;
    let sent = json!({
        "numbers": [0, -1, 1.5, 1e-7, 0.1, i64::MAX, i64::MIN],
        "text": "Ünïcödé 日本 🌍 \u{2028} \t\n\"\\ </script> {{x}} %s",
        "nothing": null, "yes": true, "list": [[[]], {}, ""], "": {"": ""},
        "geojson": {"type": "Polygon", "coordinates": [[[-3.2500001, 51.123456789012345], [0.1, 0.2]]]},
    });
    let run = admin.finish(&slug, &sent).await;
    assert_eq!(run["status"], "FINISHED", "{run:#}");
    let mut got = run["results"]["params"].clone();
    assert_eq!((got["ENV"].take(), got["EXECUTION_ID"].take()), (json!("prod"), run["id"].clone()));
    for name in ["ENV", "EXECUTION_ID"] {
        got.as_object_mut().unwrap().remove(name);
    }
    assert_eq!(got, sent);
    assert_eq!((&run["params"], &run["progress"]), (&sent, &json!(100)));
    let id = run["id"].as_str().unwrap();
    assert_eq!(admin.log(id).await, ["hello"]);
    let big = r#"{"big":123456789012345678901234567890}"#;
    let answer = admin.post_raw(&format!("/api/v1/script/{slug}/run"), "application/json", big).await;
    let id = answer.data(200)["id"].as_str().unwrap().to_owned();
    admin.ended(&id).await;
    let text = String::from_utf8(admin.get(&format!("/api/v1/execution/{id}")).await.bytes).unwrap();
    assert!(text.contains(r#""big": 123456789012345678901234567890"#), "{text}");
}

#[tokio::test]
async fn a_script_that_returns_what_json_does_not_know_is_mended() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let main = "def run(params, logger):\n    logger.info('lone \\ud800 and nul \\x00')\n    return {'nan': float('nan'), \
                'inf': [float('inf')], 'lone': '\\ud800', 'nul': 'a\\x00b', 'none': None, 'bytes': 2 ** 70}\n";
    let slug = admin.publish_built(&Package::new("Odd Values", main)).await;
    let run = admin.finish(&slug, &json!({})).await;
    assert_eq!(run["status"], "FINISHED", "{run:#}");
    let results = &run["results"];
    assert_eq!((&results["nan"], &results["inf"], &results["none"]), (&Value::Null, &json!([null]), &Value::Null));
    assert_eq!((&results["lone"], &results["nul"]), (&json!("\u{fffd}"), &json!("a\u{fffd}b")));
    assert_eq!(admin.log(run["id"].as_str().unwrap()).await, ["lone \u{fffd} and nul \u{fffd}"]);
}
