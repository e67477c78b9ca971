//! `/objects/…`: a run's own parameters and results as objects of S3, for containers of the existing Environment. Whoever asks
//! signs with the secret of one attempt of one run, which is stored nowhere; there is nothing else here than its two objects.

mod signature;

use std::io::{Read, Write};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use serde_json::value::RawValue;
use sqlx::types::Json as SqlJson;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::signature::Signed;

use crate::{
    app::App,
    engine::docker::unit::{BUCKET, PREFIX},
    error::{Error, Result},
    execution::{
        report::{self, By, Report},
        results,
        status::Status,
    },
    json::mend,
    store::{self, Id, executions::Parts},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get, put))
}

/// How the names of the two objects end.
const PARAMS: &str = ".json.gz";
const RESULTS: &str = "_results.json.gz";

/// An error in the words of S3.
fn refused(status: StatusCode, code: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>"
    );
    (status, [(header::CONTENT_TYPE, "application/xml")], body).into_response()
}

fn denied() -> Response {
    refused(StatusCode::FORBIDDEN, "AccessDenied")
}

/// The run of an object, if the path names one that ends so.
fn run_of(path: &str, end: &str) -> Option<Id> {
    let name = path.strip_prefix(&format!("/objects/{BUCKET}/{PREFIX}/"))?;
    Id::parse(name.strip_suffix(end)?)
}

/// The attempt of a run that has signed a request; `None` if nobody has who may.
async fn signer(app: &App, execution: Id, signed: Option<Signed>) -> Result<Option<i32>> {
    let now = app.clock.now();
    let Some(signed) = signed else { return Ok(None) };
    if Id::parse(&signed.key_id) != Some(execution) {
        return Ok(None);
    }
    let Some(credential) = store::credentials::living(&app.db, execution, now).await? else { return Ok(None) };
    let secret = app.tokens.objects_secret(execution, credential.attempt);
    Ok(signed.fits(&secret).then_some(credential.attempt))
}

/// The parameters of the run that signed the request, packed.
#[utoipa::path(get, path = "/objects/TE_objects/params/{name}", tag = "executions", security(()), params(("name" = String, Path)),
    responses((status = 200, content_type = "application/octet-stream"), (status = 403, content_type = "application/xml"), (status = 404, content_type = "application/xml")))]
async fn get(State(app): State<App>, request: Request) -> Result<Response> {
    let Some(execution) = run_of(request.uri().path(), PARAMS) else { return Ok(denied()) };
    let (signed, is_head) = (Signed::of(&request, app.clock.now()), request.method() == Method::HEAD);
    drop(request);
    if signer(&app, execution, signed).await?.is_none() {
        return Ok(denied());
    }
    let found = store::executions::find(&app.db, execution, Parts { params: true, ..Parts::FEW }).await?;
    let Some(params) = found.and_then(|execution| execution.params) else {
        return Ok(refused(StatusCode::NOT_FOUND, "NoSuchKey"));
    };
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(params.0.get().as_bytes()).map_err(anyhow::Error::from)?;
    let bytes = packed.finish().map_err(anyhow::Error::from)?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, bytes.len().to_string()),
        (header::ETAG, format!("\"{}\"", &crate::auth::tokens::digest(params.0.get())[..32])),
        (header::LAST_MODIFIED, app.clock.now().format("%a, %d %b %Y %H:%M:%S GMT").to_string()),
    ];
    let body = if is_head { Body::empty() } else { Body::from(bytes) };
    Ok((headers, body).into_response())
}

/// The results of the run that signed the request, packed: it has finished.
#[utoipa::path(put, path = "/objects/TE_objects/params/{name}", tag = "executions", security(()), params(("name" = String, Path)),
    responses((status = 200), (status = 400, content_type = "application/xml"), (status = 403, content_type = "application/xml")))]
async fn put(State(app): State<App>, request: Request) -> Result<Response> {
    let Some(execution) = run_of(request.uri().path(), RESULTS) else { return Ok(denied()) };
    let signed = Signed::of(&request, app.clock.now());
    let Some(attempt) = signer(&app, execution, signed).await? else { return Ok(denied()) };
    let bytes = body(request).await?;
    let read = tokio::task::spawn_blocking(move || {
        let mut text = Vec::new();
        MultiGzDecoder::new(&bytes[..]).take(results::MAX_BYTES as u64 + 1).read_to_end(&mut text).ok()?;
        let fits = text.len() <= results::MAX_BYTES;
        let text = fits.then(|| mend::mend(&text, results::MAX_VALUES).ok())??;
        RawValue::from_string(text).ok()
    });
    let Some(document) = read.await.map_err(anyhow::Error::from)? else {
        return Ok(refused(StatusCode::BAD_REQUEST, "InvalidRequest"));
    };
    let results = results::place(&app, execution, SqlJson(document)).await?;
    let (by, now) = (By::new(format!("run:{execution}"), "reported"), app.clock.now());
    let mut tx = app.db.begin().await?;
    store::executions::lock(&mut tx, execution).await?;
    // A word of an earlier attempt is heard and changes nothing.
    let run = store::runs::find_within(&mut tx, execution).await?.filter(|run| run.attempt == attempt);
    if run.is_some() {
        let report = Report { status: Some(Status::Finished), results: Some(results), ..Report::default() };
        report::apply(&mut tx, &app, execution, &report, &by, now).await?;
        tx.commit().await?;
        app.wake();
    }
    Ok((StatusCode::OK, [(header::ETAG, format!("\"{execution}\""))]).into_response())
}

async fn body(request: Request) -> Result<Vec<u8>> {
    let in_pieces = is_in_pieces(request.headers());
    let bytes = to_bytes(request.into_body(), super::MAX_BODY_BYTES)
        .await
        .map_err(|_| Error::TooLarge("Request too large".into()))?;
    Ok(if in_pieces { whole(&bytes) } else { bytes.to_vec() })
}

fn is_in_pieces(headers: &HeaderMap) -> bool {
    let value = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    value("content-encoding").contains("aws-chunked") || value("x-amz-content-sha256").starts_with("STREAMING-")
}

/// A body that came in pieces, each after a line with its length in hexadecimal.
fn whole(mut bytes: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let line = String::from_utf8_lossy(&bytes[..end]);
        let length = line.split(';').next().and_then(|text| usize::from_str_radix(text.trim(), 16).ok()).unwrap_or(0);
        let Some(piece) = bytes.get(end + 2..end + 2 + length).filter(|piece| !piece.is_empty()) else { break };
        all.extend_from_slice(piece);
        bytes = bytes.get(end + 4 + length..).unwrap_or_default();
    }
    all
}
