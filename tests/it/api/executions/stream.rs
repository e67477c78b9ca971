//! `GET /api/v1/execution/<id>/log/stream`: server-sent events.

use eventsource_stream::Eventsource;
use futures::StreamExt;
use reqwest::Method;
use serde_json::{Value, json};

use super::{cancel::with_endless, run::with_script};
use crate::support::{Client, Package, Server};

/// A whole stream as it stands on the wire: name, id and data of each event.
async fn read(who: &Client, path: &str, last: Option<&str>) -> Vec<(String, String, Value)> {
    let mut request = who.request(Method::GET, path);
    if let Some(last) = last {
        request = request.header("last-event-id", last);
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    assert_eq!(answer.headers()["cache-control"], "no-cache");
    assert!(answer.headers().get("content-encoding").is_none());
    let events = answer.bytes_stream().eventsource().map(|event| {
        let event = event.unwrap();
        (event.event, event.id, serde_json::from_str(&event.data).unwrap_or(Value::Null))
    });
    events.collect().await
}

fn names(events: &[(String, String, Value)]) -> Vec<&str> {
    events.iter().map(|event| event.0.as_str()).collect()
}

#[tokio::test]
async fn a_whole_run_is_told_in_order_and_only_lines_carry_an_id() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let main = "def run(params, logger):\n    for n in range(3):\n        logger.info('line %d', n)\n    logger.send_progress(42)\n    return {}\n";
    let slug = admin.publish_built(&Package::new("Speaks", main)).await;
    let id = admin.run(&slug, &json!({})).await;
    let path = format!("/api/v1/execution/{id}/log/stream");
    let live = admin.events(&path).await;
    let statuses: Vec<&Value> =
        live.iter().filter(|event| event.0 == "status").map(|event| &event.1["status"]).collect();
    assert_eq!((&live[0].0[..], statuses.last().copied()), ("status", Some(&json!("FINISHED"))), "{live:#?}");
    let lines: Vec<&Value> = live.iter().filter(|event| event.0 == "log").map(|event| &event.1["text"]).collect();
    assert_eq!(json!(lines), json!(["line 0", "line 1", "line 2"]));
    // Once more, after the end: everything again, from the first line.
    let events = read(&admin, &path, None).await;
    assert_eq!(names(&events), ["status", "log", "log", "log", "end"]);
    let rows = admin.get(&format!("/api/v1/execution/{id}/log")).await.data(200);
    for (event, row) in events[1..4].iter().zip(rows.as_array().unwrap()) {
        assert_eq!((&event.1, &event.2), (&row["id"].to_string(), row));
    }
    assert_eq!(events[0].2, json!({"status": "FINISHED", "progress": 100, "queue": null}));
    let last = rows[2]["id"].clone();
    assert_eq!(events[4].2, json!({"status": "FINISHED", "last_id": last, "failure": null}));
    assert_eq!(
        (events[0].1.as_str(), events[4].1.as_str()),
        ("", last.to_string().as_str()),
        "an id stays until the next"
    );
}

#[tokio::test]
async fn a_reader_resumes_by_header_or_query_and_hears_204_when_all_is_told() {
    let (_server, admin, ada) = with_script().await;
    let id = ada.run("echo", &json!({})).await;
    let mut lines = Vec::new();
    for text in ["one", "two", "three"] {
        let line = admin.post(&format!("/api/v1/execution/{id}/log"), &json!({"text": text, "level": "INFO"})).await;
        lines.push(line.data(200)["id"].to_string());
    }
    admin.patch(&format!("/api/v1/execution/{id}"), &json!({"status": "FINISHED"})).await.expect(200);
    let path = format!("/api/v1/execution/{id}/log/stream");
    let texts = |events: Vec<(String, String, Value)>| {
        json!(events.iter().filter(|e| e.0 == "log").map(|e| e.2["text"].clone()).collect::<Vec<_>>())
    };
    assert_eq!(texts(read(&ada, &path, Some(&lines[0])).await), json!(["two", "three"]));
    assert_eq!(texts(read(&ada, &format!("{path}?last-id={}", lines[1]), None).await), json!(["three"]));
    assert_eq!(
        texts(read(&ada, &format!("{path}?last-id={}", lines[1]), Some("0")).await),
        json!(["one", "two", "three"])
    );
    for (path, last) in [(path.clone(), Some(lines[2].as_str())), (format!("{path}?last-id={}", lines[2]), None)] {
        let mut request = ada.request(Method::GET, &path);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = ada.send(request).await;
        assert_eq!((answer.status, answer.bytes.len()), (204, 0));
    }
    ada.get(&format!("{path}?last-id=x")).await.refused(400, "last-id is \"x\"; it must be the id of a log line");
}

