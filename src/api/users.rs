//! `/api/v1/user…`: people and their profiles (contract/auth-users.md 7).

mod export;
mod me;
mod passwords;
pub mod recovery;

use std::collections::HashMap;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Data, Page, data,
    extract::{filter, json, page::Asked, path::UserPath, query::Pairs},
    scripts::ScriptView,
    value, words,
};
use crate::{
    account::{self, fields},
    app::App,
    auth::{Admin, Caller, Superadmin, User},
    error::{Error, Result},
    store::{
        self, Id,
        search::Search,
        users::{Profile, Role},
    },
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(export::people))
        .routes(routes!(me::get, me::update, me::remove))
        .routes(routes!(me::webhook_secret))
        .routes(routes!(export::person))
        .routes(routes!(passwords::change_own))
        .routes(routes!(get, update, remove))
        .routes(routes!(passwords::change))
        .routes(routes!(recovery::request))
        .routes(routes!(recovery::reset))
}

/// Rows that are read and sent at one time of a list without pages.
const CHUNK: i64 = 500;
/// What this server shows of an account beside the existing one.
const MARKS: [&str; 3] = ["is_plugin_user", "is_in_mailing_list", "deleted"];
/// Scripts and executions that are shown of a person.
const NEWEST: i64 = 100;

/// People for an answer: what `include` adds, what `exclude` takes away.
async fn views(
    app: &App,
    admin: &User,
    people: Vec<Profile>,
    include: &[&str],
    exclude: &[&str],
) -> Result<Vec<Value>> {
    let ids: Vec<Id> = people.iter().map(|person| person.id).collect();
    let wants = |name: &str| include.contains(&name);
    let mut connections = HashMap::new();
    if wants("google_groups") || wants("gee_credentials") || wants("openeo_credentials") {
        let rows = store::users::connections(&app.db, &ids).await?;
        connections.extend(rows.into_iter().map(|row| (row.id, row)));
    }
    let mut scripts: HashMap<Id, Vec<Value>> = HashMap::new();
    if wants("scripts") {
        for script in store::scripts::newest_of(&app.db, &ids, NEWEST).await? {
            let Some(owner) = script.user_id else { continue };
            scripts.entry(owner).or_default().push(value(ScriptView::of(&script, false))?);
        }
    }
    let mut executions: HashMap<Id, Vec<Value>> = HashMap::new();
    if wants("executions") {
        let rows = store::executions::newest_of(&app.db, &ids, NEWEST).await?;
        for view in super::executions::views(app, Some(admin), rows, &super::executions::Shown::default()).await? {
            let Some(owner) = view.user_id else { continue };
            executions.entry(owner).or_default().push(value(view)?);
        }
    }
    let mut views = Vec::with_capacity(people.len());
    for person in people {
        let id = person.id;
        let mut view = value(person)?;
        if let Some(row) = connections.get(&id) {
            if wants("google_groups") {
                view["google_groups"] = json!({"trends_earth_users": row.google_groups_trends_earth_users,
                    "trendsearth": row.google_groups_trendsearth, "registration_status": row.google_groups_registration_status,
                    "last_sync": row.google_groups_last_sync});
            }
            if wants("gee_credentials") {
                let project =
                    row.gee_cloud_project.as_ref().filter(|_| row.gee_credentials_type.as_deref() == Some("oauth"));
                view["gee_credentials"] = json!({"has_credentials": row.gee_credentials_type.is_some(),
                    "credentials_type": row.gee_credentials_type, "created_at": row.gee_credentials_created_at, "cloud_project": project});
            }
            if wants("openeo_credentials") {
                view["openeo_credentials"] = json!({"has_credentials": row.has_openeo_credentials});
            }
        }
        if wants("scripts") {
            view["scripts"] = json!(scripts.remove(&id).unwrap_or_default());
        }
        if wants("executions") {
            view["executions"] = json!(executions.remove(&id).unwrap_or_default());
        }
        if let Some(object) = view.as_object_mut() {
            object.retain(|key, _| !exclude.contains(&key.as_str()));
            // A list without addresses is meant to be small: our own marks go too.
            if exclude.contains(&"email") {
                object.retain(|key, _| !MARKS.contains(&key.as_str()));
            }
        }
        views.push(view);
    }
    Ok(views)
}

