//! `/api/v1/oauth/…`: service clients, programs that act for an account within scopes (contract/auth-users.md 9).

use axum::{
    Form, Json,
    extract::{FromRequest, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Data, data,
    extract::{
        json::{Body, MaybeJson},
        path::IdPath,
    },
};
use crate::{
    app::App,
    auth::{User, passwords, scopes, tokens},
    clock,
    error::{Error, Result},
    limits::layer::Turn,
    store::{self, Id, service_clients::ServiceClient},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(token)).routes(routes!(list, create)).routes(routes!(revoke))
}

/// Clients of one account that are not revoked.
const MOST: i64 = 10;
/// Seconds within which a second use is not noted.
const TOUCH_S: i64 = 300;

#[derive(Serialize, utoipa::ToSchema)]
struct Token {
    access_token: String,
    token_type: &'static str,
    /// Seconds.
    expires_in: i64,
}

/// A client with its secret, which is shown this once.
#[derive(Serialize, utoipa::ToSchema)]
struct Created {
    #[serde(flatten)]
    client: ServiceClient,
    client_secret: String,
}

/// A refusal as OAuth 2 words it.
pub fn refused(status: StatusCode, error: &str, description: &str) -> Response {
    (status, Json(json!({"error": error, "error_description": description}))).into_response()
}

/// What the body says: JSON or a form; whatever cannot be read says nothing.
async fn asked(request: Request, app: &App) -> Result<[Option<String>; 3]> {
    const NAMES: [&str; 3] = ["grant_type", "client_id", "client_secret"];
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if kind.contains("json") {
        return match MaybeJson::from_request(request, app).await {
            Ok(MaybeJson(object)) => Ok(NAMES.map(|name| object.as_ref()?.get(name))),
            Err(Error::Invalid { .. }) => Ok([None, None, None]),
            Err(error) => Err(error),
        };
    }
    let form = Form::<Vec<(String, String)>>::from_request(request, app).await;
    let pairs = form.map_or_else(|_| Vec::new(), |Form(pairs)| pairs);
    Ok(NAMES.map(|name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())))
}

/// Trades a client's id and secret for a token. Public; JSON or a form.
#[utoipa::path(post, path = "/api/v1/oauth/token", tag = "oauth", security(()), request_body = Object,
    responses((status = 200, body = Token), (status = 400, body = Object), (status = 401, body = Object)))]
async fn token(State(app): State<App>, turn: Turn, request: Request) -> Result<Response> {
    let [grant, id, secret] = asked(request, &app).await?;
    if grant.as_deref() != Some("client_credentials") {
        let description = "Only grant_type=client_credentials is supported";
        return Ok(refused(StatusCode::BAD_REQUEST, "unsupported_grant_type", description));
    }
    let (Some(id), Some(secret)) = (id.filter(|id| !id.is_empty()), secret.filter(|secret| !secret.is_empty())) else {
        return Ok(refused(StatusCode::BAD_REQUEST, "invalid_request", "client_id and client_secret are required"));
    };
    turn.account(&id).await?;
    let now = app.clock.now();
    let login = store::service_clients::login(&app.db, &id.replace('\0', ""), now).await?;
    let stored = login.as_ref().map(|login| login.client_secret_hash.clone());
    let fits = match &stored {
        // Rows of an older release of the existing server.
        Some(hash) if !hash.contains(':') && !hash.starts_with('$') => tokens::same(hash, &tokens::digest(&secret)),
        _ if secret.len() > passwords::MAX_BYTES => false,
        _ => app.hasher.verify(secret, stored).await?,
    };
    let (Some(login), true) = (login, fits) else {
        return Ok(refused(StatusCode::UNAUTHORIZED, "invalid_client", "Invalid client credentials"));
    };
    store::service_clients::touch(&app.db, login.id, now - chrono::TimeDelta::seconds(TOUCH_S), now).await?;
    let lifetime = app.config.client_token_s;
    let not_before = store::users::logins::tokens_not_before(&app.db, login.user_id).await?;
    let client = tokens::Client { id: login.client_id, scopes: login.scopes };
    let access_token = app.tokens.issue_client(login.user_id, &client, lifetime, now, not_before)?;
    Ok(Json(Token { access_token, token_type: "bearer", expires_in: lifetime }).into_response())
}

/// The scopes that a new client is asked to have, as they are stored.
fn wanted_scopes(body: &crate::json::Object) -> Result<String> {
    if !body.is_set("scopes") {
        return Ok(String::new());
    }
    let Some(text) = body.get::<String>("scopes") else {
        return Err(Error::invalid("scopes must be text: scope names with blanks between them"));
    };
    let names: Vec<&str> = text.split_whitespace().collect();
    let mut unknown: Vec<&str> = names.iter().copied().filter(|name| !scopes::VALID.contains(name)).collect();
    unknown.sort_unstable();
    if !unknown.is_empty() {
        let (unknown, valid) = (unknown.join(", "), scopes::VALID.join(", "));
        return Err(Error::invalid(format!("Invalid scope(s): {unknown}. Valid scopes: {valid}")));
    }
    if names.contains(&"all") && names.len() > 1 {
        return Err(Error::invalid(
            "The 'all' scope grants full access and cannot be combined with other scopes. Use 'all' alone, or list only the specific scopes you need.",
        ));
    }
    Ok(text)
}

