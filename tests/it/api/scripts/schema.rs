//! `params_schema` of a script: at upload, at `GET /api/v1/script/<s>/schema`, and at submit.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Client, Package, Server};

fn package(schema: impl Into<Value>) -> Package {
    Package::echo("Maps").with("params_schema", schema)
}

/// A server with a built script of this schema; what its administrator is told of a run.
async fn with_schema(schema: Value) -> (Server, Client) {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    admin.publish(&package(schema)).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    (server, admin)
}

fn years() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://example.org/years",
        "type": "object",
        "required": ["year_initial"],
        "additionalProperties": false,
        "properties": {
            "year_initial": {"$ref": "#/$defs/year"},
            "years": {"type": "array", "items": {"$ref": "#/$defs/year"}, "maxItems": 50},
            "mode": {"enum": ["fast", "exact"]},
            "area": {"type": "object", "properties": {"a/b": {"type": "string", "pattern": "^[a-z]+$"}}}
        },
        "$defs": {"year": {"type": "integer", "minimum": 2001, "maximum": 2023}}
    })
}

#[tokio::test]
async fn parameters_that_do_not_fit_are_refused_with_each_place() {
    let (server, admin) = with_schema(years()).await;
    assert_eq!(admin.get("/api/v1/script/maps/schema").await.data(200), years());
    let run = async |params: &Value| admin.post("/api/v1/script/maps/run", params).await;
    let good = run(&json!({"year_initial": 2010, "mode": "fast", "area": {"a/b": "abc"}})).await.data(200);
    assert_eq!(good["status"], "PENDING");
    let before = server.footprint().await;
    let refused = run(&json!({"year_initial": 1999})).await.expect(400);
    assert_eq!(
        refused,
        json!({
            "status": 400,
            "detail": "The parameters do not fit what the script takes. /year_initial: 1999 is less than the minimum of 2001",
            "error_code": "invalid_parameters",
            "path": "/year_initial",
            "errors": [{"path": "/year_initial", "message": "1999 is less than the minimum of 2001"}]
        })
    );
    for (params, path, message) in [
        (json!({}), "/year_initial", "\"year_initial\" is a required property"),
        (json!({"year_initial": "2010"}), "/year_initial", "\"2010\" is not of type \"integer\""),
        (json!({"year_initial": 2010, "mode": "slow"}), "/mode", "\"slow\" is not one of \"fast\" or \"exact\""),
        (
            json!({"year_initial": 2010, "x~/y": 1}),
            "/x~0~1y",
            "Additional properties are not allowed ('x~/y' was unexpected)",
        ),
        (json!({"year_initial": 2010, "area": {"a/b": "A"}}), "/area/a~1b", "\"A\" does not match \"^[a-z]+$\""),
        (json!({"year_initial": 2010, "area": [[1]]}), "/area", "the value is not of type \"object\""),
        (json!({"year_initial": {"a": 1}}), "/year_initial", "the value is not of type \"integer\""),
    ] {
        let refused = run(&params).await.expect(400);
        assert_eq!(refused["errors"], json!([{"path": path, "message": message}]), "{params}");
        assert_eq!((&refused["path"], &refused["error_code"]), (&json!(path), &json!("invalid_parameters")));
    }
    let many = run(&json!({"year_initial": 2010, "years": vec![1; 40]})).await.expect(400);
    assert_eq!(many["errors"].as_array().unwrap().len(), 20);
    assert_eq!(many["path"], "/years/0");
    let by_query = admin.get("/api/v1/script/maps/run?year_initial=2010").await.expect(400);
    assert_eq!(by_query["path"], "/year_initial", "pairs of a query are texts");
    assert_eq!(server.footprint().await, before, "nothing was accepted");
}