/// People: a page of them, else all, newest first. Administrators only.
#[utoipa::path(get, path = "/api/v1/user", tag = "users", security(("bearerAuth" = ["user:read"])),
    params(("page" = Option<i64>, Query), ("per_page" = Option<i64>, Query), ("filter" = Option<String>, Query), ("sort" = Option<String>, Query),
        ("include" = Option<String>, Query), ("exclude" = Option<String>, Query)),
    responses((status = 200, body = Data<Vec<Profile>>), (status = 403, body = super::ErrorBody)))]
async fn list(State(app): State<App>, Admin(admin): Admin, query: Pairs) -> Result<Response> {
    let search = filter::read(&query, &store::users::COLUMNS)?;
    let headers = filter::headers(&search);
    let (include, exclude) = (words(query.get("include")), words(query.get("exclude")));
    let Some(asked) = Asked::read(query.get("page"), query.get("per_page")) else {
        return everybody(app, admin, search, headers, &include, &exclude).await;
    };
    let people = store::users::search(&app.db, &search, asked.window()).await?;
    let total = store::users::count(&app.db, &search).await?;
    let page = Page { page: asked.page, per_page: asked.per_page, total };
    let data = views(&app, &admin, people, &include, &exclude).await?;
    Ok((headers, Json(Data { data, page: Some(page) })).into_response())
}

/// The whole list, read and sent piece by piece, so that it costs the same memory however long it is.
async fn everybody(
    app: App,
    admin: User,
    search: Search,
    headers: HeaderMap,
    include: &[&str],
    exclude: &[&str],
) -> Result<Response> {
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let (include, exclude) = (own(include), own(exclude));
    let piece = move |offset: i64| {
        let (app, admin, search, include, exclude) =
            (app.clone(), admin.clone(), search.clone(), include.clone(), exclude.clone());
        async move {
            let people = store::users::search(&app.db, &search, (CHUNK, offset)).await?;
            let last = i64::try_from(people.len()).unwrap_or(CHUNK) < CHUNK;
            let include: Vec<&str> = include.iter().map(String::as_str).collect();
            let exclude: Vec<&str> = exclude.iter().map(String::as_str).collect();
            let rows = views(&app, &admin, people, &include, &exclude).await?;
            let mut text = String::from(if offset == 0 { "{\"data\":[" } else { "" });
            for (i, row) in rows.iter().enumerate() {
                if offset > 0 || i > 0 {
                    text.push(',');
                }
                text.push_str(&row.to_string());
            }
            if last {
                text.push_str("]}");
            }
            Ok::<_, Error>((Bytes::from(text), (!last).then_some(offset + CHUNK)))
        }
    };
    // The first piece is read before the answer begins: what fails so far is an error like any other.
    let (first, next) = piece(0).await?;
    let rest = futures::stream::try_unfold(next, move |next| {
        let read = next.map(&piece);
        async move {
            match read {
                None => Ok(None),
                Some(read) => read.await.map(Some),
            }
        }
    });
    let rest = futures::TryStreamExt::map_err(rest, |error| std::io::Error::other(format!("{error:?}")));
    let body = futures::StreamExt::chain(futures::stream::once(async { Ok(first) }), rest);
    let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((json, headers, Body::from_stream(body)).into_response())
}

/// Registers a person, who gets a link for the password. Public; a SUPERADMIN may give a role.
#[utoipa::path(post, path = "/api/v1/user", tag = "users", security((), ("bearerAuth" = ["user:write"])), request_body = Object,
    responses((status = 200, body = Data<Profile>), (status = 400, body = super::ErrorBody), (status = 403, body = super::ErrorBody)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    by: Result<User>,
    json::Body(body): json::Body,
) -> Result<Json<Data<Profile>>> {
    let registration = fields::registration(&body)?;
    // A token that is no good counts as none: the old web app sends one before anybody has signed in.
    let by = match by {
        Ok(user) => Some(user),
        Err(Error::Token(_) | Error::SignIn { .. }) => None,
        Err(error) => return Err(error),
    };
    let caller = by.as_ref().map_or(caller, |user| user.caller.clone());
    Ok(data(account::register::register(&app, by.as_ref(), &caller, registration).await?))
}

