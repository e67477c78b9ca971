//! The table of all routes, and what every request passes through.

pub mod audit;
pub mod auth;
pub mod bodies;
pub mod boundaries;
pub mod clients;
pub mod cors;
pub mod csv;
pub mod docs;
pub mod email;
pub mod etag;
pub mod executions;
pub mod extract;
pub mod gee_credentials;
pub mod google_groups;
pub mod health;
pub mod maintenance;
pub mod news;
pub mod oauth;
mod objects;
pub mod openeo_credentials;
pub mod pages;
pub mod rate_limits;
pub mod scripts;
pub mod sessions;
pub mod stats;
pub mod status;
pub mod stream;
pub mod tails;
pub mod unsubscribe;
pub mod users;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, Response, StatusCode, Uri, header},
    middleware::Next,
    response::IntoResponse,
};
use serde::Serialize;
use tower::ServiceBuilder;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{CompressionLayer, predicate::Predicate},
    request_id::{MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer},
    trace::TraceLayer,
};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    app::App,
    auth::scopes::Scopes,
    config::Environment,
    error::{Error, NoConnection, Result},
    limits::{address::Address, layer::limit},
};

/// Bytes of a request body, as it comes over the wire.
pub const MAX_BODY_BYTES: usize = 50 << 20;

/// `{"data": …}`, with `page`, `per_page` and `total` beside it where a list is paged.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Data<T> {
    pub data: T,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub page: Option<Page>,
}

/// Where a page of a list stands.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
pub struct Page {
    pub page: i64,
    pub per_page: i64,
    pub total: i64,
}

/// The body of every error.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ErrorBody {
    pub status: u16,
    /// What was wrong and what is right, a sentence.
    pub detail: String,
    /// For machines; see docs/API.md.
    pub error_code: Option<String>,
}

/// An answer with one thing.
pub fn data<T>(data: T) -> axum::Json<Data<T>> {
    axum::Json(Data { data, page: None })
}

/// `{"message": …}`
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Said {
    pub message: String,
}

/// An answer that is a sentence.
pub fn said(message: impl Into<String>) -> axum::Json<Said> {
    axum::Json(Said { message: message.into() })
}

#[derive(OpenApi)]
#[openapi(info(title = "Trends.Earth API", description = "Scripts, executions, logs and results.", version = "1.0.0"))]
struct Document;

/// Every route and its description.
pub fn routes() -> (Router<App>, utoipa::openapi::OpenApi) {
    let mut document = Document::openapi();
    docs::sign(&mut document);
    OpenApiRouter::with_openapi(document)
        .merge(health::routes())
        .merge(auth::routes())
        .merge(users::routes())
        .merge(sessions::routes())
        .merge(clients::routes())
        .merge(oauth::routes())
        .merge(audit::routes())
        .merge(maintenance::routes())
        .merge(rate_limits::routes())
        .merge(unsubscribe::routes())
        .merge(email::routes())
        .merge(pages::routes())
        .merge(news::routes())
        .merge(boundaries::routes())
        .merge(gee_credentials::routes())
        .merge(openeo_credentials::routes())
        .merge(google_groups::routes())
        .merge(scripts::routes())
        .merge(executions::routes())
        .merge(status::routes())
        .merge(stats::routes())
        .merge(objects::routes())
        .split_for_parts()
}

/// The whole service: routes and what stands before them.
pub fn service(app: &App) -> Router {
    let (routes, document) = routes();
    let scopes = Arc::new(Scopes::of(&document));
    let id = HeaderName::from_static("x-request-id");
    // One stack, outermost first: a layer by itself would be boxed, and cloned with each request.
    let layers = ServiceBuilder::new()
        .layer(axum::middleware::from_fn_with_state(app.clone(), arrive))
        .layer(SetRequestIdLayer::new(id.clone(), MakeRequestUuid))
        .layer(TraceLayer::new_for_http().make_span_with(span).on_request(()).on_response(responded).on_failure(()))
        .layer(PropagateRequestIdLayer::new(id))
        .layer(axum::Extension(scopes))
        .layer(axum::middleware::from_fn_with_state(app.clone(), bodies::bound))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(axum::middleware::from_fn_with_state(app.clone(), cors::unnamed))
        .layer(cors::layer(app))
        .layer(CompressionLayer::new().compress_when(Compressible))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(axum::middleware::from_fn_with_state(app.clone(), tell_apart))
        .layer(axum::middleware::from_fn_with_state(app.clone(), limit))
        .layer(axum::middleware::from_fn(etag::tag));
    routes
        .merge(docs::routes(document))
        .fallback(nowhere)
        .method_not_allowed_fallback(|| async { Error::MethodNotAllowed })
        .with_state(app.clone())
        .layer(layers)
}

