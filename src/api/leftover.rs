//! What a client still sends when it has been answered already. It is read and dropped: a connection that is closed on
//! unread bytes takes the answer with it, and a client with an expired token would see an error instead of its 401.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, HttpBody},
    extract::{Request, State},
    http::header,
};
use bytes::Bytes;
use futures::{Stream, StreamExt};

use super::MAX_BODY_BYTES;
use crate::app::App;

/// How long a client is heard out.
const LONGEST: Duration = Duration::from_secs(60);

/// The body of a request; `None` once it has been read to its end.
struct Heard {
    rest: Option<BodyDataStream>,
    app: App,
}

/// Sees to it that the body of a request is read to its end, whatever its handler does.
pub async fn hear_out(State(app): State<App>, request: Request) -> Request {
    // Who asks before he sends (`Expect: 100-continue`) has nothing under way yet.
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
        return request;
    }
    request.map(|body| Body::from_stream(Heard { rest: Some(body.into_data_stream()), app }))
}

impl Stream for Heard {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        let next = rest.poll_next_unpin(context);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.rest = None;
        }
        next
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        let Some(mut rest) = self.rest.take() else { return };
        let stop = self.app.stop.clone();
        self.app.tasks.spawn(async move {
            let to_its_end = async {
                let mut bytes = 0;
                while let Some(Ok(piece)) = rest.next().await {
                    bytes += piece.len();
                    if bytes > MAX_BODY_BYTES {
                        return;
                    }
                }
            };
            tokio::select! {
                () = to_its_end => {}
                () = tokio::time::sleep(LONGEST) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}