/// The account of a path.
async fn find(app: &App, path: &UserPath) -> Result<Profile> {
    store::users::find(&app.db, &path.key).await?.ok_or_else(|| path.missing())
}

/// One person. Administrators only.
#[utoipa::path(get, path = "/api/v1/user/{user}", tag = "users", security(("bearerAuth" = ["user:read"])),
    params(("user" = String, Path), ("include" = Option<String>, Query), ("exclude" = Option<String>, Query)),
    responses((status = 200, body = Data<Profile>), (status = 403, body = super::ErrorBody), (status = 404, body = super::ErrorBody)))]
async fn get(State(app): State<App>, Admin(admin): Admin, path: UserPath, query: Pairs) -> Result<Json<Data<Value>>> {
    let person = find(&app, &path).await?;
    let (include, exclude) = (words(query.get("include")), words(query.get("exclude")));
    let mut views = views(&app, &admin, vec![person], &include, &exclude).await?;
    Ok(data(views.pop().unwrap_or_default()))
}

/// Changes a profile, the role, the limit of active runs. SUPERADMIN only.
#[utoipa::path(patch, path = "/api/v1/user/{user}", tag = "users", security(("bearerAuth" = ["user:write"])), params(("user" = String, Path)),
    request_body = Object,
    responses((status = 200, body = Data<Profile>), (status = 400, body = super::ErrorBody), (status = 403, body = super::ErrorBody), (status = 404, body = super::ErrorBody)))]
async fn update(
    State(app): State<App>,
    user: User,
    path: UserPath,
    json::Body(body): json::Body,
) -> Result<Json<Data<Profile>>> {
    if !body.is_object() {
        return Err(json::not_an_object());
    }
    let (mut changes, role) = fields::changes(&body, fields::Way::Update)?;
    if !user.is_superadmin() {
        return Err(Error::forbidden());
    }
    let person = find(&app, &path).await?;
    let now = app.clock.now();
    let before = Role::of(person.role.as_deref());
    let mut tx = app.db.begin().await?;
    if let Some(role) = role.filter(|role| *role != before) {
        if before == Role::Superadmin && store::users::superadmins(&mut tx).await? < 2 {
            return Err(Error::Conflict("The last SUPERADMIN keeps the role; give it to somebody else first.".into()));
        }
        store::users::set_role(&mut tx, person.id, role, now).await?;
        let act = user.caller.did("user.role_changed", "user", &person.id);
        let act = act.with(&json!({"from": before.as_str(), "to": role.as_str()}));
        store::audit::insert(&mut tx, &act, now).await?;
    }
    if !changes.0.is_empty() {
        let names: Vec<&str> = changes.0.iter().map(|(column, _)| *column).collect();
        let act = user.caller.did("user.changed", "user", &person.id).with(&json!({"fields": names}));
        store::audit::insert(&mut tx, &act, now).await?;
    }
    me::note_consent(&mut changes, now);
    store::users::update(&mut tx, person.id, &changes, now).await?;
    let changed = store::users::profile_within(&mut tx, person.id).await?.ok_or_else(|| path.missing())?;
    tx.commit().await?;
    Ok(data(changed))
}

/// Deletes an account with what is its own. SUPERADMIN only.
#[utoipa::path(delete, path = "/api/v1/user/{user}", tag = "users", security(("bearerAuth" = ["user:write"])), params(("user" = String, Path)),
    responses((status = 200, body = Data<Profile>), (status = 403, body = super::ErrorBody), (status = 404, body = super::ErrorBody), (status = 409, body = super::ErrorBody)))]
async fn remove(State(app): State<App>, Superadmin(user): Superadmin, path: UserPath) -> Result<Json<Data<Profile>>> {
    if crate::auth::is_environment(&app, &path.text) {
        return Err(Error::forbidden());
    }
    let person = find(&app, &path).await?;
    account::erase::erase(&app, &user, &person).await?;
    Ok(data(person))
}