/// Finds out where a request comes from and whether its id can be used. Every answer tells browsers what they may do with it;
/// one over https asks for https from then on.
async fn arrive(State(app): State<App>, mut request: Request, next: Next) -> Response<Body> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let address = peer.map(|peer| app.config.proxies.client(peer, request.headers()));
    if let Some(address) = address {
        request.extensions_mut().insert(address);
    }
    let readable =
        |id: &HeaderValue| id.len() <= 128 && !id.is_empty() && id.as_bytes().iter().all(u8::is_ascii_graphic);
    if !request.headers().get("x-request-id").is_some_and(readable) {
        request.headers_mut().remove("x-request-id");
    }
    let secure = app.config.environment == Environment::Prod || address.is_some_and(|address| address.https);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in &SECURITY_HEADERS {
        headers.entry(name).or_insert_with(|| value.clone());
    }
    if app.config.rehearse {
        headers.insert("x-te-rehearsal", HeaderValue::from_static("true"));
    }
    if secure {
        let value = HeaderValue::from_static("max-age=31536000; includeSubDomains; preload");
        headers.entry(header::STRICT_TRANSPORT_SECURITY).or_insert(value);
    }
    response
}

/// No connection to the database was there in time: because too many are in use, or because it is away. A request that has a
/// connection to a database that stands still would wait for the network to tell.
async fn tell_apart(State(app): State<App>, request: Request, next: Next) -> Response<Body> {
    let response = tokio::select! {
        biased;
        response = next.run(request) => response,
        () = app.pulse.gone() => return Error::away().into_response(),
    };
    if response.extensions().get::<NoConnection>().is_some() && !app.pulse.answers_now().await {
        return Error::away().into_response();
    }
    response
}

/// Both `/x` and `/x/` are one route, but where the existing server is strict (contract/auth-users.md 1.6).
pub fn trim_slash(mut request: Request) -> Request {
    let uri = request.uri();
    let path = uri.path();
    let strict = !path.starts_with("/api/v1/")
        || path.starts_with("/api/v1/rate-limit/")
        || path == "/api/v1/unsubscribe/"
        || path.contains("//");
    if let (Some(trimmed), false) = (path.strip_suffix('/'), strict) {
        let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
        if let Ok(trimmed) = format!("{trimmed}{query}").parse::<Uri>() {
            *request.uri_mut() = trimmed;
        }
    }
    request
}

/// No route: with slashes merged there may be one. The place is always on this server: a backslash, which browsers take for a
/// slash, goes nowhere.
async fn nowhere(uri: Uri) -> Result<(StatusCode, [(HeaderName, HeaderValue); 1])> {
    let path = uri.path();
    let not_found = || Error::not_found("Not Found");
    if !path.contains("//") || path.contains('\\') {
        return Err(not_found());
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let end = if path.ends_with('/') && !parts.is_empty() { "/" } else { "" };
    let query = uri.query().map(|q| format!("?{q}")).unwrap_or_default();
    let place = HeaderValue::try_from(format!("/{}{end}{query}", parts.join("/"))).map_err(|_| not_found())?;
    Ok((StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, place)]))
}

/// contract/auth-users.md 3.1
static SECURITY_HEADERS: [(HeaderName, HeaderValue); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; font-src 'self' data:; connect-src 'self'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::X_XSS_PROTECTION, HeaderValue::from_static("1; mode=block")),
    (header::REFERRER_POLICY, HeaderValue::from_static("strict-origin-when-cross-origin")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static(
            "geolocation=(), microphone=(), camera=(), payment=(), usb=(), magnetometer=(), gyroscope=()",
        ),
    ),
    (HeaderName::from_static("x-permitted-cross-domain-policies"), HeaderValue::from_static("none")),
];

/// Text of some length is compressed; archives and live streams never are (contract/clients.md 7).
#[derive(Clone, Copy)]
struct Compressible;

impl Predicate for Compressible {
    fn should_compress<B: axum::body::HttpBody>(&self, response: &Response<B>) -> bool {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let text =
            ["application/json", "text/html", "text/plain", "text/css", "application/javascript", "text/javascript"];
        let long = response.body().size_hint().exact().is_none_or(|bytes| bytes >= 500);
        long && text.iter().any(|prefix| kind.starts_with(prefix))
    }
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response<Body> {
    Error::Internal(anyhow::anyhow!("a handler panicked")).into_response()
}

/// One span a request. The query is left out: it may hold what must not be logged.
fn span<B>(request: &axum::http::Request<B>) -> tracing::Span {
    let id =
        request.extensions().get::<RequestId>().and_then(|id| id.header_value().to_str().ok()).unwrap_or("").to_owned();
    let peer = request.extensions().get::<Address>().map(|address| address.ip.to_string());
    let path: String = request.uri().path().chars().take(1_024).collect();
    tracing::info_span!("request", request.id = id, method = %request.method(), path, peer)
}

fn responded<B>(response: &Response<B>, latency: Duration, _: &tracing::Span) {
    tracing::info!(
        status = response.status().as_u16(),
        ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX),
        "answered"
    );
}

/// The parts of a comma list in a query, `include=a,b`.
pub fn words(list: Option<&str>) -> Vec<&str> {
    list.unwrap_or("").split(',').map(str::trim).filter(|word| !word.is_empty()).collect()
}

/// Headers of a list: how many rows there are, on whatever page.
pub fn pages_of(page: Option<Page>, rows: usize) -> axum::http::HeaderMap {
    let total = page.map_or_else(|| u64::try_from(rows).unwrap_or(u64::MAX), |page| page.total.unsigned_abs());
    [(HeaderName::from_static("x-total-count"), HeaderValue::from(total))].into_iter().collect()
}

/// A value for JSON, or the server's own fault.
pub fn value<T: Serialize>(of: T) -> Result<serde_json::Value> {
    serde_json::to_value(of).map_err(|error| Error::Internal(error.into()))
}
