//! Reads what a handler left of a request's body. HTTP/1 closes a connection on which a body was not read to its end, and a
//! client that keeps connections would hear nothing to its next request, or break off its upload without an answer.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, HttpBody},
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::MAX_BODY_BYTES;
use crate::{app::App, error::Error};

/// Bytes that are read for nothing; beyond them the connection is closed, and the answer says so.
const MAX_BYTES: usize = MAX_BODY_BYTES + (14 << 20);

/// Where a body goes that was dropped before its end.
type Slot = Arc<Mutex<Left>>;

#[derive(Default)]
struct Left {
    body: Option<BodyDataStream>,
    /// Whether the client has been silent for too long.
    silent: bool,
}

struct Watched {
    body: Option<BodyDataStream>,
    slot: Slot,
    patience: Duration,
    /// Runs while the next byte is waited for.
    waits: Option<Pin<Box<tokio::time::Sleep>>>,
}

fn open(slot: &Slot) -> MutexGuard<'_, Left> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream for Watched {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let next = body.poll_next_unpin(cx);
        if next.is_pending() {
            let patience = self.patience;
            let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
            if waits.as_mut().poll(cx).is_ready() {
                self.body = None;
                open(&self.slot).silent = true;
                return Poll::Ready(Some(Err(axum::Error::new("the client is silent"))));
            }
            return Poll::Pending;
        }
        self.waits = None;
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        next
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let body = self.body.take();
        open(&self.slot).body = body;
    }
}

/// Answers only when the whole request was read, within limits.
pub async fn rest(State(app): State<App>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // Whoever asks first whether to send a body at all is better served by a closed connection.
    let asks_first = request.headers().contains_key(header::EXPECT);
    let seconds = app.config.silence_s;
    let patience = Duration::from_secs(seconds);
    let slot = Slot::default();
    let request = request.map(|body| {
        let body = Some(body.into_data_stream());
        Body::from_stream(Watched { body, slot: slot.clone(), patience, waits: None })
    });
    let mut response = next.run(request).await;
    let left = std::mem::take(&mut *open(&slot));
    if left.silent {
        response = Error::Silent { seconds }.into_response();
    }
    let unread = match left.body {
        Some(mut body) => asks_first || !drained(&mut body, patience).await,
        None => left.silent,
    };
    if unread {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether the end came.
async fn drained(body: &mut BodyDataStream, patience: Duration) -> bool {
    let mut bytes = 0;
    loop {
        match tokio::time::timeout(patience, body.next()).await {
            Ok(None) => return true,
            Ok(Some(Ok(chunk))) if bytes + chunk.len() <= MAX_BYTES => bytes += chunk.len(),
            _ => return false,
        }
    }
}
