//! Sending a mail to many: test letters, the code by which a sender shows that it is meant, and the sending itself. Only the
//! addresses of `BULK_EMAIL_APPROVED_SENDERS` do so.

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;
use subtle::ConstantTimeEq;

use super::{
    super::{
        Data, ErrorBody, Said, data,
        extract::{json::MaybeJson, path::IdPath},
        said,
    },
    MailView, find, missing, named, recipient_list, superadmin, view,
};
use crate::{
    app::App,
    auth::User,
    clock::after,
    error::{Error, Result},
    jobs::SEND_BULK_MAIL,
    mail::{
        bulk::{self, Mail},
        recipients,
    },
    store::{
        self, Tx,
        bulk_emails::BulkEmail,
        jobs::NewJob,
        search::{Clause, Column, Kind, Op, Search, Value},
        users::{Profile, Role},
    },
};

/// Seconds in which a code works.
const CODE_S: u64 = 900;
/// Administrators that a test goes to.
const MOST_TESTS: i64 = 100;

/// How many test letters were written.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Tested {
    superadmin_count: usize,
}

/// Where the test letter goes.
#[derive(Serialize, utoipa::ToSchema)]
pub struct TestedSelf {
    sent_to: String,
}

/// 403 for who may not write to many; 409 where nothing is sent.
fn sender(app: &App, user: &User) -> Result<()> {
    superadmin(user)?;
    if !app.config.bulk_senders.contains(&user.email.to_lowercase()) {
        let email = &user.email;
        return Err(Error::Forbidden(format!("User '{email}' is not an approved bulk email sender.")));
    }
    if !app.mailer.sends() {
        return Err(Error::Conflict("No mail service is set up, so nothing is sent.".into()));
    }
    Ok(())
}

/// The caller as somebody who gets a letter.
async fn own(app: &App, user: &User) -> Result<Profile> {
    let found = store::users::profile(&app.db, user.id).await?;
    found.ok_or_else(|| Error::not_found("User not found."))
}

