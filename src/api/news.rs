//! `/api/v1/news`: what people are told in their clients, with or without an account (contract/content-admin.md 2).

pub mod admin;
mod audience;
mod fields;
mod translations;

use axum::{Json, extract::State, http::HeaderMap};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use self::audience::Reader;
use super::{
    Data, ErrorBody, Page, data,
    extract::{path::IdPath, query::Pairs},
};
use crate::{
    app::App,
    auth::{self, Caller, bearer},
    error::{Error, Result},
    html,
    store::{
        self, Id,
        news::{Also, COLUMNS, NewsItem},
        news_translations::Translation,
        search::Column,
        users::Role,
    },
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(admin::list, admin::create))
        .routes(routes!(admin::get, admin::put, admin::patch, admin::remove))
        .routes(routes!(translations::list, translations::put))
        .routes(routes!(translations::remove))
}

#[derive(Serialize, utoipa::ToSchema)]
pub struct NewsView {
    id: Id,
    title: String,
    /// Markdown.
    message: String,
    /// The message for a browser; what could do anything there is gone.
    message_html: String,
    /// Leads to a web page or an address, or is null.
    link_url: Option<String>,
    link_text: Option<String>,
    created_at: chrono::NaiveDateTime,
    updated_at: chrono::NaiveDateTime,
    publish_at: chrono::NaiveDateTime,
    expires_at: Option<chrono::NaiveDateTime>,
    target_platforms: Vec<String>,
    target_roles: Vec<String>,
    min_version: Option<String>,
    max_version: Option<String>,
    is_active: bool,
    priority: i32,
    news_type: String,
    created_by_id: Option<Id>,
}

/// News of now, the most important first; `platform`, `version` and `lang` say who reads. A token that is bad counts as none.
#[utoipa::path(get, path = "/api/v1/news", tag = "news", security(()),
    params(("platform" = Option<String>, Query), ("version" = Option<String>, Query), ("lang" = Option<String>, Query),
        ("sort" = Option<String>, Query, description = "a field; - before it is downwards"),
        ("page" = Option<i64>, Query), ("per_page" = Option<i64>, Query)),
    responses((status = 200, body = Data<Vec<NewsView>>)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Pairs,
    headers: HeaderMap,
) -> Result<Json<Data<Vec<NewsView>>>> {
    let reader = Reader::of(&query, role(&app, caller, &headers).await);
    let items = store::news::list(&app.db, Also::default(), sort(&query), app.clock.now()).await?;
    let (shown, page) = paged(items, |item| reader.is_meant(item), &query, 20);
    let mut translations = match language(&query) {
        Some(language) => store::news_translations::into_language(&app.db, language).await?,
        None => Default::default(),
    };
    let data = shown.into_iter().map(|item| {
        let translation = translations.remove(&item.id);
        view(translated(item, translation))
    });
    Ok(Json(Data { data: data.collect(), page: Some(page) }))
}

/// One of these items. What the list does not show to the caller is not there for him.
#[utoipa::path(get, path = "/api/v1/news/{id}", tag = "news", security(()),
    params(("id" = String, Path), ("lang" = Option<String>, Query)),
    responses((status = 200, body = Data<NewsView>), (status = 404, body = ErrorBody)))]
async fn get(
    State(app): State<App>,
    caller: Caller,
    IdPath(id): IdPath,
    query: Pairs,
    headers: HeaderMap,
) -> Result<Json<Data<NewsView>>> {
    let item = find(&app, id).await?;
    let now = app.clock.now();
    let current = item.is_active && item.publish_at <= now && item.expires_at.is_none_or(|end| end > now);
    if !current || !audience::is_for_role(&item, role(&app, caller, &headers).await) {
        return Err(missing());
    }
    let translations = match language(&query) {
        Some(_) => store::news_translations::of_item(&app.db, item.id).await?,
        None => Vec::new(),
    };
    let translation = translations.into_iter().find(|one| Some(one.language_code.as_str()) == language(&query));
    Ok(data(view(translated(item, translation))))
}

fn missing() -> Error {
    Error::not_found("News item not found")
}

/// The item of an id that may be none.
async fn find(app: &App, id: Option<Id>) -> Result<NewsItem> {
    let id = id.ok_or_else(missing)?;
    store::news::find(&app.db, id).await?.ok_or_else(missing)
}

/// The role of who asks, if somebody does.
async fn role(app: &App, caller: Caller, headers: &HeaderMap) -> Option<Role> {
    let access = app.tokens.read_access(bearer(headers).ok()?, app.clock.now()).ok()?;
    auth::of_token(app, access, caller).await.ok().map(|user| user.role)
}

fn language(query: &Pairs) -> Option<&str> {
    query.get("lang").filter(|lang| !lang.is_empty() && *lang != "en")
}

/// The column that a list is to be sorted by, and whether downwards; an unknown one changes nothing.
fn sort(query: &Pairs) -> Option<(Column, bool)> {
    let text = query.get("sort")?.trim();
    let (name, down) = text.strip_prefix('-').map_or((text, false), |name| (name, true));
    COLUMNS.into_iter().find(|column| column.name == name).map(|column| (column, down))
}

/// The page that a query asks for, of the items that are meant.
fn paged(
    mut items: Vec<NewsItem>,
    is_meant: impl Fn(&NewsItem) -> bool,
    query: &Pairs,
    default: i64,
) -> (Vec<NewsItem>, Page) {
    items.retain(is_meant);
    let number =
        |key: &str| query.get(key).and_then(|text| text.trim().parse::<i64>().ok()).filter(|number| *number > 0);
    let (page, per_page) = (number("page").unwrap_or(1), number("per_page").unwrap_or(default).min(100));
    let total = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let first = usize::try_from((page - 1).saturating_mul(per_page)).unwrap_or(usize::MAX);
    let shown = items.into_iter().skip(first).take(usize::try_from(per_page).unwrap_or(100));
    (shown.collect(), Page { page, per_page, total })
}

/// The item in another language, as far as it has been translated.
fn translated(mut item: NewsItem, translation: Option<Translation>) -> NewsItem {
    if let Some(translation) = translation {
        (item.title, item.message) = (translation.title, translation.message);
        item.link_text = translation.link_text.or(item.link_text);
    }
    item
}

fn view(item: NewsItem) -> NewsView {
    NewsView {
        message_html: html::message(&item.message),
        target_platforms: audience::split(Some(&item.target_platforms)),
        target_roles: audience::split(item.target_roles.as_deref()),
        id: item.id,
        title: item.title,
        message: item.message,
        link_url: item.link_url.filter(|url| html::is_link(url)),
        link_text: item.link_text,
        created_at: item.created_at,
        updated_at: item.updated_at,
        publish_at: item.publish_at,
        expires_at: item.expires_at,
        min_version: item.min_version,
        max_version: item.max_version,
        is_active: item.is_active,
        priority: item.priority,
        news_type: item.news_type,
        created_by_id: item.created_by_id,
    }
}
