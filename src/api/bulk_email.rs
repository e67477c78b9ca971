//! `/api/v1/bulk-email`: mails to many, as drafts (contract/content-admin.md 3). The account that containers sign in with writes
//! to nobody, whatever it counts as elsewhere.

pub mod recipients;
pub mod send;

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Data, ErrorBody, Said, data,
    extract::{json::MaybeJson, path::IdPath, query::Pairs},
    said,
};
use crate::{
    app::App,
    auth::User,
    error::{Error, Result},
    html,
    json::Object,
    mail::recipients::SUBSCRIPTIONS,
    store::{
        self, Id,
        bulk_emails::{BulkEmail, Draft},
    },
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(config))
        .routes(routes!(list, create))
        .routes(routes!(get, update, remove))
        .routes(routes!(restore))
        .routes(routes!(send::verification))
        .routes(routes!(send::send))
        .routes(routes!(send::test))
        .routes(routes!(send::test_self))
        .routes(routes!(recipients::list, recipients::create))
        .routes(routes!(recipients::update, recipients::remove))
        .routes(routes!(recipients::preview))
}

/// Bytes of the text of a mail.
const MAX_HTML: usize = 1 << 20;
const MAX_NAME: usize = 200;
const MAX_SUBJECT: usize = 500;

#[derive(Serialize, utoipa::ToSchema)]
struct Settings {
    from_email: String,
    max_recipients: i64,
}

/// A mail to many.
#[derive(Serialize, utoipa::ToSchema)]
pub struct MailView {
    id: Id,
    name: String,
    subject: String,
    html_content: String,
    /// DRAFT, SENDING, SENT or FAILED.
    status: String,
    recipient_list_id: Option<Id>,
    recipient_count: Option<i32>,
    created_by: Option<String>,
    sent_by: Option<String>,
    created_at: Option<chrono::NaiveDateTime>,
    updated_at: Option<chrono::NaiveDateTime>,
    sent_at: Option<chrono::NaiveDateTime>,
    subscription_type: Option<String>,
    #[schema(value_type = Object)]
    fields_data: Option<Box<RawValue>>,
}

fn view(mail: BulkEmail) -> MailView {
    MailView {
        id: mail.id,
        name: mail.name,
        subject: mail.subject,
        html_content: html::mail(&mail.html_content),
        status: mail.status,
        recipient_list_id: mail.recipient_list_id,
        recipient_count: mail.recipient_count,
        created_by: mail.created_by,
        sent_by: mail.sent_by,
        created_at: mail.created_at,
        updated_at: mail.updated_at,
        sent_at: mail.sent_at,
        subscription_type: mail.subscription_type,
        fields_data: mail.fields_data.map(|fields| fields.0),
    }
}

/// 403 for all but a SUPERADMIN who is a person.
fn superadmin(user: &User) -> Result<()> {
    match user.is_superadmin() && !user.is_environment {
        true => Ok(()),
        false => Err(Error::Forbidden("Superadmin privileges required.".into())),
    }
}

/// The mail of a path, which may name none.
async fn find(app: &App, id: &IdPath, text: &str) -> Result<BulkEmail> {
    let mail = match id.0 {
        Some(id) => store::bulk_emails::find(&app.db, id).await?,
        None => None,
    };
    mail.ok_or_else(|| missing(text))
}

fn missing(text: &str) -> Error {
    Error::not_found(format!("Bulk email '{text}' not found."))
}

/// What mails to many are sent with. SUPERADMIN only, as everything here.
#[utoipa::path(get, path = "/api/v1/bulk-email/config", tag = "bulk mail", security(("bearerAuth" = ["account"])),
    responses((status = 200, body = Data<Settings>), (status = 403, body = ErrorBody)))]
async fn config(State(app): State<App>, user: User) -> Result<Json<Data<Settings>>> {
    superadmin(&user)?;
    let max_recipients = app.config.bulk_max_recipients;
    Ok(data(Settings { from_email: app.config.bulk_from.clone(), max_recipients }))
}

/// All mails, or those with a `status`, the newest first.
#[utoipa::path(get, path = "/api/v1/bulk-email", tag = "bulk mail", security(("bearerAuth" = ["account"])), params(("status" = Option<String>, Query)),
    responses((status = 200, body = Data<Vec<MailView>>), (status = 403, body = ErrorBody)))]
