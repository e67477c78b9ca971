//! `/api/v1/admin/news/{id}/translations`: news in other languages (contract/content-admin.md 2.8).

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    super::{
        Data, ErrorBody, data,
        extract::{
            json::Body,
            path::{IdPath, LanguagePath},
        },
    },
    admin::Done,
    fields::MAX_MESSAGE,
    find,
};
use crate::{
    app::App,
    auth::Admin,
    error::{Error, Result},
    html,
    store::{
        self, Id,
        news_translations::{NewTranslation, Translation},
    },
};

const LANGUAGES: [&str; 8] = ["ar", "es", "fa", "fr", "pt", "ru", "sw", "zh"];

/// Translations by their language.
pub type Languages = BTreeMap<String, TranslationView>;

#[derive(Serialize, ToSchema)]
pub struct TranslationView {
    id: Id,
    news_item_id: Id,
    language_code: String,
    title: String,
    message: String,
    message_html: String,
    link_text: Option<String>,
    is_machine_translated: bool,
    created_at: chrono::NaiveDateTime,
    updated_at: chrono::NaiveDateTime,
}

fn view(row: Translation) -> TranslationView {
    TranslationView {
        message_html: html::message(&row.message),
        id: row.id,
        news_item_id: row.news_item_id,
        language_code: row.language_code,
        title: row.title,
        message: row.message,
        link_text: row.link_text,
        is_machine_translated: row.is_machine_translated,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}

/// The translations of an item.
pub async fn of(app: &App, item: Id) -> Result<Languages> {
    let rows = store::news_translations::of_item(&app.db, item).await?;
    Ok(rows.into_iter().map(|row| (row.language_code.clone(), view(row))).collect())
}

/// The translations of an item, by language. Administrators only.
#[utoipa::path(get, path = "/api/v1/admin/news/{id}/translations", tag = "news", security(("bearerAuth" = ["user:read"])), params(("id" = String, Path)),
    responses((status = 200, body = Data<Object>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn list(State(app): State<App>, _: Admin, IdPath(id): IdPath) -> Result<Json<Data<Languages>>> {
    let item = find(&app, id).await?;
    Ok(data(of(&app, item.id).await?))
}

/// What is to become of a language.
enum Change {
    Remove,
    Put { title: String, message: String, link_text: Option<String>, is_machine_translated: bool },
}

/// Reads the translations of a body: null removes one, what is absent stays.
fn read(body: &crate::json::Object) -> Result<Vec<(String, Change)>> {
    let required = || Error::invalid("translations object required");
    let sent: serde_json::Map<String, Value> = body.get("translations").ok_or_else(required)?;
    if sent.is_empty() {
        return Err(required());
    }
    sent.into_iter().map(|(language, value)| change(&language, &value).map(|change| (language, change))).collect()
}

fn change(language: &str, value: &Value) -> Result<Change> {
    if !LANGUAGES.contains(&language) {
        let known = LANGUAGES.join(", ");
        return Err(Error::invalid(format!("Unsupported language: {language}. Supported: {known}")));
    }
    let fields = match value {
        Value::Null => return Ok(Change::Remove),
        Value::Object(fields) => fields,
        _ => return Err(Error::invalid(format!("The {language} translation must be an object, or null"))),
    };
    let text = |name: &str, longest: usize| -> Result<Option<String>> {
        match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= longest => {
                Ok(Some(text.clone()).filter(|text| !text.is_empty()))
            }
            Some(_) => Err(Error::invalid(format!(
                "{name} of the {language} translation must be text of at most {longest} characters"
            ))),
        }
    };
    let needed = |name: &str| Error::invalid(format!("{name} is required for {language} translation"));
    let is_machine_translated = match fields.get("is_machine_translated") {
        None | Some(Value::Null) => true,
        Some(Value::Bool(flag)) => *flag,
        Some(_) => {
            return Err(Error::invalid(format!(
                "is_machine_translated of the {language} translation must be true or false"
            )));
        }
    };
    Ok(Change::Put {
        title: text("title", 255)?.ok_or_else(|| needed("title"))?,
        message: text("message", MAX_MESSAGE)?.ok_or_else(|| needed("message"))?,
        link_text: text("link_text", 100)?,
        is_machine_translated,
    })
}

/// Stores and removes translations, all or none; what is not named stays. Administrators only.
#[utoipa::path(put, path = "/api/v1/admin/news/{id}/translations", tag = "news", security(("bearerAuth" = ["user:write"])), request_body = Object,
    params(("id" = String, Path)),
    responses((status = 200, body = Data<Object>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn put(
    State(app): State<App>,
    _: Admin,
    IdPath(id): IdPath,
    Body(body): Body,
) -> Result<Json<Data<Languages>>> {
    let item = find(&app, id).await?;
    let changes = read(&body)?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    for (language, change) in &changes {
        match change {
            Change::Remove => drop(store::news_translations::delete(&mut tx, item.id, language).await?),
            Change::Put { title, message, link_text, is_machine_translated } => {
                let link_text = link_text.as_deref();
                let is_machine_translated = *is_machine_translated;
                let new = NewTranslation { language, title, message, link_text, is_machine_translated };
                store::news_translations::put(&mut tx, item.id, &new, now).await?;
            }
        }
    }
    tx.commit().await?;
    Ok(data(of(&app, item.id).await?))
}

/// Removes a translation. Administrators only.
#[utoipa::path(delete, path = "/api/v1/admin/news/{id}/translations/{language}", tag = "news", security(("bearerAuth" = ["user:write"])),
    params(("id" = String, Path), ("language" = String, Path)),
    responses((status = 200, body = Done), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn remove(
    State(app): State<App>,
    _: Admin,
    IdPath(id): IdPath,
    LanguagePath(language): LanguagePath,
) -> Result<Json<Done>> {
    let mut tx = app.db.begin().await?;
    let gone = match id {
        Some(id) => store::news_translations::delete(&mut tx, id, &language).await?,
        None => false,
    };
    tx.commit().await?;
    if gone {
        Ok(Json(Done { message: "Translation deleted", status: "success" }))
    } else {
        Err(Error::not_found("Translation not found"))
    }
}
