//! `POST /email`: mail in the name of the installation, for the programs that ran beside the first server
//! (contract/auth-users.md 14).

use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::Value;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{ErrorBody, extract::json::Body};
use crate::{
    account::fields,
    app::App,
    auth::User,
    error::{Error, Result},
    mail,
    store::{Id, mail_outbox::NewMail},
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(send)).routes(routes!(send_seed))
}

/// Recipients of one call.
const MOST: usize = 100;
/// Bytes of the text.
const MAX_HTML: usize = 1 << 20;

/// As SparkPost answers.
#[derive(Serialize, utoipa::ToSchema)]
struct Accepted {
    id: Id,
    total_accepted_recipients: usize,
    total_rejected_recipients: usize,
}

/// Puts a mail into the outbox. SUPERADMIN, the environment account, and their service clients.
#[utoipa::path(post, path = "/api/v1/email", tag = "mail", security(("bearerAuth" = ["user:write"])), request_body = Object,
    responses((status = 200, body = Accepted), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
async fn send(State(app): State<App>, user: User, body: Body) -> Result<Json<Accepted>> {
    accept(&app, &user, body).await
}

/// The same under its first name.
#[utoipa::path(post, path = "/email", tag = "mail", security(("bearerAuth" = ["user:write"])), request_body = Object,
    responses((status = 200, body = Accepted), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody)))]
async fn send_seed(State(app): State<App>, user: User, body: Body) -> Result<Json<Accepted>> {
    accept(&app, &user, body).await
}

/// The address of a recipient: text, or an object as SparkPost takes it.
fn address(recipient: &Value) -> Option<String> {
    let address = recipient.get("address").unwrap_or(recipient);
    let text = address.as_str().or_else(|| address.get("email")?.as_str())?;
    fields::email(text).ok()
}

async fn accept(app: &App, user: &User, Body(body): Body) -> Result<Json<Accepted>> {
    if !user.is_superadmin() && !user.is_environment {
        return Err(Error::forbidden());
    }
    let text = |name: &str| body.get::<String>(name).filter(|text| !text.trim().is_empty());
    let recipients = body.get::<Vec<Value>>("recipients").filter(|list| !list.is_empty());
    let recipients =
        recipients.ok_or_else(|| Error::invalid("recipients must be a list of addresses, and not empty"))?;
    if recipients.len() > MOST {
        return Err(Error::invalid(format!(
            "recipients has {} addresses; at most {MOST} are written to",
            recipients.len()
        )));
    }
    let html = text("html").ok_or_else(|| Error::invalid("html must be text, and not empty"))?;
    let subject = text("subject").ok_or_else(|| Error::invalid("subject must be text, and not empty"))?;
    if html.len() > MAX_HTML || subject.chars().count() > 500 {
        return Err(Error::invalid("The mail is too long: at most 1 MiB of html and 500 characters of subject"));
    }
    let mut addresses: Vec<String> = recipients.iter().filter_map(address).collect();
    let rejected = recipients.len() - addresses.len();
    if addresses.is_empty() {
        return Err(Error::invalid("recipients holds no valid e-mail address"));
    }
    let accepted = addresses.len();
    addresses.sort_unstable();
    addresses.dedup();
    let (id, now) = (Id::ordered(), app.clock.now());
    let plain = fields::without_tags(&html);
    let mut tx = app.db.begin().await?;
    for address in &addresses {
        let event = format!("email:{address}");
        let letter = NewMail {
            subject_id: id,
            event: &event,
            recipient: address,
            subject: &subject,
            text: &plain,
            html: Some(&html),
        };
        mail::post(&mut tx, app, &letter, now).await?;
    }
    tx.commit().await?;
    app.wake();
    Ok(Json(Accepted { id, total_accepted_recipients: accepted, total_rejected_recipients: rejected }))
}