/// Mails the caller a code for this mail, which works for 15 minutes and once. Approved senders only.
#[utoipa::path(post, path = "/api/v1/bulk-email/{id}/send-verification", tag = "bulk mail", security(("bearerAuth" = ["account"])), params(("id" = String, Path)),
    responses((status = 200, body = Said), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn verification(State(app): State<App>, user: User, id: IdPath, uri: axum::http::Uri) -> Result<Json<Said>> {
    sender(&app, &user)?;
    let mail = find(&app, &id, &named(&uri)).await?;
    let person = own(&app, &user).await?;
    let code = format!("{:06}", uuid::Uuid::new_v4().as_u128() % 1_000_000);
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let until = after(now, CODE_S);
    store::bulk_email_verification_tokens::replace(&mut tx, mail.id, user.id, &code, until, now).await?;
    bulk::send_code(&mut tx, &app, &person, &mail, &code, now).await?;
    tx.notify();
    tx.commit().await?;
    app.wake();
    Ok(said("Verification code sent."))
}

/// Sends a test letter to every SUPERADMIN. Approved senders only.
#[utoipa::path(post, path = "/api/v1/bulk-email/{id}/send-test", tag = "bulk mail", security(("bearerAuth" = ["account"])), params(("id" = String, Path)),
    responses((status = 200, body = Data<Tested>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn test(State(app): State<App>, user: User, id: IdPath, uri: axum::http::Uri) -> Result<Json<Data<Tested>>> {
    sender(&app, &user)?;
    let mail = find(&app, &id, &named(&uri)).await?;
    let column = Column::new("role", "role", Kind::Text);
    let value = Value::Text(Role::Superadmin.as_str().to_owned());
    let all = Search { filter: vec![vec![Clause { column, op: Op::Eq, value }]], ..Search::default() };
    let people = store::users::search(&app.db, &all, (MOST_TESTS, 0)).await?;
    write_tests(&app, &mail, &people).await?;
    Ok(data(Tested { superadmin_count: people.len() }))
}

/// Sends a test letter to the caller. Approved senders only.
#[utoipa::path(post, path = "/api/v1/bulk-email/{id}/send-test-self", tag = "bulk mail", security(("bearerAuth" = ["account"])), params(("id" = String, Path)),
    responses((status = 200, body = Data<TestedSelf>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn test_self(
    State(app): State<App>,
    user: User,
    id: IdPath,
    uri: axum::http::Uri,
) -> Result<Json<Data<TestedSelf>>> {
    sender(&app, &user)?;
    let mail = find(&app, &id, &named(&uri)).await?;
    let person = own(&app, &user).await?;
    write_tests(&app, &mail, std::slice::from_ref(&person)).await?;
    Ok(data(TestedSelf { sent_to: person.email }))
}

async fn write_tests(app: &App, mail: &BulkEmail, people: &[Profile]) -> Result<()> {
    let (mail, now) = (Mail::of(mail), app.clock.now());
    let mut tx = app.db.begin().await?;
    for person in people {
        mail.post_test(&mut tx, app, person, now).await?;
    }
    tx.notify();
    tx.commit().await?;
    app.wake();
    Ok(())
}

/// Sends a draft, or what failed to those who have not got it, to the accounts of its list (`recipient_list_id` is another one).
/// More than `max_recipients` accounts ask for a `code`: 428 without one. The letters are sent after the answer.
#[utoipa::path(post, path = "/api/v1/bulk-email/{id}/send", tag = "bulk mail", security(("bearerAuth" = ["account"])), request_body = Object,
    params(("id" = String, Path)),
    responses((status = 200, body = Data<MailView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 428, body = Object)))]
pub async fn send(State(app): State<App>, user: User, id: IdPath, request: axum::extract::Request) -> Result<Response> {
    sender(&app, &user)?;
    let text = named(request.uri());
    let id = find(&app, &id, &text).await?.id;
    // Whatever cannot be read says nothing.
    let body = MaybeJson::whatever_type(request, &app).await.ok().flatten().unwrap_or_default();
    let asked = recipient_list(&app, &body).await?;
    let code = body.get::<serde_json::Value>("code").filter(|code| !code.is_null());
    let code = code.map(|code| code.as_str().map_or_else(|| code.to_string(), str::to_owned));
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    let mail = store::bulk_emails::lock(&mut tx, id).await?.ok_or_else(|| missing(&text))?;
    if !matches!(mail.status.as_str(), "DRAFT" | "FAILED") {
        return Err(Error::Conflict("Bulk email has already been sent.".into()));
    }
    // Kept before anything is asked back, so that the answer to that need not say it again.
    if let Some(list) = asked {
        store::bulk_emails::set_list(&mut tx, id, list, now).await?;
    }
    let list = asked.or(mail.recipient_list_id);
    let count = count(&app, list, mail.subscription_type.as_deref()).await?;
    if let Some(code) = code.filter(|code| !code.is_empty()) {
        let held = store::bulk_email_verification_tokens::take(&mut tx, id, user.id, now).await?;
        let right = held.as_ref().map(|held| bool::from(held.as_bytes().ct_eq(code.trim().as_bytes())));
        if right != Some(true) {
            // A code is guessed once.
            tx.commit().await?;
            return Err(Error::invalid(match right {
                None => "Invalid or expired verification code.",
                Some(_) => "Invalid verification code. Request a new code and try again.",
            }));
        }
    } else if count > app.config.bulk_max_recipients {
        tx.commit().await?;
        let most = app.config.bulk_max_recipients;
        let message = format!("Verification required: {count} recipients exceeds threshold {most}.");
        let body = json!({"message": message, "recipient_count": count, "requires_verification": true});
        return Ok((StatusCode::PRECONDITION_REQUIRED, Json(body)).into_response());
    }
    begin(&mut tx, &mail, &user, now).await?;
    let sending = store::bulk_emails::lock(&mut tx, id).await?.ok_or_else(|| missing(&text))?;
    tx.notify();
    tx.commit().await?;
    app.wake();
    Ok(data(view(sending)).into_response())
}

async fn begin(tx: &mut Tx, mail: &BulkEmail, user: &User, now: store::Time) -> Result<()> {
    if !store::bulk_emails::begin(tx, mail.id, user.id, now).await? {
        return Err(Error::Conflict("Bulk email has already been sent.".into()));
    }
    let job = NewJob { kind: SEND_BULK_MAIL, subject: mail.id, unique_key: Some(format!("bulk:{}", mail.id)) };
    store::jobs::insert(tx, &job, now).await?;
    store::audit::insert(tx, &user.caller.did("bulk_email.sent", "bulk_email", &mail.id), now).await?;
    Ok(())
}

/// How many accounts a mail would go to; 400 if that is nobody.
async fn count(app: &App, list: Option<store::Id>, subscription: Option<&str>) -> Result<i64> {
    let nobody = || Error::invalid("The mail has no recipient list; choose one first.");
    let list = store::bulk_email_recipient_lists::find(&app.db, list.ok_or_else(nobody)?).await?;
    let search = recipients::subscribed(list.ok_or_else(nobody)?.filter_criteria.get(), subscription)?;
    match store::users::count(&app.db, &search).await? {
        0 => Err(Error::invalid("Nobody fits the recipient list and subscribes to such mails.")),
        count => Ok(count),
    }
}
