//! Live logs as server-sent events: `status`, `log`, `progress`, `end`; only log lines carry an id, by which a reader
//! resumes. Shapes: docs/API.md.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    time::{Duration, Instant},
};

use axum::{
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use serde_json::{Value, json};

use super::{
    extract::query::Pairs,
    tails::{self, Full, Glance, Seat},
    value,
};
use crate::{
    app::App,
    auth::{self, User},
    error::{Error, Result},
    execution::{queue, status::Status},
    store::{self, Id, executions::Parts, script_logs::After},
};

/// Lines that are read at one time: all that a reader who does not read costs is these.
const BATCH: i64 = 100;
/// How often token and right are checked again.
const CHECK: Duration = Duration::from_secs(30);

/// Whose log it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    Execution(Id),
    Script(Id),
}

struct Reader {
    app: App,
    user: User,
    source: Source,
    seat: Seat,
    cursor: i64,
    told: Option<Glance>,
    ready: VecDeque<Event>,
    checked: Instant,
    over: bool,
}

/// Opens a stream, from `Last-Event-ID` or `?last-id=` on. The caller has been found to have the right.
pub async fn open(app: App, user: User, source: Source, query: &Pairs, headers: &HeaderMap) -> Result<Response> {
    let from = headers
        .get("last-event-id")
        .and_then(|v| v.to_str().ok())
        .or_else(|| query.get("last-id"))
        .filter(|text| !text.is_empty());
    let cursor = match from {
        None => 0,
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| Error::invalid(format!("last-id is {text:?}; it must be the id of a log line")))?,
    };
    let glance = tails::glance(&app, source).await?;
    if from.is_some() && is_over(source, &glance) && cursor >= glance.newest {
        // Everything has been told; an EventSource stops at this answer.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let mut seat = tails::sit(&app, user.id, source, glance).map_err(|full| match full {
        Full::User => Error::Limited {
            detail: "16 live streams of yours are open; close one first.".into(),
            code: "too_many_streams",
            retry_after: 5,
        },
        Full::Node => Error::Unavailable {
            detail: "This server has no room for more live streams.".into(),
            code: "overloaded",
            retry_after: 5,
        },
    })?;
    seat.glance.mark_changed();
    let reader = Reader {
        app,
        user,
        source,
        seat,
        cursor,
        told: None,
        ready: VecDeque::from([Event::default().retry(Duration::from_secs(2))]),
        checked: Instant::now(),
        over: false,
    };
    let events = futures::stream::unfold(reader, |mut reader| async move {
        loop {
            if let Some(event) = reader.ready.pop_front() {
                return Some((Ok::<_, Infallible>(event), reader));
            }
            if reader.over {
                return None;
            }
            if let Err(error) = reader.fill().await {
                tracing::warn!(error = ?error, "a live stream ends");
                return None;
            }
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)).text("ping")).into_response())
}

/// Whether nothing more will come.
fn is_over(source: Source, glance: &Glance) -> bool {
    match (source, glance.status.as_deref()) {
        (_, None) => true,
        (Source::Execution(_), Some(status)) => status.parse::<Status>().is_ok_and(Status::is_terminal),
        (Source::Script(_), Some(status)) => matches!(status, "SUCCESS" | "FAIL" | "FAILED"),
    }
}