#[tokio::test]
async fn a_waiting_run_is_told_with_its_queue_and_what_happens_comes_as_it_happens() {
    let (_server, admin, ada) = with_script().await;
    let id = ada.run("echo", &json!({})).await;
    let path = format!("/api/v1/execution/{id}");
    let answer = ada.request(Method::GET, &format!("{path}/log/stream")).send().await.unwrap();
    let mut events = answer.bytes_stream().eventsource();
    let mut next = async || {
        let event = events.next().await.unwrap().unwrap();
        (event.event, serde_json::from_str::<Value>(&event.data).unwrap_or(Value::Null))
    };
    let (name, data) = next().await;
    assert_eq!(
        (name.as_str(), &data["status"], &data["queue"]["reason"]),
        ("status", &json!("PENDING"), &json!("no_capacity"))
    );
    admin.patch(&path, &json!({"status": "RUNNING"})).await.expect(200);
    assert_eq!(next().await, ("status".into(), json!({"status": "RUNNING", "progress": 0, "queue": null})));
    admin.patch(&path, &json!({"progress": 42})).await.expect(200);
    assert_eq!(next().await, ("progress".into(), json!({"progress": 42})));
    let line = admin.post(&format!("{path}/log"), &json!({"text": "tile 1", "level": "INFO"})).await.data(200);
    assert_eq!(next().await, ("log".into(), line));
    admin.patch(&path, &json!({"status": "FAILED"})).await.expect(200);
    let (name, data) = next().await;
    assert_eq!((name.as_str(), &data["text"]), ("log", &json!("The script reported that it failed.")));
}

#[tokio::test]
async fn the_seventeenth_stream_of_a_user_has_to_wait_and_a_closed_one_gives_its_seat_back() {
    let (server, admin, ada, slug) = with_endless().await;
    let id = ada.run(&slug, &json!({})).await;
    let path = format!("/api/v1/execution/{id}/log/stream");
    let mut open = Vec::new();
    for _ in 0..16 {
        let answer = ada.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let mut events = answer.bytes_stream().eventsource();
        assert_eq!(events.next().await.unwrap().unwrap().event, "status");
        open.push(events);
    }
    let refused = ada.get(&path).await;
    refused.refused(429, "16 live streams of yours are open; close one first.");
    assert_eq!(
        (&refused.headers["retry-after"], &refused.json()["error_code"]),
        (&"5".parse().unwrap(), &json!("too_many_streams"))
    );
    // Others are not held up by him, and all sixteen hear the end.
    admin.said(&id, "begun").await;
    ada.post_empty(&format!("/api/v1/execution/{id}/cancel")).await.expect(202);
    for events in open {
        let all: Vec<_> = events.map(|event| event.unwrap()).collect().await;
        assert_eq!(all.last().unwrap().event, "end");
    }
    assert_eq!(ada.ended(&id).await["status"], "CANCELLED");
    assert_eq!(server.rows("execution WHERE status = 'CANCELLED'").await, 1);
}

#[tokio::test]
async fn a_script_that_raises_is_explained_in_the_end_and_in_the_last_line() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let main = "def run(params, logger):\n    logger.info('before')\n    raise ValueError('no tiles for 1999')\n";
    let slug = admin.publish_built(&Package::new("Raises", main)).await;
    let id = admin.run(&slug, &json!({})).await;
    let events = admin.events(&format!("/api/v1/execution/{id}/log/stream")).await;
    let end = &events.last().unwrap().1;
    assert_eq!(end["status"], "FAILED");
    let failure = &end["failure"];
    let message = "The script failed with ValueError: no tiles for 1999";
    assert_eq!((&failure["class"], &failure["message"]), (&json!("script_error"), &json!(message)));
    assert_eq!(
        (&failure["exit_code"], &failure["signal"], &failure["retryable"]),
        (&json!(1), &Value::Null, &json!(false))
    );
    let tail = failure["log_tail"].as_array().unwrap();
    assert_eq!(tail[0], "before");
    let trace = tail[1].as_str().unwrap();
    assert!(trace.contains("Traceback") && trace.contains("line 3, in run"), "{trace}");
    assert!(!trace.contains("/te/runtime"), "it begins with the author's own line: {trace}");
    let rows = admin.get(&format!("/api/v1/execution/{id}/log")).await.data(200);
    let last = rows.as_array().unwrap().last().unwrap();
    assert_eq!((&last["text"], &last["level"], &last["id"]), (&json!(message), &json!("ERROR"), &end["last_id"]));
    let run = admin.get(&format!("/api/v1/execution/{id}")).await.data(200);
    assert_eq!((&run["failure"], &run["results"], &run["progress"]), (failure, &json!({}), &json!(100)));
}
