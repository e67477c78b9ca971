//! The OpenAPI document and its page, from the binary.

use axum::{
    Router,
    http::{HeaderName, HeaderValue, header},
    routing::get,
};
use tower_http::set_header::SetResponseHeaderLayer;
use utoipa::openapi::{
    OpenApi,
    security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::app::App;

/// Says how requests are signed.
pub fn sign(document: &mut OpenApi) {
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("bearerAuth", SecurityScheme::Http(scheme));
    document.security = Some(vec![SecurityRequirement::new("bearerAuth", Vec::<String>::new())]);
}

/// `/swagger.json` and `/api/docs/`.
pub fn routes(document: OpenApi) -> Router<App> {
    let page: Router<App> = SwaggerUi::new("/api/docs").config(Config::from("/swagger.json")).into();
    // The page brings its own scripts and styles in line.
    let policy = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; font-src 'self'; img-src 'self' data:";
    let page = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
        (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ]
    .into_iter()
    .fold(page, |page, (name, value)| {
        page.layer(SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value)))
    });
    Router::new().route("/swagger.json", get(move || async move { axum::Json(document) })).merge(page)
}
