//! Bodies of requests: bounded, each for itself and all together, and read to their end. HTTP/1 closes a connection on which
//! a body was not read to its end: a client would hear nothing to its next request, or break off its upload without an answer.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, HttpBody},
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::MAX_BODY_BYTES;
use crate::{
    app::App,
    auth::scopes::Scopes,
    error::{Error, Result},
};

/// Bytes of a body that anybody may send without an account.
const MAX_PUBLIC_BYTES: usize = 64 << 10;

/// Bytes that are read for nothing; beyond them the connection is closed, and the answer says so.
const MAX_BYTES: usize = MAX_BODY_BYTES + (14 << 20);

/// Where a body goes that was dropped before its end.
type Slot = Arc<Mutex<Left>>;

#[derive(Default)]
struct Left {
    body: Option<BodyDataStream>,
    /// What the client hears, whatever the handler made of the body that broke off.
    refused: Option<Error>,
}

/// What a request holds of the memory for bodies. Only bytes that have come are counted: who says that many will come takes
/// no room from others.
#[derive(Clone)]
pub struct Share {
    /// Bytes that this body may have.
    pub limit: usize,
    all: Arc<Semaphore>,
    held: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
}

impl Share {
    /// Holds so many bytes more until the handler has ended. 503 if all bodies together are too many.
    pub fn hold(&self, bytes: usize) -> Result<()> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let more = self.all.clone().try_acquire_many_owned(bytes).map_err(|_| Error::overloaded())?;
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
        Ok(())
    }
}

struct Watched {
    body: Option<BodyDataStream>,
    bytes: usize,
    share: Share,
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
                return self.refuse(Error::Silent { seconds: patience.as_secs() });
            }
            return Poll::Pending;
        }
        self.waits = None;
        if let Poll::Ready(Some(Ok(chunk))) = &next {
            self.bytes += chunk.len();
            if self.bytes > self.share.limit {
                return self.refuse(Error::TooLarge("Request too large".into()));
            }
            if let Err(error) = self.share.hold(chunk.len()) {
                return self.refuse(error);
            }
        }
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        next
    }
}

impl Watched {
    fn refuse(&self, error: Error) -> Poll<Option<Result<Bytes, axum::Error>>> {
        open(&self.slot).refused = Some(error);
        Poll::Ready(Some(Err(axum::Error::new("the body is refused"))))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let body = self.body.take();
        open(&self.slot).body = body;
    }
}

/// Answers only when the whole request was read, within limits.
pub async fn bound(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    // Whoever asks first whether to send a body at all is better served by a closed connection.
    let asks_first = request.headers().contains_key(header::EXPECT);
    let patience = Duration::from_secs(app.config.silence_s);
    let slot = Slot::default();
    let limit = if is_public(&request) { MAX_PUBLIC_BYTES } else { MAX_BODY_BYTES };
    let share = Share { limit, all: app.bodies.clone(), held: Arc::default() };
    request.extensions_mut().insert(share.clone());
    let request = request.map(|body| {
        let body = Some(body.into_data_stream());
        Body::from_stream(Watched { body, bytes: 0, share, slot: slot.clone(), patience, waits: None })
    });
    let mut response = next.run(request).await;
    let left = std::mem::take(&mut *open(&slot));
    let silent = matches!(left.refused, Some(Error::Silent { .. }));
    // A handler that had no need of the body has done its work.
    if let Some(error) = left.refused.filter(|_| !response.status().is_success()) {
        response = error.into_response();
    }
    let unread = match left.body {
        Some(mut body) => asks_first || !drained(&mut body, patience).await,
        None => silent,
    };
    if unread {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Whether anybody may send this. Those who sign in or out need no more room than those who have not yet.
fn is_public(request: &Request) -> bool {
    let extensions = request.extensions();
    let (Some(path), Some(scopes)) = (extensions.get::<MatchedPath>(), extensions.get::<Arc<Scopes>>()) else {
        return true;
    };
    path.as_str().starts_with("/auth") || scopes.is_public(request.method(), path.as_str())
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
