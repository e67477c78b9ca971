//! `/api/v1/unsubscribe`: what mails somebody gets, by the link of a mail and without signing in (contract/auth-users.md 11).

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Data, ErrorBody, data,
    extract::{json::MaybeJson, query::Pairs},
};
use crate::{
    app::App,
    error::{Error, Result},
    store::{
        self, Id,
        search::Value,
        users::{Changes, Profile},
    },
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get, update, one_click))
}

/// The switches, and the columns that they are.
pub const SWITCHES: [(&str, &str); 4] = [
    ("automated", "email_notifications_enabled"),
    ("news", "email_subscription_news"),
    ("engagement", "email_subscription_engagement"),
    ("system_updates", "email_subscription_system_updates"),
];

/// What mails somebody gets.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Subscriptions {
    automated: bool,
    engagement: bool,
    news: bool,
    system_updates: bool,
}

/// What it is now, and a word about it.
#[derive(Serialize, utoipa::ToSchema)]
struct Kept {
    data: Subscriptions,
    message: &'static str,
}

impl Subscriptions {
    pub fn of(person: &Profile) -> Self {
        Subscriptions {
            automated: person.email_notifications_enabled,
            engagement: person.email_subscription_engagement,
            news: person.email_subscription_news,
            system_updates: person.email_subscription_system_updates,
        }
    }
}

/// Whose link it is.
pub async fn person(app: &App, token: Option<&str>) -> Result<Profile> {
    let token = token.filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| Error::invalid("token query parameter is required."))?;
    let id = app.tokens.read_unsubscribe(token, app.clock.now()).map_err(Error::invalid)?;
    let found = store::users::profile(&app.db, id).await?;
    found.ok_or_else(|| Error::not_found("User not found."))
}

/// Sets switches; who does so consents at this moment.
pub async fn set(app: &App, id: Id, switches: Vec<(&'static str, bool)>) -> Result<Profile> {
    let now = app.clock.now();
    let mut changes = Changes::default();
    changes.0.extend(switches.into_iter().map(|(column, on)| (column, Some(Value::Flag(on)))));
    changes.0.push(("consent_given_at", Some(Value::Time(now))));
    changes.0.push(("consent_source", Some(Value::Text("unsubscribe_page".into()))));
    let mut tx = app.db.begin().await?;
    store::users::update(&mut tx, id, &changes, now).await?;
    let changed = store::users::profile_within(&mut tx, id).await?;
    tx.commit().await?;
    changed.ok_or_else(|| Error::not_found("User not found."))
}

/// What mails the person of a link gets. Public.
#[utoipa::path(get, path = "/api/v1/unsubscribe", tag = "users", security(()), params(("token" = String, Query)),
    responses((status = 200, body = Data<Subscriptions>), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn get(State(app): State<App>, query: Pairs) -> Result<Json<Data<Subscriptions>>> {
    Ok(data(Subscriptions::of(&person(&app, query.get("token")).await?)))
}

/// Changes what mails the person of a link gets. Public; the content type does not matter.
#[utoipa::path(patch, path = "/api/v1/unsubscribe", tag = "users", security(()), params(("token" = String, Query)), request_body = Object,
    responses((status = 200, body = Kept), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn update(State(app): State<App>, query: Pairs, request: axum::extract::Request) -> Result<Json<Kept>> {
    let person = person(&app, query.get("token")).await?;
    let body = MaybeJson::whatever_type(request, &app).await?.unwrap_or_default();
    let switches: Vec<(&'static str, bool)> =
        SWITCHES.iter().filter_map(|(name, column)| Some((*column, body.get::<bool>(name)?))).collect();
    if switches.is_empty() {
        return Err(Error::invalid("No valid subscription fields provided."));
    }
    let changed = set(&app, person.id, switches).await?;
    Ok(Json(Kept { data: Subscriptions::of(&changed), message: "Subscription preferences updated." }))
}

/// What a mail program calls when somebody unsubscribes with its own button (RFC 8058): mails to many end, and notices about the
/// own executions go on. Public.
#[utoipa::path(post, path = "/api/v1/unsubscribe", tag = "users", security(()), params(("token" = String, Query)),
    responses((status = 200, body = Kept), (status = 400, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn one_click(State(app): State<App>, query: Pairs) -> Result<Json<Kept>> {
    let person = person(&app, query.get("token")).await?;
    let many = SWITCHES.iter().filter(|(name, _)| *name != "automated").map(|(_, column)| (*column, false));
    let changed = set(&app, person.id, many.collect()).await?;
    Ok(Json(Kept { data: Subscriptions::of(&changed), message: "Subscription preferences updated." }))
}
