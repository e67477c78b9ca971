//! `/api/v1/news`: what people are told in their clients, with or without an account (contract/content-admin.md 2).

use std::cmp::Ordering;

use axum::{Json, extract::State, http::HeaderMap};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag};
use serde::Serialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Data, Page, extract::query::Pairs};
use crate::{
    app::App,
    auth::{self, Caller, bearer},
    error::Result,
    store::{self, Id, news::NewsItem, users::Role},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

#[derive(Serialize, utoipa::ToSchema)]
struct NewsView {
    id: Id,
    title: String,
    /// Markdown.
    message: String,
    /// The message for a browser; what is HTML in it is shown as text.
    message_html: String,
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
    params(("platform" = Option<String>, Query), ("version" = Option<String>, Query), ("lang" = Option<String>, Query), ("page" = Option<i64>, Query), ("per_page" = Option<i64>, Query)),
    responses((status = 200, body = Data<Vec<NewsView>>)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Pairs,
    headers: HeaderMap,
) -> Result<Json<Data<Vec<NewsView>>>> {
    let role = role(&app, caller, &headers).await;
    let mut items = store::news::current(&app.db, app.clock.now()).await?;
    if let Some(platform) = query.get("platform").filter(|platform| !platform.is_empty()) {
        items.retain(|item| item.target_platforms.contains(platform));
    }
    let number = |key: &str, default: i64| query.get(key).and_then(|text| text.trim().parse().ok()).unwrap_or(default);
    let (page, per_page) = (number("page", 1), number("per_page", 20));
    let total = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let size = if per_page < 1 { 20 } else { per_page.min(100) };
    let first = usize::try_from((page.max(1) - 1).saturating_mul(size)).unwrap_or(usize::MAX);
    let shown = items.into_iter().skip(first).take(usize::try_from(size).unwrap_or(20));
    let shown = shown.filter(|item| is_for_role(item, role) && is_for_version(item, query.get("version")));
    let mut translations = match query.get("lang").filter(|lang| !lang.is_empty() && *lang != "en") {
        Some(language) => store::news::translations(&app.db, language).await?,
        None => Default::default(),
    };
    let data = shown.map(|mut item| {
        if let Some(translation) = translations.remove(&item.id) {
            (item.title, item.message) = (translation.title, translation.message);
            item.link_text = translation.link_text.or(item.link_text);
        }
        view(item)
    });
    Ok(Json(Data { data: data.collect(), page: Some(Page { page, per_page, total }) }))
}

/// The role of who asks, if somebody does.
async fn role(app: &App, caller: Caller, headers: &HeaderMap) -> Option<Role> {
    let access = app.tokens.read_access(bearer(headers).ok()?, app.clock.now()).ok()?;
    auth::of_token(app, access, caller).await.ok().map(|user| user.role)
}

fn list_of(text: Option<&str>) -> Vec<String> {
    text.filter(|text| !text.is_empty()).map_or_else(Vec::new, |text| text.split(',').map(str::to_owned).collect())
}

fn is_for_role(item: &NewsItem, role: Option<Role>) -> bool {
    let roles = list_of(item.target_roles.as_deref());
    roles.is_empty() || role.is_some_and(|role| roles.iter().any(|name| name == role.as_str()))
}

/// Whether a client of this version is meant. One that says nothing, or what cannot be compared, is.
fn is_for_version(item: &NewsItem, version: Option<&str>) -> bool {
    let Some(version) = version.and_then(numbers) else { return true };
    let bound = |text: &Option<String>| text.as_deref().and_then(numbers);
    bound(&item.min_version).is_none_or(|least| compare(&least, &version) != Ordering::Greater)
        && bound(&item.max_version).is_none_or(|most| compare(&version, &most) != Ordering::Greater)
}

/// `2.10.1` as numbers.
fn numbers(version: &str) -> Option<Vec<u64>> {
    version.trim().trim_start_matches('v').split('.').map(|part| part.parse().ok()).collect()
}

/// Versions as numbers: `2.1` is `2.1.0`.
fn compare(a: &[u64], b: &[u64]) -> Ordering {
    let at = |numbers: &[u64], i: usize| numbers.get(i).copied().unwrap_or(0);
    (0..a.len().max(b.len())).map(|i| at(a, i).cmp(&at(b, i))).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn view(item: NewsItem) -> NewsView {
    NewsView {
        message_html: html(&item.message),
        target_platforms: list_of(Some(&item.target_platforms)),
        target_roles: list_of(item.target_roles.as_deref()),
        id: item.id,
        title: item.title,
        message: item.message,
        link_url: item.link_url,
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

/// Markdown as HTML that does nothing: HTML in it becomes text, links lead to web pages and addresses only, a line feed is
/// a line.
fn html(markdown: &str) -> String {
    let safe = |url: &CowStr| ["https://", "http://", "mailto:"].iter().any(|start| url.starts_with(start));
    let parser = Parser::new_ext(markdown, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES);
    let events = parser.map(|event| match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::SoftBreak => Event::HardBreak,
        Event::Start(Tag::Link { link_type, dest_url, title, id }) if !safe(&dest_url) => {
            drop(dest_url);
            Event::Start(Tag::Link { link_type, dest_url: "#".into(), title, id })
        }
        Event::Start(Tag::Image { link_type, dest_url, title, id }) if !safe(&dest_url) => {
            drop(dest_url);
            Event::Start(Tag::Image { link_type, dest_url: "#".into(), title, id })
        }
        other => other,
    });
    let mut out = String::new();
    pulldown_cmark::html::push_html(&mut out, events);
    out.trim_end().to_owned()
}
