//! What can go wrong with a request: meaning here, status codes and bodies in `into_response` and nowhere else.
//! Shapes: contract/auth-users.md 2; error codes: those of `docs/API.md`.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request was not served. The text of each is for people.
#[derive(Debug)]
pub enum Error {
    /// 404 with this sentence.
    NotFound(String),
    /// 400 with a sentence and, for machines, a code.
    Invalid { detail: String, code: Option<&'static str> },
    /// 400: parameters that do not fit their script's schema, and where.
    Parameters(Vec<Fault>),
    /// 400: JSON that is too deep or has too many values.
    TooMuchJson(String),
    /// 401: no token, a bad one, an old one, a revoked one.
    Token(TokenError),
    /// An error of `/auth…`: the sentence stands in `msg` and `message` too, as each client reads another of them.
    SignIn { status: StatusCode, msg: String, code: Option<&'static str> },
    /// 401: the current password is not what was sent.
    WrongPassword,
    /// 401 of `/auth`: too many failed sign-ins; `None` minutes means until the password is reset.
    Locked { message: String, minutes: Option<i64> },
    /// 403 for who lacks a role, where clients read the sentence from `msg`.
    Role(&'static str),
    /// 403 with this sentence.
    Forbidden(String),
    /// 422: a password that breaks a rule.
    Weak(&'static str),
    /// 409 with this sentence.
    Conflict(String),
    /// 422: an `Idempotency-Key` that names another request.
    KeyReused,
    /// 408: nothing came of the body for so many seconds.
    Silent { seconds: u64 },
    /// 413 with this sentence.
    TooLarge(String),
    /// 415.
    UnsupportedMediaType(String),
    /// 429 with seconds to wait.
    Limited { detail: String, code: &'static str, retry_after: u64 },
    /// 405.
    MethodNotAllowed,
    /// 410: what the row names is no longer there.
    Gone(String),
    /// 503: what a setting of this server would be needed for.
    NotConfigured(String),
    /// 503: no connection to the database came free in time; `api::tell_apart` finds out whether it is away.
    NoConnection,
    /// 503: a statement took longer than it may.
    Slow,
    /// 503 with seconds to wait: the cause is ours and passes.
    Unavailable { detail: String, code: &'static str, retry_after: u64 },
    /// 507: no room on the disk.
    NoRoom,
    /// 500; the cause goes to the log, never to the client.
    Internal(anyhow::Error),
}

/// Marks an answer that no connection to the database was there for.
#[derive(Debug, Clone, Copy)]
pub struct NoConnection;

/// One place at which parameters do not fit.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// A JSON pointer, `/year_initial`; empty for the parameters as a whole.
    pub path: String,
    pub message: String,
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    Missing,
    Invalid,
    Expired,
    Revoked,
}

impl Error {
    pub fn invalid(detail: impl Into<String>) -> Self {
        Error::Invalid { detail: detail.into(), code: None }
    }

    pub fn invalid_as(code: &'static str, detail: impl Into<String>) -> Self {
        Error::Invalid { detail: detail.into(), code: Some(code) }
    }

    /// The sentence of a body that is more than is taken: what a container sent, which nobody there can mend.
    pub fn too_much(self) -> Result<String> {
        match self {
            Error::TooLarge(detail) | Error::TooMuchJson(detail) => Ok(detail),
            other => Err(other),
        }
    }

    /// What is wrong with a body, as `/auth…` says it.
    pub fn at_sign_in(self) -> Self {
        let (status, msg, code) = match self {
            Error::Invalid { detail, code } => (StatusCode::BAD_REQUEST, detail, code),
            Error::TooMuchJson(detail) => (StatusCode::BAD_REQUEST, detail, Some("invalid_json")),
            Error::UnsupportedMediaType(detail) => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, detail, Some("unsupported_media_type"))
            }
            other => return other,
        };
        Error::SignIn { status, msg, code }
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Error::NotFound(detail.into())
    }

    /// 403 for who lacks the role.
    pub fn forbidden() -> Self {
        Error::Forbidden("Forbidden".into())
    }

    /// 503: nothing is wrong with the request, but there are too many at one time.
    pub fn overloaded() -> Self {
        Error::Unavailable {
            detail: "The server is overloaded; try again in a second.".into(),
            code: "overloaded",
            retry_after: 1,
        }
    }

    /// What a search that the database gave up for its length is: a request for too much, 400.
    pub fn of_search(self) -> Self {
        match self {
            Error::Slow => {
                Error::invalid("The database was not done in time; ask for less, for example a shorter period.")
            }
            other => other,
        }
    }

    /// 503: a service outside does not answer.
    pub fn silent(service: &str) -> Self {
        Error::Unavailable {
            detail: format!("{service} does not answer; try again soon."),
            code: "service_unavailable",
            retry_after: 5,
        }
    }

    /// 503: the database is away.
    pub fn away() -> Self {
        Error::Unavailable {
            detail: "The database does not answer; try again soon.".into(),
            code: "database_unavailable",
            retry_after: 5,
        }
    }

    /// 503: what lies beside the database cannot be reached.
    fn objects(error: &anyhow::Error) -> Self {
        tracing::warn!(error = format!("{error:#}"), "the objects do not answer");
        Error::Unavailable {
            detail: "The store of archives and results does not answer; try again soon.".into(),
            code: "objects_unavailable",
            retry_after: 5,
        }
    }

    fn database(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut => Error::NoConnection,
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                tracing::warn!(error = %error, "the database does not answer");
                Error::away()
            }
            // PostgreSQL's own words; https://www.postgresql.org/docs/current/errcodes-appendix.html
            sqlx::Error::Database(said) => match said.code().as_deref() {
                Some("57014") => {
                    tracing::warn!("a statement took longer than it may");
                    Error::Slow
                }
                // Two who waited for each other: one of them was sent away, and nothing of his is left.
                Some("40P01") => {
                    tracing::warn!(error = %error, "two transactions waited for each other");
                    Error::overloaded()
                }
                // It has no connection left; it goes down or comes up, or the connection broke.
                Some("53300") => Error::overloaded(),
                Some(code) if code.starts_with("57P") || code.starts_with("08") => {
                    tracing::warn!(error = %error, "the database does not answer");
                    Error::away()
                }
                _ => Error::Internal(error.into()),
            },
            _ => Error::Internal(error.into()),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Error::database(error)
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<sqlx::Error>() {
            Ok(error) => Error::database(error),
            Err(error) if error.is::<object_store::Error>() => Error::objects(&error),
            Err(error) => Error::Internal(error),
        }
    }
}

impl From<TokenError> for Error {
    fn from(error: TokenError) -> Self {
        Error::Token(error)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let plain = |status: StatusCode, detail: &str, code: Option<&str>| {
            let mut body = json!({"status": status.as_u16(), "detail": detail});
            if let Some(code) = code {
                body["error_code"] = json!(code);
            }
            (status, Json(body)).into_response()
        };
        let later = |mut response: Response, seconds: u64| {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            response
        };
        match self {
            Error::NotFound(detail) => plain(StatusCode::NOT_FOUND, &detail, Some("not_found")),
            Error::Invalid { detail, code } => plain(StatusCode::BAD_REQUEST, &detail, code),
            Error::TooMuchJson(detail) => plain(StatusCode::BAD_REQUEST, &detail, Some("invalid_json")),
            Error::Parameters(faults) => {
                let first = faults.first().cloned().unwrap_or(Fault { path: String::new(), message: String::new() });
                let place = if first.path.is_empty() { String::new() } else { format!("{}: ", first.path) };
                let detail = format!("The parameters do not fit what the script takes. {place}{}", first.message);
                let body = json!({"status": 400, "detail": detail, "error_code": "invalid_parameters",
                    "path": first.path, "errors": faults});
                (StatusCode::BAD_REQUEST, Json(body)).into_response()
            }
            Error::Token(error) => {
                let (detail, name) = match error {
                    TokenError::Missing => ("Authorization token required", "authorization_required"),
                    TokenError::Invalid => ("Invalid token", "invalid_token"),
                    TokenError::Expired => ("Token has expired", "token_expired"),
                    TokenError::Revoked => ("Token has been revoked", "token_revoked"),
                };
                (StatusCode::UNAUTHORIZED, Json(json!({"status": 401, "detail": detail, "error": name})))
                    .into_response()
            }
            Error::SignIn { status, msg, code } => {
                let mut body = json!({"msg": msg, "message": msg, "detail": msg, "status": status.as_u16()});
                if let Some(code) = code {
                    body["error_code"] = json!(code);
                }
                (status, Json(body)).into_response()
            }
            Error::WrongPassword => {
                plain(StatusCode::UNAUTHORIZED, "Invalid current password", Some("invalid_password"))
            }
            Error::Locked { message, minutes } => {
                let body = json!({"error_code": "account_locked", "message": message,
                    "minutes_remaining": minutes, "requires_password_reset": minutes.is_none()});
                (StatusCode::UNAUTHORIZED, Json(body)).into_response()
            }
            Error::Role(msg) => {
                let body = json!({"msg": msg, "message": msg, "detail": msg, "status": 403});
                (StatusCode::FORBIDDEN, Json(body)).into_response()
            }
            Error::Forbidden(detail) => plain(StatusCode::FORBIDDEN, &detail, Some("forbidden")),
            Error::Weak(detail) => plain(StatusCode::UNPROCESSABLE_ENTITY, detail, None),
            Error::Conflict(detail) => plain(StatusCode::CONFLICT, &detail, None),
            Error::KeyReused => plain(
                StatusCode::UNPROCESSABLE_ENTITY,
                "This Idempotency-Key was used for another request.",
                Some("idempotency_key_reused"),
            ),
            Error::Silent { seconds } => {
                let detail = format!("Nothing came of the body for {seconds} seconds; send the request again.");
                plain(StatusCode::REQUEST_TIMEOUT, &detail, None)
            }
            Error::TooLarge(detail) => plain(StatusCode::PAYLOAD_TOO_LARGE, &detail, Some("body_too_large")),
            Error::UnsupportedMediaType(detail) => {
                plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, &detail, Some("unsupported_media_type"))
            }
            Error::Limited { detail, code, retry_after } => {
                later(plain(StatusCode::TOO_MANY_REQUESTS, &detail, Some(code)), retry_after)
            }
            Error::MethodNotAllowed => plain(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed", None),
            Error::Gone(detail) => plain(StatusCode::GONE, &detail, None),
            Error::Unavailable { detail, code, retry_after } => {
                later(plain(StatusCode::SERVICE_UNAVAILABLE, &detail, Some(code)), retry_after)
            }
            Error::NotConfigured(detail) => plain(StatusCode::SERVICE_UNAVAILABLE, &detail, Some("not_configured")),
            Error::NoConnection => {
                let mut response = Error::overloaded().into_response();
                response.extensions_mut().insert(NoConnection);
                response
            }
            Error::Slow => {
                let detail = "The database was not done in time; try again soon.".into();
                Error::Unavailable { detail, code: "overloaded", retry_after: 1 }.into_response()
            }
            Error::NoRoom => {
                plain(StatusCode::INSUFFICIENT_STORAGE, "The server's disk is almost full; nothing was stored.", None)
            }
            Error::Internal(error) => {
                tracing::error!(error = format!("{error:#}"), "a request failed");
                plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error", None)
            }
        }
    }
}
