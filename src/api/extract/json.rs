//! JSON bodies: unpacked if they came gzipped, mended where Python wrote what JSON has no word for, bounded before parsed.

use std::io::Read;

use axum::{
    body::to_bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::{
    api::{MAX_BODY_BYTES, bodies::Share},
    app::App,
    auth::OfContainer,
    error::{Error, Result},
    execution::results,
    json::{
        Object,
        mend::{self, mend},
    },
};

/// Bytes of a gzipped body, as it comes over the wire.
const MAX_PACKED_BYTES: usize = 25 << 20;
/// Bytes of a report beside its results.
const RESULTS_AROUND: usize = 64 << 10;
/// Bytes that are unpacked at one time.
const STEP: u64 = 64 << 10;

/// A body that has to be a JSON object, with a JSON content type.
#[derive(Debug)]
pub struct Body(pub Object);

/// A body that may be missing, or of another type; then there is nothing in it.
#[derive(Debug)]
pub struct MaybeJson(pub Option<Object>);

impl MaybeJson {
    /// A body that is read as JSON whatever its content type says; `None` if there is nothing.
    pub async fn whatever_type(request: Request, app: &App) -> Result<Option<Object>> {
        let (bytes, max_values) = read(request, app).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) { Ok(None) } else { parse(&bytes, max_values).map(Some) }
    }
}

impl FromRequest<App> for Body {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        if !is_json(request.headers()) {
            return Err(Error::UnsupportedMediaType(
                "Send a JSON object, with the header Content-Type: application/json".into(),
            ));
        }
        let (bytes, max_values) = read(request, app).await?;
        Ok(Body(parse(&bytes, max_values)?))
    }
}

impl FromRequest<App> for MaybeJson {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        if !is_json(request.headers()) {
            return Ok(MaybeJson(None));
        }
        let (bytes, max_values) = read(request, app).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(MaybeJson(None));
        }
        Ok(MaybeJson(Some(parse(&bytes, max_values)?)))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn parse(bytes: &[u8], max_values: usize) -> Result<Object> {
    let text = mend(bytes, max_values).map_err(|error| {
        let detail = format!("The body is not valid JSON: {error}");
        if error.too_much { Error::TooMuchJson(detail) } else { Error::invalid_as("invalid_json", detail) }
    })?;
    Object::read(&text).ok_or_else(not_an_object)
}

/// 400 for a body that is JSON but no object.
pub fn not_an_object() -> Error {
    Error::invalid_as("invalid_json", "The body must be a JSON object, for example {\"key\": \"value\"}")
}

/// The whole body within its limits, unpacked, and how many values it may have. A body that is labelled gzip but is not
/// counts as it is. Containers bring results.
async fn read(request: Request, app: &App) -> Result<(Bytes, usize)> {
    let (max_unpacked, max_values) = match request.extensions().get::<OfContainer>() {
        Some(_) => (results::MAX_BYTES + RESULTS_AROUND, results::MAX_VALUES),
        None => (app.config.max_unpacked_bytes, mend::MAX_VALUES),
    };
    let packed = request
        .headers()
        .get(header::CONTENT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|encoding| encoding.trim().eq_ignore_ascii_case("gzip"));
    let (limit, text) = if packed {
        (MAX_PACKED_BYTES, "Compressed request body too large")
    } else {
        (MAX_BODY_BYTES, "Request too large")
    };
    let share = request.extensions().get::<Share>().cloned();
    let most = share.as_ref().map_or(MAX_BODY_BYTES, |share| share.limit);
    let limit = limit.min(most);
    let max_unpacked = if most < MAX_BODY_BYTES { max_unpacked.min(most) } else { max_unpacked };
    let declared = request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > limit) {
        return Err(Error::TooLarge(text.into()));
    }
    let body = to_bytes(request.into_body(), limit).await.map_err(|_| Error::TooLarge(text.into()))?;
    if !packed {
        return Ok((body, max_values));
    }
    let unpacked = tokio::task::spawn_blocking(move || unpack(body, max_unpacked, share.as_ref()));
    let unpacked = unpacked.await.map_err(|error| Error::Internal(error.into()))??;
    if unpacked.len() > max_unpacked {
        return Err(Error::TooLarge("Decompressed request body too large".into()));
    }
    Ok((unpacked, max_values))
}

/// One byte more than the limit at most. What is not gzip stays as it is.
fn unpack(body: Bytes, limit: usize, share: Option<&Share>) -> Result<Bytes> {
    let mut out = Vec::new();
    let mut packed = MultiGzDecoder::new(&body[..]).take(limit as u64 + 1);
    loop {
        match packed.by_ref().take(STEP).read_to_end(&mut out) {
            Ok(0) => return Ok(Bytes::from(out)),
            Ok(bytes) => share.map_or(Ok(()), |share| share.hold(bytes))?,
            Err(_) => return Ok(body),
        }
    }
}
