//! `/api/v1/bulk-email/recipient-list`: who mails to many go to (contract/content-admin.md 3.1).

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};

use super::{
    super::{
        Data, ErrorBody, Said, data,
        extract::{json::MaybeJson, path::IdPath},
        said,
    },
    superadmin,
};
use crate::{
    app::App,
    auth::User,
    error::{Error, Result},
    json::Object,
    mail::recipients,
    store::{
        self, Id,
        bulk_email_recipient_lists::{NewList, RecipientList},
        search::Column,
        users::COLUMNS,
    },
};

const MAX_NAME: usize = 200;
const MAX_DESCRIPTION: usize = 10_000;
/// What a preview can be sorted by.
const SORTS: [&str; 6] = ["email", "name", "role", "email_verified", "created_at", "last_activity_at"];

/// A list.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ListView {
    id: Id,
    name: String,
    description: Option<String>,
    #[schema(value_type = Object)]
    filter_criteria: Box<RawValue>,
    /// How many accounts it was when the list was made or changed.
    estimated_count: Option<i32>,
    #[serde(flatten)]
    origin: Option<Origin>,
}

/// Who made it and when: what a change does not answer.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Origin {
    created_by: Option<String>,
    created_at: Option<chrono::NaiveDateTime>,
}

fn view(list: RecipientList, whole: bool) -> ListView {
    let origin = whole.then_some(Origin { created_by: list.created_by, created_at: list.created_at });
    ListView {
        id: list.id,
        name: list.name,
        description: list.description,
        filter_criteria: list.filter_criteria.0,
        estimated_count: list.estimated_count,
        origin,
    }
}

/// One account of a preview.
#[derive(Serialize, utoipa::ToSchema)]
struct Person {
    id: Id,
    email: String,
    name: String,
    role: Option<String>,
    email_verified: Option<bool>,
    created_at: Option<chrono::NaiveDateTime>,
    last_activity_at: Option<chrono::NaiveDateTime>,
}

/// Accounts that criteria mean.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Preview {
    sample: Vec<Person>,
    total: i64,
}

/// All lists, the newest first. SUPERADMIN only.
#[utoipa::path(get, path = "/api/v1/bulk-email/recipient-list", tag = "bulk mail", security(("bearerAuth" = ["account"])),
    responses((status = 200, body = Data<Vec<ListView>>), (status = 403, body = ErrorBody)))]
pub async fn list(State(app): State<App>, user: User) -> Result<Json<Data<Vec<ListView>>>> {
    superadmin(&user)?;
    let lists = store::bulk_email_recipient_lists::list(&app.db).await?;
    Ok(data(lists.into_iter().map(|list| view(list, true)).collect()))
}

/// The criteria of a body, an object; without any, everybody.
fn criteria(body: &Object) -> Result<Map<String, Value>> {
    match body.get::<Value>("filter_criteria").unwrap_or(Value::Null) {
        Value::Null => Ok(Map::new()),
        Value::Object(criteria) => Ok(criteria),
        _ => Err(Error::invalid("filter_criteria must be an object.")),
    }
}

fn named(body: &Object, empty: &str) -> Result<String> {
    let name = body.get::<String>("name").map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| Error::invalid(empty))?;
    if name.chars().count() > MAX_NAME {
        return Err(Error::invalid(format!("name has more than {MAX_NAME} characters.")));
    }
    Ok(name)
}

fn described(body: &Object) -> Result<Option<String>> {
    let wrong = || Error::invalid(format!("description must be text of at most {MAX_DESCRIPTION} characters."));
    match body.get::<Value>("description").unwrap_or(Value::Null) {
        Value::Null => Ok(None),
        Value::String(text) if text.chars().count() <= MAX_DESCRIPTION => Ok(Some(text)),
        _ => Err(wrong()),
    }
}

fn raw(criteria: &Map<String, Value>) -> Result<store::Json> {
    let raw = serde_json::value::to_raw_value(criteria).map_err(|error| Error::Internal(error.into()))?;
    Ok(sqlx::types::Json(raw))
}

fn missing(id: &str) -> Error {
    Error::not_found(format!("Recipient list '{id}' not found."))
}