impl Reader {
    /// Gets the next events ready, waiting for news if there are none.
    async fn fill(&mut self) -> Result<()> {
        if self.checked.elapsed() >= CHECK {
            self.check().await?;
        }
        let glance = self.seat.glance.borrow_and_update().clone();
        // The glance was taken before the lines are read: an end in it stands behind every line that follows here.
        if self.told.is_none() {
            self.tell_status(&glance).await?;
        }
        let lines = self.lines().await?;
        let read_all = lines < BATCH;
        if read_all {
            let old = self.told.clone().unwrap_or_default();
            if old.status != glance.status && self.told.is_some() {
                self.tell_status(&glance).await?;
            }
            if old.progress != glance.progress && self.told.is_some() && glance.progress.is_some() {
                self.push("progress", &json!({"progress": glance.progress}));
            }
            self.told = Some(glance.clone());
            if is_over(self.source, &glance) {
                return self.tell_end(&glance).await;
            }
        }
        if self.ready.is_empty() {
            tokio::select! {
                _ = self.seat.glance.changed() => {}
                () = tokio::time::sleep(CHECK) => {}
                () = self.app.stop.cancelled() => self.over = true,
            }
        }
        Ok(())
    }

    fn push(&mut self, name: &str, data: &Value) {
        self.ready.push_back(Event::default().event(name).data(data.to_string()));
    }

    async fn lines(&mut self) -> Result<i64> {
        let after = After { start: None, id: self.cursor };
        let mut lines = Vec::new();
        match self.source {
            Source::Execution(id) => {
                for line in store::logs::list(&self.app.db, id, after, BATCH).await? {
                    lines.push((line.id, value(line)?));
                }
            }
            Source::Script(id) => {
                for line in store::script_logs::list(&self.app.db, id, after, BATCH).await? {
                    lines.push((line.id, value(line)?));
                }
            }
        }
        for (id, line) in &lines {
            self.cursor = *id;
            self.ready.push_back(Event::default().event("log").id(id.to_string()).data(line.to_string()));
        }
        Ok(i64::try_from(lines.len()).unwrap_or(BATCH))
    }

    async fn tell_status(&mut self, glance: &Glance) -> Result<()> {
        let mut data = json!({"status": glance.status});
        if let Source::Execution(id) = self.source {
            data["progress"] = json!(glance.progress);
            data["queue"] = match glance.status.as_deref() {
                Some("PENDING") => match store::executions::find(&self.app.db, id, Parts::FEW).await? {
                    Some(execution) => {
                        let waiting = HashMap::from([(id, execution.queued_at.or(execution.start_date))]);
                        value(queue::explain(&self.app, &waiting).await?.remove(&id))?
                    }
                    None => Value::Null,
                },
                _ => Value::Null,
            };
        }
        self.push("status", &data);
        self.told = Some(glance.clone());
        Ok(())
    }

    async fn tell_end(&mut self, glance: &Glance) -> Result<()> {
        let mut data = json!({"status": glance.status, "last_id": self.cursor});
        match self.source {
            Source::Execution(id) => {
                let failure = store::runs::find(&self.app.db, id).await?.and_then(|run| run.failure);
                data["failure"] = match failure {
                    Some(failure) => serde_json::from_str(failure.0.get()).map_err(anyhow::Error::from)?,
                    None => Value::Null,
                };
            }
            Source::Script(id) => {
                let script = store::scripts::get(&self.app.db, id).await?;
                data["build_error"] = json!(script.filter(|s| s.status != "SUCCESS").and_then(|s| s.build_error));
            }
        }
        self.push("end", &data);
        self.over = true;
        Ok(())
    }

    /// A token that has ended, or a right that was taken away, ends the stream.
    async fn check(&mut self) -> Result<()> {
        self.checked = Instant::now();
        if self.user.token.exp <= self.app.clock.now().and_utc().timestamp() {
            return Err(crate::error::TokenError::Expired.into());
        }
        self.user = auth::of_token(&self.app, self.user.token.clone(), self.user.caller.clone()).await?;
        let sees = match self.source {
            Source::Execution(id) => {
                store::executions::find(&self.app.db, id, Parts::FEW).await?.is_some_and(|e| self.user.sees(&e))
            }
            Source::Script(id) => {
                store::scripts::find(&self.app.db, &store::scripts::Key::Id(id), &self.user.viewer()).await?.is_some()
            }
        };
        if sees { Ok(()) } else { Err(Error::not_found("Not Found")) }
    }
}
