//! Answers that are asked for again and again: a tag of their content, and 304 to who has it already. The tag is of what the
//! server would have said, so it is right whatever has changed.

use axum::{
    body::{Body, to_bytes},
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header},
    middleware::Next,
    response::IntoResponse,
};
use sha2::{Digest, Sha256};

use crate::{auth::tokens, error::Error};

/// What clients poll.
const POLLED: [&str; 12] = [
    "/api/v1/data/boundaries",
    "/api/v1/data/boundaries/last-updated",
    "/api/v1/data/boundaries/list",
    "/api/v1/execution",
    "/api/v1/execution/user",
    "/api/v1/execution/{execution}",
    "/api/v1/execution/{execution}/log",
    "/api/v1/script",
    "/api/v1/script/{script}",
    "/api/v1/script/{script}/log",
    "/api/v1/script/{script}/versions",
    "/api/v1/status",
];

/// Tags the answers to what is polled.
pub async fn tag(request: Request, next: Next) -> Response<Body> {
    let polled = matches!(*request.method(), Method::GET | Method::HEAD)
        && request.extensions().get::<MatchedPath>().is_some_and(|path| POLLED.contains(&path.as_str()));
    if !polled {
        return next.run(request).await;
    }
    let known = request.headers().get_all(header::IF_NONE_MATCH).iter().cloned().collect::<Vec<_>>();
    let response = next.run(request).await;
    if response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = match to_bytes(body, usize::MAX).await {
        Ok(bytes) => bytes,
        Err(error) => return Error::Internal(error.into()).into_response(),
    };
    let tag = tokens::hex(&Sha256::digest(&bytes)[..8]);
    describe(&mut parts.headers, &tag);
    if known.iter().filter_map(|value| value.to_str().ok()).any(|value| names(value, &tag)) {
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.status = StatusCode::NOT_MODIFIED;
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(bytes))
}

fn describe(headers: &mut HeaderMap, tag: &str) {
    if let Ok(value) = HeaderValue::try_from(format!("W/\"{tag}\"")) {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding, Authorization"));
}

/// Whether a list of tags, `W/"…", "…"`, names this one.
fn names(list: &str, tag: &str) -> bool {
    list.split(',').map(|one| one.trim().trim_start_matches("W/").trim_matches('"')).any(|one| one == tag || one == "*")
}