/// Makes a list.
#[utoipa::path(post, path = "/api/v1/bulk-email/recipient-list", tag = "bulk mail", security(("bearerAuth" = ["account"])), request_body = Object,
    responses((status = 201, body = Data<ListView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn create(
    State(app): State<App>,
    user: User,
    request: axum::extract::Request,
) -> Result<(StatusCode, Json<Data<ListView>>)> {
    superadmin(&user)?;
    let body = MaybeJson::whatever_type(request, &app).await?.unwrap_or_default();
    let (name, description) = (named(&body, "name is required.")?, described(&body)?);
    let criteria = criteria(&body)?;
    let count = store::users::count(&app.db, &recipients::search(&criteria)?).await?;
    let new = NewList { name: &name, description: description.as_deref(), criteria: &raw(&criteria)?, count };
    let id = Id::random();
    let mut tx = app.db.begin().await?;
    store::bulk_email_recipient_lists::insert(&mut tx, id, &new, user.id, app.clock.now()).await?;
    tx.commit().await?;
    let made = store::bulk_email_recipient_lists::find(&app.db, id).await?.ok_or_else(|| missing(&id.to_string()))?;
    Ok((StatusCode::CREATED, data(view(made, false))))
}

/// The list of a path, which may name none.
async fn find(app: &App, id: IdPath, uri: &axum::http::Uri) -> Result<RecipientList> {
    let text = uri.path().split('/').nth(5).unwrap_or_default();
    let found = match id.0 {
        Some(id) => store::bulk_email_recipient_lists::find(&app.db, id).await?,
        None => None,
    };
    found.ok_or_else(|| missing(text))
}

/// Changes a list.
#[utoipa::path(patch, path = "/api/v1/bulk-email/recipient-list/{id}", tag = "bulk mail", security(("bearerAuth" = ["account"])), request_body = Object,
    params(("id" = String, Path)),
    responses((status = 200, body = Data<ListView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn update(
    State(app): State<App>,
    user: User,
    id: IdPath,
    request: axum::extract::Request,
) -> Result<Json<Data<ListView>>> {
    superadmin(&user)?;
    let was = find(&app, id, request.uri()).await?;
    let body = MaybeJson::whatever_type(request, &app).await?.unwrap_or_default();
    let name = if body.has("name") { named(&body, "name cannot be empty.")? } else { was.name };
    let description = if body.has("description") { described(&body)? } else { was.description };
    let (criteria, count) = match body.is_set("filter_criteria") {
        true => {
            let criteria = criteria(&body)?;
            let count = store::users::count(&app.db, &recipients::search(&criteria)?).await?;
            (raw(&criteria)?, count)
        }
        false => (was.filter_criteria, was.estimated_count.unwrap_or(0).into()),
    };
    let new = NewList { name: &name, description: description.as_deref(), criteria: &criteria, count };
    let mut tx = app.db.begin().await?;
    let there = store::bulk_email_recipient_lists::update(&mut tx, was.id, &new, app.clock.now()).await?;
    tx.commit().await?;
    let changed = store::bulk_email_recipient_lists::find(&app.db, was.id).await?.filter(|_| there);
    Ok(data(view(changed.ok_or_else(|| missing(&was.id.to_string()))?, false)))
}

/// Removes a list; drafts that name it go to nobody.
#[utoipa::path(delete, path = "/api/v1/bulk-email/recipient-list/{id}", tag = "bulk mail", security(("bearerAuth" = ["account"])), params(("id" = String, Path)),
    responses((status = 200, body = Said), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn remove(State(app): State<App>, user: User, id: IdPath, uri: axum::http::Uri) -> Result<Json<Said>> {
    superadmin(&user)?;
    let list = find(&app, id, &uri).await?;
    let mut tx = app.db.begin().await?;
    let gone = store::bulk_email_recipient_lists::delete(&mut tx, list.id).await?;
    tx.commit().await?;
    if gone { Ok(said("Recipient list deleted.")) } else { Err(missing(&list.id.to_string())) }
}

/// A page of the accounts that criteria mean, whatever they subscribe to: `filter_criteria`, `page`, `per_page` (at most 200), `sort`.
#[utoipa::path(post, path = "/api/v1/bulk-email/recipient-list/preview", tag = "bulk mail", security(("bearerAuth" = ["account"])), request_body = Object,
    responses((status = 200, body = Data<Preview>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn preview(
    State(app): State<App>,
    user: User,
    request: axum::extract::Request,
) -> Result<Json<Data<Preview>>> {
    superadmin(&user)?;
    let body = MaybeJson::whatever_type(request, &app).await?.unwrap_or_default();
    let mut search = recipients::search(&criteria(&body)?)?;
    let total = store::users::count(&app.db, &search).await?;
    search.sort = sorts(&body.get::<String>("sort").unwrap_or_default());
    let number = |name: &str, default: i64| body.get::<i64>(name).unwrap_or(default);
    let (page, per_page) = (number("page", 1).max(1), number("per_page", 100).min(200));
    if per_page < 0 {
        return Err(Error::invalid("per_page must be a number from 0 to 200."));
    }
    let people = store::users::search(&app.db, &search, (per_page, (page - 1).saturating_mul(per_page))).await?;
    let sample = people.into_iter().map(|person| Person {
        id: person.id,
        email: person.email,
        name: person.name,
        role: person.role,
        email_verified: person.email_verified,
        created_at: person.created_at,
        last_activity_at: person.last_activity_at,
    });
    Ok(data(Preview { sample: sample.collect(), total }))
}

/// `name desc, email`: the columns that are known, else the address.
fn sorts(text: &str) -> Vec<(Column, bool)> {
    let column = |name: &str| {
        let name = SORTS.into_iter().find(|known| *known == name)?;
        COLUMNS.into_iter().find(|column| column.name == name)
    };
    let mut sorts: Vec<(Column, bool)> = text
        .split(',')
        .filter_map(|part| {
            let mut words = part.split_whitespace();
            let column = column(&words.next()?.to_lowercase())?;
            Some((column, words.next().is_some_and(|word| word.eq_ignore_ascii_case("desc"))))
        })
        .take(4)
        .collect();
    if sorts.is_empty() {
        sorts.extend(column("email").map(|column| (column, false)));
    }
    sorts
}
