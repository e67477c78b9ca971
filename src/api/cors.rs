//! Who may call from a web page, and OPTIONS: a browser's question before a call, and everybody else's
//! (contract/auth-users.md 1.7, 3.2).

use std::sync::Arc;

use axum::{
    Extension,
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{Html, IntoResponse, Response},
};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{app::App, auth::scopes::Scopes, error::Error};

fn origins(app: &App) -> Vec<HeaderValue> {
    app.config.cors_origins.iter().filter_map(|origin| origin.parse().ok()).collect()
}

/// What a browser is told.
pub fn layer(app: &App) -> CorsLayer {
    let own = |name| HeaderName::from_static(name);
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins(app)))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS])
        .allow_headers([
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            header::IF_NONE_MATCH,
            own("idempotency-key"),
            own("last-event-id"),
            own("x-te-callback-url"),
            own("x-te-client"),
            own("x-te-script-version"),
        ])
        .expose_headers([
            header::ETAG,
            header::RETRY_AFTER,
            own("idempotency-replayed"),
            own("x-ignored-filters"),
            own("x-ratelimit-limit"),
            own("x-ratelimit-remaining"),
            own("x-ratelimit-reset"),
            own("x-request-id"),
            own("x-te-access-token"),
            own("x-te-rehearsal"),
            own("x-total-count"),
        ])
}

/// Answers OPTIONS that is no browser's question with the methods of the route. Who names no origin is told the first of the
/// settings, in the order of the alphabet.
pub async fn unnamed(
    State(app): State<App>,
    Extension(scopes): Extension<Arc<Scopes>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let origins = origins(&app);
    let named = request.headers().get(header::ORIGIN);
    let told = match named {
        Some(origin) => origins.iter().find(|known| *known == origin).cloned(),
        None => origins.into_iter().min(),
    };
    let asks = named.is_some() && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match path {
        _ if request.method() != Method::OPTIONS || asks => next.run(request).await,
        None => Error::not_found("Not Found").into_response(),
        Some(path) => {
            let methods = scopes.methods(path.as_str()).join(", ");
            ([(header::ALLOW, methods), (header::VARY, "Origin".into())], Html("")).into_response()
        }
    };
    if let Some(told) = told {
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, told);
    }
    response
}
