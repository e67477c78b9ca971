//! The pages behind links in mails, and the one that Google sends people back to, so that they work where no web application
//! is installed. Plain forms: the content policy lets no script and no style run.

use axum::{
    Form,
    extract::{State, rejection::FormRejection},
    http::{HeaderValue, Method, StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    extract::query::Pairs,
    gee_credentials::oauth,
    unsubscribe::{self, SWITCHES},
    users::recovery,
};
use crate::{
    app::App,
    auth::Caller,
    error::{Error, Result},
    limits::layer::Turn,
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(password, set_password))
        .routes(routes!(subscriptions, set_subscriptions))
        .routes(routes!(connected))
}

type Fields = Vec<(String, String)>;

fn read(fields: Result<Form<Fields>, FormRejection>) -> Result<Fields> {
    let wrong =
        |_| Error::UnsupportedMediaType("Send the form of this page (application/x-www-form-urlencoded)".into());
    fields.map(|Form(fields)| fields).map_err(wrong)
}

fn field<'f>(fields: &'f Fields, name: &str) -> &'f str {
    fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
}

fn escaped(text: &str) -> String {
    html_escape::encode_quoted_attribute(text).into_owned()
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} - Trends.Earth</title></head><body><h1>{title}</h1>\n{body}\n</body></html>\n"
    );
    // The token stands in the address: it must not go on to another page, nor into a cache.
    let headers = [
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, Html(html)).into_response()
}

/// An error as a page says it.
fn told(title: &str, error: &Error) -> Option<Response> {
    let (status, sentence) = match error {
        Error::NotFound(sentence) => (StatusCode::NOT_FOUND, sentence.as_str()),
        Error::Invalid { detail, .. } => (StatusCode::BAD_REQUEST, detail.as_str()),
        Error::Weak(sentence) => (StatusCode::UNPROCESSABLE_ENTITY, *sentence),
        _ => return None,
    };
    Some(page(status, title, &format!("<p>{}</p><p>Go back to try again.</p>", escaped(sentence))))
}

/// Where a web application is installed, the link leads there.
fn elsewhere(app: &App, path: &str, token: &str) -> Option<Response> {
    let ui = app.config.ui_url.as_ref()?;
    let token: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
    let headers = [(header::LOCATION, HeaderValue::from_str(&format!("{ui}{path}?token={token}")).ok()?)];
    let private = [
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Some((StatusCode::FOUND, headers, private).into_response())
}

const PASSWORD: &str = "Set your password";

/// A page to set a new password.
#[utoipa::path(get, path = "/reset-password", tag = "pages", security(()), params(("token" = String, Query)),
    responses((status = 200, content_type = "text/html")))]
async fn password(State(app): State<App>, query: Pairs) -> Response {
    let token = query.get("token").unwrap_or("");
    elsewhere(&app, "/reset-password", token).unwrap_or_else(|| {
        let body = format!(
            "<form method=\"post\" action=\"/reset-password\"><input type=\"hidden\" name=\"token\" value=\"{}\">\
             <p><label>New password: <input type=\"password\" name=\"password\" minlength=\"12\" autocomplete=\"new-password\" required></label></p>\
             <p>At least 12 characters, with an upper-case and a lower-case letter, a number and one of !@#$%^&amp;*()-_=+[]{{}}|;:,.&lt;&gt;?/</p>\
             <p><button>Set password</button></p></form>",
            escaped(token)
        );
        page(StatusCode::OK, PASSWORD, &body)
    })
}

/// Sets the new password that the page asked for.
#[utoipa::path(post, path = "/reset-password", tag = "pages", security(()), request_body(content = Object, content_type = "application/x-www-form-urlencoded"), responses((status = 200, content_type = "text/html")))]
async fn set_password(
    State(app): State<App>,
    caller: Caller,
    turn: Turn,
    fields: Result<Form<Fields>, FormRejection>,
) -> Result<Response> {
    let fields = read(fields)?;
    turn.account(field(&fields, "token")).await?;
    match recovery::set(&app, &caller, field(&fields, "token"), field(&fields, "password").to_owned()).await {
        Ok(()) => Ok(page(StatusCode::OK, PASSWORD, "<p>Your password is set. You can sign in with it now.</p>")),
        Err(error) => told(PASSWORD, &error).ok_or(error),
    }
}