#[tokio::test]
async fn what_the_plugin_sends_along_is_no_fault_unless_the_schema_names_it() {
    let closed = json!({"type": "object", "additionalProperties": false, "maxProperties": 1,
        "properties": {"task_notes": {"type": "string"}, "n": {"type": "integer"}}});
    let (_server, admin) = with_schema(closed).await;
    let along = json!({"task_name": "a task", "local_context": {"base_dir": "/x", "n": [1.5, null]}, "n": 1});
    let run = admin.post("/api/v1/script/maps/run", &along).await.data(200);
    assert_eq!(run["params"], along, "and it is kept");
    let named = admin.post("/api/v1/script/maps/run", &json!({"task_notes": 5})).await.expect(400);
    assert_eq!(named["path"], "/task_notes");
}

#[tokio::test]
async fn numbers_are_checked_and_kept_as_they_were_written() {
    let (_server, admin) =
        with_schema(json!({"properties": {"n": {"type": "number"}, "i": {"type": "integer"}}})).await;
    let send = async |text: &'static str| admin.post_raw("/api/v1/script/maps/run", "application/json", text).await;
    let run = send(r#"{"n":0.1000000000000000055511151231257827,"i":123456789012345678901234567890}"#).await;
    let text = String::from_utf8(run.bytes.clone()).unwrap();
    run.expect(200);
    assert!(text.contains("0.1000000000000000055511151231257827"), "{text}");
    assert!(text.contains("123456789012345678901234567890"), "{text}");
    let beyond = send(r#"{"n":1e350}"#).await;
    beyond.refused(400, "A number in the parameters is too large to be checked against the script's schema.");
}

#[tokio::test]
async fn each_version_has_its_own_schema() {
    let (server, admin) = with_schema(years()).await;
    let next = package(json!({"required": ["other"]}));
    admin.upload(Method::PATCH, "/api/v1/script/maps", "x.tar.gz", next.pack()).await.expect(200);
    admin.post("/api/v1/script/maps/run", &json!({"year_initial": 2010})).await.expect(200);
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    assert_eq!(admin.get("/api/v1/script/maps/schema").await.data(200), json!({"required": ["other"]}));
    let refused = admin.post("/api/v1/script/maps/run", &json!({"year_initial": 2010})).await.expect(400);
    assert_eq!(refused["path"], "/other");
    let wish = admin.request(Method::POST, "/api/v1/script/maps/run").header("x-te-script-version", "1");
    admin.send(wish.json(&json!({"year_initial": 2010}))).await.expect(200);
    let plain = Package::echo("Plain");
    admin.publish(&plain).await;
    admin.get("/api/v1/script/plain/schema").await.refused(404, "Script plain says nothing of its parameters");
}

#[tokio::test]
async fn a_schema_that_is_none_or_could_hurt_the_server_is_refused_at_upload() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let chain = |n: usize| {
        // Each definition leads twice to the next: 2^n in all.
        let each = |i: usize| json!({"allOf": [{"$ref": format!("#/$defs/d{}", i + 1)}, {"$ref": format!("#/$defs/d{}", i + 1)}]});
        let mut defs: serde_json::Map<String, Value> = (0..n).map(|i| (format!("d{i}"), each(i))).collect();
        defs.insert(format!("d{n}"), json!({}));
        json!({"$ref": "#/$defs/d0", "$defs": defs})
    };
    let line = |n: usize| {
        // In the order in which the names are read each one is known when the next one leads to it.
        let each = |i: usize| json!({"not": {"$ref": format!("#/$defs/d{:04}", i - 1)}});
        let mut defs: serde_json::Map<String, Value> = (1..n).map(|i| (format!("d{i:04}"), each(i))).collect();
        defs.insert("d0000".into(), json!({}));
        json!({"$defs": defs})
    };
    let mut nested = json!({"allOf": [true], "unevaluatedProperties": false});
    for _ in 0..8 {
        nested = json!({"allOf": [nested], "unevaluatedProperties": false});
    }
    let mut wrong = Vec::new();
    for (schema, text) in [
        (
            json!(5),
            "params_schema in configuration.json is 5; it must be a JSON Schema, an object of at most 128 levels.",
        ),
        (json!({"type": "objekt"}), "is no valid JSON Schema"),
        (json!({"properties": 5}), "is no valid JSON Schema: 5 is not of type \"object\" (at /properties)."),
        (json!({"pattern": "(a)\\1"}), "is no valid JSON Schema"),
        (json!({"pattern": "(?=a)b"}), "is no valid JSON Schema"),
        (json!({"pattern": "((a{100}){100}){100}"}), "is no valid JSON Schema"),
        (json!({"$schema": "http://json-schema.org/draft-07/schema#"}), "must be of the dialect"),
        (json!({"$schema": 5}), "must be of the dialect"),
        (
            json!({"$ref": "https://example.org/x"}),
            "has a $ref that leads nowhere within it: https://example.org/x; it must be like \"#/$defs/year\".",
        ),
        (json!({"$ref": "file:///etc/passwd"}), "has a $ref that leads nowhere within it"),
        (json!({"$ref": "https://json-schema.org/draft/2020-12/schema"}), "has a $ref that leads nowhere within it"),
        (json!({"properties": {"a": {"$ref": "#/$defs/no"}}}), "has a $ref that leads nowhere within it"),
        (json!({"$ref": "#"}), "has a $ref that leads back to itself: #."),
        (json!({"properties": {"a": {"$ref": "#"}}}), "has a $ref that leads back to itself"),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            "has a $ref that leads back to itself",
        ),
        (json!({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}), "has a $ref that leads back to itself"),
        (json!({"$dynamicRef": "#"}), "uses $dynamicRef, which is not supported here"),
        (json!({"$recursiveRef": "#"}), "uses $recursiveRef, which is not supported here"),
        (json!({"properties": {"a": {"$id": "https://example.org/a"}}}), "uses $id, which is not supported here"),
        (
            json!({"items": {"$schema": "https://json-schema.org/draft/2020-12/schema"}}),
            "uses $schema, which is not supported here",
        ),
        (chain(20), "is too large: with every $ref followed it has"),
        (chain(63), "has more than 64 levels, with every $ref followed"),
        (line(200), "has more than 64 levels, with every $ref followed"),
        (nested, "is too large"),
        (json!({"enum": vec![0; 6_000]}), "is too large"),
        (json!({"allOf": vec![json!({"pattern": "a"}); 65]}), "has more than 64 patterns"),
        (json!({"description": "x".repeat(70_000)}), "at most 65536 are allowed"),
    ] {
        let answer = admin.upload(Method::POST, "/api/v1/script", "x.tar.gz", package(schema.clone()).pack()).await;
        let body = answer.json();
        let detail = body["detail"].as_str().unwrap_or("").to_owned();
        if answer.status != 400 || body["error_code"] != "invalid_configuration" || !detail.contains(text) {
            wrong.push(format!("{:.100}: {} {detail}", schema.to_string(), answer.status));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(server.rows("script").await, 0);
}

#[tokio::test]
async fn the_greatest_schema_that_is_taken_is_checked_in_bounded_time() {
    let wide = json!({"properties": {"list": {"items": {"allOf": vec![json!({"minimum": 0}); 1_500]}}}});
    let (_server, admin) = with_schema(wide).await;
    let fits = admin.post("/api/v1/script/maps/run", &json!({"list": vec![1; 9_000]})).await;
    fits.expect(200);
    let large = admin.post("/api/v1/script/maps/run", &json!({"list": vec![1; 90_000]})).await;
    large.refused(400, "The parameters are too large to be checked against the script's schema.");
    // Parameters as deep as the API takes them, and a pattern that a backtracking engine would not survive.
    let server = Server::api_only().await;
    let admin = server.admin().await;
    admin.publish(&package(json!({"properties": {"text": {"pattern": "^(a+)+$"}}}))).await;
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(126), "]".repeat(126));
    admin.post_raw("/api/v1/script/maps/run", "application/json", deep).await.expect(200);
    let text = format!("{}b", "a".repeat(50_000));
    let refused = admin.post("/api/v1/script/maps/run", &json!({"text": text})).await.expect(400);
    assert_eq!(refused["errors"], json!([{"path": "/text", "message": "the value does not match \"^(a+)+$\""}]));
}
