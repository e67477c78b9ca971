//! `/api/v1/admin/news`: news for those who write it. They see every item, also what is scheduled, over, or for one role.

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    super::{
        Data, ErrorBody, data,
        extract::{json::Body, path::IdPath, query::Pairs},
    },
    NewsView,
    audience::Reader,
    fields, find, missing, paged, sort,
    translations::{self, Languages},
    view,
};
use crate::{
    app::App,
    auth::Admin,
    error::Result,
    json::Object,
    store::{self, Id, news::Also, search::Value},
};

/// An item with its translations.
#[derive(Serialize, ToSchema)]
pub struct Whole {
    #[serde(flatten)]
    item: NewsView,
    translations: Languages,
}

/// What became of it.
#[derive(Serialize, ToSchema)]
pub struct Done {
    pub message: &'static str,
    pub status: &'static str,
}

/// Every item, the most important first. Administrators only.
#[utoipa::path(get, path = "/api/v1/admin/news", tag = "news", security(("bearerAuth" = ["user:read"])),
    params(("platform" = Option<String>, Query), ("version" = Option<String>, Query), ("sort" = Option<String>, Query),
        ("include_inactive" = Option<bool>, Query), ("include_expired" = Option<bool>, Query),
        ("page" = Option<i64>, Query), ("per_page" = Option<i64>, Query)),
    responses((status = 200, body = Data<Vec<NewsView>>), (status = 403, body = ErrorBody)))]
pub async fn list(State(app): State<App>, _: Admin, query: Pairs) -> Result<Json<Data<Vec<NewsView>>>> {
    let on = |key: &str| query.get(key).is_none() || query.is_on(key);
    let also = Also { inactive: on("include_inactive"), scheduled: true, expired: on("include_expired") };
    let items = store::news::list(&app.db, also, sort(&query), app.clock.now()).await?;
    let reader = Reader::of(&query, None);
    let (shown, page) = paged(items, |item| reader.fits(item), &query, 50);
    Ok(Json(Data { data: shown.into_iter().map(view).collect(), page: Some(page) }))
}

/// An item with its translations. Administrators only.
#[utoipa::path(get, path = "/api/v1/admin/news/{id}", tag = "news", security(("bearerAuth" = ["user:read"])), params(("id" = String, Path)),
    responses((status = 200, body = Whole), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn get(State(app): State<App>, _: Admin, IdPath(id): IdPath) -> Result<Json<Whole>> {
    let item = find(&app, id).await?;
    let translations = translations::of(&app, item.id).await?;
    Ok(Json(Whole { item: view(item), translations }))
}

/// Makes an item; it is shown from `publish_at` on, which is now if nothing is said. Administrators only.
#[utoipa::path(post, path = "/api/v1/admin/news", tag = "news", security(("bearerAuth" = ["user:write"])), request_body = Object,
    responses((status = 201, body = Data<NewsView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
pub async fn create(
    State(app): State<App>,
    Admin(admin): Admin,
    Body(body): Body,
) -> Result<(StatusCode, Json<Data<NewsView>>)> {
    let now = app.clock.now();
    let mut fields = fields::of_new(&body, now)?;
    fields.push(("created_by_id", Some(Value::Id(admin.id))));
    let mut tx = app.db.begin().await?;
    let item = store::news::insert(&mut tx, Id::random(), &fields, now).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, data(view(item))))
}

/// Changes fields of an item. Administrators only.
#[utoipa::path(put, path = "/api/v1/admin/news/{id}", tag = "news", security(("bearerAuth" = ["user:write"])), request_body = Object,
    params(("id" = String, Path)),
    responses((status = 200, body = Data<NewsView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn put(app: State<App>, admin: Admin, id: IdPath, Body(body): Body) -> Result<Json<Data<NewsView>>> {
    change(app, admin, id, &body).await
}

/// The same.
#[utoipa::path(patch, path = "/api/v1/admin/news/{id}", tag = "news", security(("bearerAuth" = ["user:write"])), request_body = Object,
    params(("id" = String, Path)),
    responses((status = 200, body = Data<NewsView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn patch(app: State<App>, admin: Admin, id: IdPath, Body(body): Body) -> Result<Json<Data<NewsView>>> {
    change(app, admin, id, &body).await
}

async fn change(State(app): State<App>, _: Admin, IdPath(id): IdPath, body: &Object) -> Result<Json<Data<NewsView>>> {
    let fields = fields::of_change(body)?;
    let item = match id {
        None => None,
        Some(_) if fields.is_empty() => Some(find(&app, id).await?),
        Some(id) => {
            let mut tx = app.db.begin().await?;
            let item = store::news::update(&mut tx, id, &fields, app.clock.now()).await?;
            tx.commit().await?;
            item
        }
    };
    Ok(data(view(item.ok_or_else(missing)?)))
}

/// Removes an item with its translations. Administrators only.
#[utoipa::path(delete, path = "/api/v1/admin/news/{id}", tag = "news", security(("bearerAuth" = ["user:write"])), params(("id" = String, Path)),
    responses((status = 200, body = Done), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn remove(State(app): State<App>, _: Admin, IdPath(id): IdPath) -> Result<Json<Done>> {
    let mut tx = app.db.begin().await?;
    let gone = match id {
        Some(id) => store::news::delete(&mut tx, id).await?,
        None => false,
    };
    tx.commit().await?;
    if gone { Ok(Json(Done { message: "News item deleted", status: "success" })) } else { Err(missing()) }
}