const MAILS: &str = "Mails from Trends.Earth";
const LABELS: [&str; 4] =
    ["when an execution of mine ends", "news", "invitations and surveys", "changes of the system"];

/// A page to choose which mails one gets.
#[utoipa::path(get, path = "/unsubscribe", tag = "pages", security(()), params(("token" = String, Query)),
    responses((status = 200, content_type = "text/html")))]
async fn subscriptions(State(app): State<App>, query: Pairs) -> Result<Response> {
    let token = query.get("token").unwrap_or("");
    if let Some(away) = elsewhere(&app, "/unsubscribe", token) {
        return Ok(away);
    }
    let person = match unsubscribe::person(&app, Some(token)).await {
        Ok(person) => person,
        Err(error) => return told(MAILS, &error).ok_or(error),
    };
    let on = [
        person.email_notifications_enabled,
        person.email_subscription_news,
        person.email_subscription_engagement,
        person.email_subscription_system_updates,
    ];
    let boxes: String = SWITCHES
        .iter()
        .zip(LABELS)
        .zip(on)
        .map(|(((name, _), label), on)| {
            let checked = if on { " checked" } else { "" };
            format!("<p><label><input type=\"checkbox\" name=\"{name}\"{checked}> {label}</label></p>")
        })
        .collect();
    let token = escaped(token);
    let form = format!(
        "<form method=\"post\" action=\"/unsubscribe\"><input type=\"hidden\" name=\"token\" value=\"{token}\">\
         <p>Write to me:</p>{boxes}<p><button>Save</button></p></form>"
    );
    Ok(page(StatusCode::OK, MAILS, &form))
}

/// Keeps what the page was told: a box that is not checked is off.
#[utoipa::path(post, path = "/unsubscribe", tag = "pages", security(()), request_body(content = Object, content_type = "application/x-www-form-urlencoded"), responses((status = 200, content_type = "text/html")))]
async fn set_subscriptions(State(app): State<App>, fields: Result<Form<Fields>, FormRejection>) -> Result<Response> {
    let fields = read(fields)?;
    let person = match unsubscribe::person(&app, Some(field(&fields, "token"))).await {
        Ok(person) => person,
        Err(error) => return told(MAILS, &error).ok_or(error),
    };
    let switches = SWITCHES.iter().map(|(name, column)| (*column, fields.iter().any(|(key, _)| key == name))).collect();
    unsubscribe::set(&app, person.id, switches).await?;
    Ok(page(StatusCode::OK, MAILS, "<p>Your choice is kept.</p>"))
}

const CONNECTED: &str = "Google Earth Engine";

/// The page that Google sends people back to: keeps the consent for whoever began it.
#[utoipa::path(get, path = "/gee-oauth/callback", tag = "pages", security(()), params(("code" = String, Query), ("state" = String, Query)),
    responses((status = 200, content_type = "text/html")))]
async fn connected(State(app): State<App>, method: Method, caller: Caller, query: Pairs) -> Result<Response> {
    let (code, state) = (query.get("code").unwrap_or(""), query.get("state").unwrap_or(""));
    if code.is_empty() || state.is_empty() || method != Method::GET {
        return Ok(page(StatusCode::BAD_REQUEST, CONNECTED, "<p>Google gave no consent. You can close this page.</p>"));
    }
    match oauth::connect(&app, &caller, None, code, state).await {
        Ok(_) => Ok(page(StatusCode::OK, CONNECTED, "<p>Your account is connected. You can close this page.</p>")),
        Err(error) => told(CONNECTED, &error).ok_or(error),
    }
}
