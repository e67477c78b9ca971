//! Follows a run or a build to its end, live, through lost connections; on a server without live streams by asking again
//! and again. Every line is shown once: the next question begins after the last line that was heard.

use std::{io::IsTerminal, time::Duration};

use eventsource_stream::Eventsource;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::{Response, StatusCode, header};
use serde_json::{Value, json};

use super::{
    api::{Api, Trouble},
    aside, plain, say,
};

/// A stream that is silent for so long has broken: the server says something every 15 seconds.
const SILENCE: Duration = Duration::from_secs(60);
/// Between two questions where there is no stream: within a server's usual 1,000 an hour.
const INTERVAL: Duration = Duration::from_secs(4);
/// Between two attempts to reach a server that is gone, from the first to the tenth.
const PAUSE: Duration = Duration::from_millis(300);

/// What can be followed.
#[derive(Debug, Clone, Copy)]
pub enum Work<'a> {
    /// A run, by the id of its execution.
    Run(&'a str),
    /// The newest build of a script, by slug or id.
    Build(&'a str),
}

impl Work<'_> {
    fn path(self) -> String {
        match self {
            Work::Run(id) => format!("/api/v1/execution/{id}"),
            Work::Build(script) => format!("/api/v1/script/{script}"),
        }
    }

    fn is_end(self, status: &str) -> bool {
        match self {
            Work::Run(_) => matches!(status, "FINISHED" | "FAILED" | "CANCELLED"),
            Work::Build(_) => matches!(status, "SUCCESS" | "FAIL" | "FAILED"),
        }
    }
}

/// Shows lines and progress as they come; what is told at the end: `status`, and `failure` or `build_error`. `after` is the
/// last line that is known, and moves on with every line.
pub async fn watch(api: &Api, work: Work<'_>, after: &mut i64) -> Result<Value, Trouble> {
    let bar = ProgressBar::new(100);
    let style = ProgressStyle::with_template("{bar:40} {pos:>3} % {msg}").ok();
    match style.filter(|_| matches!(work, Work::Run(_)) && std::io::stdout().is_terminal()) {
        Some(style) => bar.set_style(style),
        None => bar.set_draw_target(ProgressDrawTarget::hidden()),
    }
    let tell = |text: &str| if bar.is_hidden() { say(text) } else { bar.println(plain(text)) };
    let end = follow(api, work, after, |event, data| match event {
        "log" if matches!(work, Work::Build(_)) => tell(&format!("  {}", text_of(data))),
        "log" => tell(&line(data)),
        "progress" if bar.is_hidden() => say(&format!("  {:>3} %", data["progress"])),
        "progress" => bar.set_position(data["progress"].as_u64().unwrap_or(0)),
        "status" => bar.set_message(plain(data["status"].as_str().unwrap_or(""))),
        _ => {}
    })
    .await;
    bar.finish_and_clear();
    end
}

/// A line of a run's log.
pub fn line(data: &Value) -> String {
    format!("  {:<8} {}", data["level"].as_str().unwrap_or(""), text_of(data))
}

pub fn text_of(data: &Value) -> &str {
    data["text"].as_str().unwrap_or("")
}

async fn follow(
    api: &Api,
    work: Work<'_>,
    after: &mut i64,
    mut hear: impl FnMut(&str, &Value),
) -> Result<Value, Trouble> {
    let mut failures = 0;
    // A script that is uploaded again keeps the state of its last build until the new one begins.
    let mut begun = matches!(work, Work::Run(_)) || *after == 0;
    loop {
        let from = *after;
        let heard = match open(api, work, from).await {
            Ok(Some(stream)) => listen(stream, after, &mut hear).await,
            Ok(None) => poll(api, work, after, &mut begun, &mut hear).await,
            Err(trouble) => Err(trouble),
        };
        match heard {
            Ok(Some(end)) => return Ok(end),
            Ok(None) => failures = 0,
            Err(trouble) if trouble.passes() => {
                if failures == 0 {
                    aside(&format!("{} Trying again…", trouble.sentence));
                }
                failures = if *after > from { 0 } else { failures + 1 };
            }
            Err(trouble) => return Err(trouble),
        }
        tokio::time::sleep(PAUSE * (failures + 1).min(10)).await;
    }
}

/// Opens a stream after this line; `None` if there is none: nothing more to tell, or a server that has no streams.
async fn open(api: &Api, work: Work<'_>, after: i64) -> Result<Option<Response>, Trouble> {
    let url = format!("{}{}/log/stream", api.base, work.path());
    let make = || {
        let request = api.http.get(&url).header(header::ACCEPT, "text/event-stream");
        if after > 0 { request.header("Last-Event-ID", after) } else { request }
    };
    match api.send(make).await {
        Ok(answer) if answer.status() == StatusCode::NO_CONTENT => Ok(None),
        Ok(answer) => Ok(Some(answer)),
        Err(trouble) if matches!(trouble.status, Some(StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)) => {
            Ok(None)
        }
        Err(trouble) => Err(trouble),
    }
}

/// Hears a stream until it breaks, or to its end.
async fn listen(
    stream: Response,
    after: &mut i64,
    hear: &mut impl FnMut(&str, &Value),
) -> Result<Option<Value>, Trouble> {
    let mut events = stream.bytes_stream().eventsource();
    while let Ok(Some(Ok(event))) = tokio::time::timeout(SILENCE, events.next()).await {
        let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
        *after = event.id.parse().unwrap_or(*after);
        hear(&event.event, &data);
        if event.event == "end" {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Asks for what is new until the end. The state is asked for first: all lines are there once it is the last one.
async fn poll(
    api: &Api,
    work: Work<'_>,
    after: &mut i64,
    begun: &mut bool,
    hear: &mut impl FnMut(&str, &Value),
) -> Result<Option<Value>, Trouble> {
    let path = work.path();
    let (mut status, mut progress) = (String::new(), json!(0));
    loop {
        let now = api.data(&format!("{path}?exclude=params,results&include=failure,build_error")).await?;
        for line in api.data(&format!("{path}/log?last-id={after}")).await?.as_array().into_iter().flatten() {
            *begun = true;
            *after = (*after).max(line["id"].as_i64().unwrap_or(0));
            hear("log", line);
        }
        let state = now["status"].as_str().unwrap_or_default();
        if state != status {
            status = state.to_owned();
            hear("status", &json!({"status": status}));
        }
        if now["progress"].is_number() && now["progress"] != progress {
            progress = now["progress"].clone();
            hear("progress", &json!({"progress": progress}));
        }
        if work.is_end(&status) && *begun {
            let build_error = &now["build_error"];
            return Ok(Some(json!({"status": status, "failure": now["failure"], "build_error": build_error})));
        }
        *begun |= !work.is_end(&status);
        tokio::time::sleep(INTERVAL).await;
    }
}