async fn list(State(app): State<App>, user: User, query: Pairs) -> Result<Json<Data<Vec<MailView>>>> {
    superadmin(&user)?;
    let status =
        query.get("status").filter(|status| !status.is_empty()).map(|status| status.to_uppercase().replace('\0', ""));
    let mails = store::bulk_emails::list(&app.db, status.as_deref()).await?;
    Ok(data(mails.into_iter().map(view).collect()))
}

/// One mail.
#[utoipa::path(get, path = "/api/v1/bulk-email/{id}", tag = "bulk mail", security(("bearerAuth" = ["account"])), params(("id" = String, Path)),
    responses((status = 200, body = Data<MailView>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
async fn get(State(app): State<App>, user: User, id: IdPath, uri: axum::http::Uri) -> Result<Json<Data<MailView>>> {
    superadmin(&user)?;
    Ok(data(view(find(&app, &id, &named(&uri)).await?)))
}

/// The id as it was written in the path, after `/api/v1/bulk-email/`.
fn named(uri: &axum::http::Uri) -> String {
    uri.path().split('/').nth(4).unwrap_or_default().to_owned()
}

/// The kind of mails that a body names; `None` if it names none.
fn subscription(body: &Object) -> Result<Option<&'static str>> {
    let said = body.get::<Value>("subscription_type").unwrap_or(Value::Null);
    let known = SUBSCRIPTIONS.iter().find(|(name, _)| said == *name).map(|(name, _)| *name);
    match known {
        None if !said.is_null() => {
            let said = said.as_str().map_or_else(|| said.to_string(), str::to_owned);
            Err(Error::invalid(format!(
                "Invalid subscription_type '{said}'. Valid values: ['engagement', 'news', 'system_updates']."
            )))
        }
        known => Ok(known),
    }
}

/// The list that a body names, which must be there; `None` if it names none.
async fn recipient_list(app: &App, body: &Object) -> Result<Option<Id>> {
    let said = match body.get::<Value>("recipient_list_id").unwrap_or(Value::Null) {
        Value::Null => return Ok(None),
        Value::String(text) => text,
        other => other.to_string(),
    };
    let list = match Id::parse(&said) {
        Some(id) => store::bulk_email_recipient_lists::find(&app.db, id).await?,
        None => None,
    };
    list.map(|list| Some(list.id)).ok_or_else(|| Error::invalid(format!("There is no recipient list '{said}'.")))
}

/// The fields that whoever made the mail keeps with it, if they are an object.
fn fields_data(body: &Object) -> Option<store::Json> {
    let raw = body.raw("fields_data").filter(|raw| raw.get().trim_start().starts_with('{'))?;
    Some(sqlx::types::Json(raw.to_owned()))
}

fn fits(name: &str, subject: &str, html: &str) -> Result<()> {
    if name.chars().count() > MAX_NAME || subject.chars().count() > MAX_SUBJECT || html.len() > MAX_HTML {
        return Err(Error::invalid(format!(
            "The mail is too long: at most {MAX_NAME} characters of name, {MAX_SUBJECT} of subject and 1 MiB of html_content."
        )));
    }
    Ok(())
}

/// Makes a draft.
#[utoipa::path(post, path = "/api/v1/bulk-email", tag = "bulk mail", security(("bearerAuth" = ["account"])), request_body = Object,
    responses((status = 201, body = Data<MailView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
async fn create(
    State(app): State<App>,
    user: User,
    request: axum::extract::Request,
) -> Result<(StatusCode, Json<Data<MailView>>)> {
    superadmin(&user)?;
    let body = MaybeJson::whatever_type(request, &app).await?.unwrap_or_default();
    let text = |name: &str| body.get::<String>(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let (Some(name), Some(subject), Some(html)) = (text("name"), text("subject"), text("html_content")) else {
        return Err(Error::invalid("name, subject, and html_content are required."));
    };
    fits(&name, &subject, &html)?;
    let (subscription, recipient_list) = (subscription(&body)?, recipient_list(&app, &body).await?);
    let (html, fields) = (html::mail(&html), fields_data(&body));
    let draft =
        Draft { name: &name, subject: &subject, html: &html, recipient_list, subscription, fields: fields.as_ref() };
    let id = Id::random();
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    store::bulk_emails::insert(&mut tx, id, &draft, user.id, now).await?;
    tx.commit().await?;
    let made = store::bulk_emails::find(&app.db, id).await?.ok_or_else(|| missing(&id.to_string()))?;
    Ok((StatusCode::CREATED, data(view(made))))
}

/// Changes a draft.
#[utoipa::path(patch, path = "/api/v1/bulk-email/{id}", tag = "bulk mail", security(("bearerAuth" = ["account"])), request_body = Object,
    params(("id" = String, Path)),
    responses((status = 202, body = Data<MailView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
async fn update(
    State(app): State<App>,
    user: User,
    id: IdPath,
    request: axum::extract::Request,
) -> Result<(StatusCode, Json<Data<MailView>>)> {
    superadmin(&user)?;
    let text = named(request.uri());
    let id = find(&app, &id, &text).await?.id;
    let body = MaybeJson::whatever_type(request, &app).await?.unwrap_or_default();
    let list = recipient_list(&app, &body).await?;
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let was = store::bulk_emails::lock(&mut tx, id).await?.ok_or_else(|| missing(&text))?;
    if was.status != "DRAFT" {
        return Err(Error::Conflict("Cannot update a bulk email that has already been sent.".into()));
    }
    let said = |name: &str, was: String| match body.is_set(name) {
        false => Ok(was),
        true => body.get::<String>(name).ok_or_else(|| Error::invalid(format!("{name} must be text."))),
    };
    let (name, subject) = (said("name", was.name)?, said("subject", was.subject)?);
    let html = said("html_content", was.html_content)?;
    fits(&name, &subject, &html)?;
    let html = html::mail(&html);
    let before = was.subscription_type;
    let subscription = if body.has("subscription_type") { subscription(&body)? } else { before.as_deref() };
    let fields = if body.has("fields_data") { fields_data(&body) } else { was.fields_data };
    let draft = Draft {
        name: &name,
        subject: &subject,
        html: &html,
        recipient_list: list.or(was.recipient_list_id),
        subscription,
        fields: fields.as_ref(),
    };
    store::bulk_emails::update(&mut tx, id, &draft, now).await?;
    let changed = store::bulk_emails::lock(&mut tx, id).await?.ok_or_else(|| missing(&text))?;
    tx.commit().await?;
    Ok((StatusCode::ACCEPTED, data(view(changed))))
}

/// Removes a draft.
#[utoipa::path(delete, path = "/api/v1/bulk-email/{id}", tag = "bulk mail", security(("bearerAuth" = ["account"])), params(("id" = String, Path)),
    responses((status = 200, body = Said), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
async fn remove(State(app): State<App>, user: User, id: IdPath, uri: axum::http::Uri) -> Result<Json<Said>> {
    superadmin(&user)?;
    let mail = find(&app, &id, &named(&uri)).await?;
    let mut tx = app.db.begin().await?;
    let gone = store::bulk_emails::delete_draft(&mut tx, mail.id).await?;
    tx.commit().await?;
    match gone {
        true => Ok(said("Bulk email deleted.")),
        false => Err(Error::Conflict("Cannot delete a bulk email that has already been sent.".into())),
    }
}

/// Makes a new draft of a mail that was sent or has failed.
#[utoipa::path(post, path = "/api/v1/bulk-email/{id}/restore-draft", tag = "bulk mail", security(("bearerAuth" = ["account"])), params(("id" = String, Path)),
    responses((status = 200, body = Data<MailView>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody), (status = 409, body = ErrorBody)))]
async fn restore(State(app): State<App>, user: User, id: IdPath, uri: axum::http::Uri) -> Result<Json<Data<MailView>>> {
    superadmin(&user)?;
    let of = find(&app, &id, &named(&uri)).await?;
    if !matches!(of.status.as_str(), "SENT" | "FAILED") {
        let status = of.status;
        return Err(Error::Conflict(format!("Cannot create a draft copy of a bulk email with status '{status}'.")));
    }
    let name: String = format!("Copy of {}", of.name).chars().take(MAX_NAME).collect();
    let draft = Draft {
        name: &name,
        subject: &of.subject,
        html: &of.html_content,
        recipient_list: None,
        subscription: of.subscription_type.as_deref(),
        fields: of.fields_data.as_ref(),
    };
    let id = Id::random();
    let mut tx = app.db.begin().await?;
    store::bulk_emails::insert(&mut tx, id, &draft, user.id, app.clock.now()).await?;
    tx.commit().await?;
    let made = store::bulk_emails::find(&app.db, id).await?.ok_or_else(|| missing(&id.to_string()))?;
    Ok(data(view(made)))
}