/// Days until a new client ends; `None` means never.
fn wanted_days(body: &crate::json::Object) -> Result<Option<u64>> {
    let wrong = || Error::invalid("expires_in_days must be a positive integer");
    if !body.is_set("expires_in_days") {
        return Ok(None);
    }
    let days = match body.get::<Value>("expires_in_days") {
        Some(Value::Number(number)) => number.as_f64().filter(|n| *n < 36_501.0).map(|n| n as i64),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(Value::Bool(true)) => Some(1),
        _ => None,
    };
    days.filter(|days| (1..=36_500).contains(days))
        .and_then(|days| u64::try_from(days).ok())
        .map(Some)
        .ok_or_else(wrong)
}

/// Makes a client of the caller; the answer is the only one that holds its secret.
#[utoipa::path(post, path = "/api/v1/oauth/clients", tag = "oauth", security(("bearerAuth" = ["account"])), request_body = Object,
    responses((status = 201, body = Data<Created>), (status = 400, body = super::ErrorBody)))]
async fn create(State(app): State<App>, user: User, Body(body): Body) -> Result<(StatusCode, Json<Data<Created>>)> {
    let name = match body.get::<Value>("name") {
        Some(Value::String(text)) => text,
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let name = name.replace('\0', "");
    if name.is_empty() {
        return Err(Error::invalid("Missing required field: name"));
    }
    if name.chars().count() > 120 {
        return Err(Error::invalid("name must be at most 120 characters long"));
    }
    let scopes = wanted_scopes(&body)?;
    let now = app.clock.now();
    let expires_at = wanted_days(&body)?.map(|days| clock::after(now, days * 86_400));
    let secret = random_hex(32)?;
    let client = ServiceClient {
        id: Id::random(),
        name,
        client_id: format!("te_cid_{}", random_hex(16)?),
        secret_prefix: secret[..8].to_owned(),
        scopes,
        user_id: user.id,
        created_at: Some(now),
        last_used_at: None,
        expires_at,
        revoked: false,
    };
    let client_secret = format!("te_cs_{secret}");
    let hash = app.hasher.hash(client_secret.clone()).await?;
    let mut tx = app.db.begin().await?;
    if !store::service_clients::insert(&mut tx, &client, &hash, MOST).await? {
        return Err(Error::invalid(format!(
            "Maximum of {MOST} active service clients reached. Revoke an existing client first."
        )));
    }
    let act = user.caller.did("client.created", "service_client", &client.id).with(&json!({"scopes": client.scopes}));
    store::audit::insert(&mut tx, &act, now).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, data(Created { client, client_secret })))
}

fn random_hex(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    getrandom::fill(&mut buffer).map_err(anyhow::Error::from)?;
    Ok(tokens::hex(&buffer))
}

/// The caller's clients that are not revoked, newest first.
#[utoipa::path(get, path = "/api/v1/oauth/clients", tag = "oauth", security(("bearerAuth" = ["account"])),
    responses((status = 200, body = Data<Vec<ServiceClient>>), (status = 401, body = super::ErrorBody)))]
async fn list(State(app): State<App>, user: User) -> Result<Json<Data<Vec<ServiceClient>>>> {
    Ok(data(store::service_clients::list(&app.db, user.id).await?))
}

/// Ends a client and its tokens. Its owner or an administrator.
#[utoipa::path(delete, path = "/api/v1/oauth/clients/{id}", tag = "oauth", security(("bearerAuth" = ["account"])),
    params(("id" = String, Path)), responses((status = 200, body = Data<ServiceClient>), (status = 400, body = super::ErrorBody)))]
async fn revoke(State(app): State<App>, user: User, path: IdPath) -> Result<Json<Data<ServiceClient>>> {
    let missing = || Error::invalid("Service client not found");
    let id = path.0.ok_or_else(missing)?;
    let mut client = store::service_clients::find(&app.db, id).await?.ok_or_else(missing)?;
    if client.user_id != user.id && !user.is_admin() {
        return Err(Error::invalid("You can only revoke your own service clients"));
    }
    let mut tx = app.db.begin().await?;
    store::service_clients::revoke(&mut tx, id).await?;
    store::audit::insert(&mut tx, &user.caller.did("client.revoked", "service_client", &id), app.clock.now()).await?;
    tx.commit().await?;
    client.revoked = true;
    Ok(data(client))
}
