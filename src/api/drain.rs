//! Reads what a handler left of a request's body. HTTP/1 closes a connection on which a body was not read to its end, and a
//! client that keeps connections would hear nothing to its next request, or break off its upload without an answer.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, HttpBody},
    extract::Request,
    http::{HeaderValue, header},
    middleware::Next,
    response::Response,
};
use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::MAX_BODY_BYTES;

/// Bytes that are read for nothing; beyond them the connection is closed, and the answer says so.
const MAX_BYTES: usize = MAX_BODY_BYTES + (14 << 20);
/// How long a client may be silent meanwhile.
const SILENCE: Duration = Duration::from_secs(30);

/// Where a body goes that was dropped before its end.
type Slot = Arc<Mutex<Option<BodyDataStream>>>;

struct Watched {
    body: Option<BodyDataStream>,
    slot: Slot,
}

impl Stream for Watched {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let next = body.poll_next_unpin(cx);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        next
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
    }
}

/// Answers only when the whole request was read, within limits.
pub async fn rest(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // Whoever asks first whether to send a body at all is better served by a closed connection.
    let asks_first = request.headers().contains_key(header::EXPECT);
    let slot = Slot::default();
    let request = request.map(|body| {
        let body = Some(body.into_data_stream());
        Body::from_stream(Watched { body, slot: slot.clone() })
    });
    let mut response = next.run(request).await;
    let left = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(mut left) = left
        && (asks_first || !drained(&mut left).await)
    {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether the end came.
async fn drained(body: &mut BodyDataStream) -> bool {
    let mut bytes = 0;
    loop {
        match tokio::time::timeout(SILENCE, body.next()).await {
            Ok(None) => return true,
            Ok(Some(Ok(chunk))) if bytes + chunk.len() <= MAX_BYTES => bytes += chunk.len(),
            _ => return false,
        }
    }
}
