//! The letters: their words are templates in `letters/<language>/`, plain text and HTML of each. Every value is escaped.

use std::sync::LazyLock;

use anyhow::Result;
use minijinja::{Environment, context};

use crate::{
    app::App,
    auth::tokens,
    clock::after,
    execution::{failure::Failure, status::Status},
    mail,
    store::{self, Id, Time, Tx, mail_outbox::NewMail},
};

/// Seconds in which a link to a new password works.
pub const LINK_S: u64 = 3_600;
/// Mails with such a link that one address gets in a day.
const LINKS_A_DAY: i64 = 3;

#[expect(clippy::unwrap_used, reason = "the templates are part of the program, and each is used by a test")]
static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    for (name, text) in [
        ("welcome.txt", include_str!("letters/en/welcome.txt")),
        ("welcome.html", include_str!("letters/en/welcome.html")),
        ("recovery.txt", include_str!("letters/en/recovery.txt")),
        ("recovery.html", include_str!("letters/en/recovery.html")),
        ("password.txt", include_str!("letters/en/password.txt")),
        ("password.html", include_str!("letters/en/password.html")),
        ("execution.txt", include_str!("letters/en/execution.txt")),
        ("execution.html", include_str!("letters/en/execution.html")),
        ("bulk.txt", include_str!("letters/en/bulk.txt")),
        ("bulk.html", include_str!("letters/en/bulk.html")),
        ("code.txt", include_str!("letters/en/code.txt")),
        ("code.html", include_str!("letters/en/code.html")),
    ] {
        templates.add_template(name, text).unwrap();
    }
    templates
});

/// A letter's words, plain and as HTML.
pub(super) fn rendered(name: &str, values: &minijinja::Value) -> Result<(String, String)> {
    let render =
        |kind: &str| -> Result<String> { Ok(TEMPLATES.get_template(&format!("{name}.{kind}"))?.render(values)?) };
    Ok((render("txt")?, render("html")?))
}

/// A link that was made here of a setting and a token: its slashes stay slashes.
pub(super) fn own(link: &str) -> minijinja::Value {
    minijinja::Value::from_safe_string(html_escape::encode_double_quoted_attribute(link).into_owned())
}

/// A name as it may stand in a letter to an address that nobody has confirmed: nothing that a reader could follow.
fn harmless(name: &str) -> &str {
    let lower = name.to_lowercase();
    let link = lower.contains("://")
        || lower.contains("www.")
        || lower
            .split_whitespace()
            .any(|word| word.split_once('.').is_some_and(|(before, after)| !before.is_empty() && after.len() > 1));
    if link { "" } else { name }
}

/// Why somebody gets a link to set a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    Welcome,
    Recovery,
}

/// A link to set a password: its token is stored, and earlier ones of the account end.
pub async fn password_link(tx: &mut Tx, app: &App, user: Id, now: Time) -> Result<String> {
    let token = tokens::random(48);
    store::password_reset_tokens::end_all(tx, user, now).await?;
    let stored = if app.coexists { token.clone() } else { tokens::digest(&token) };
    store::password_reset_tokens::insert(tx, user, &stored, after(now, LINK_S), now).await?;
    Ok(format!("{}/reset-password?token={token}", app.config.public_url()))
}

/// Sends somebody a link to set a password, and gives it; `None` if the address got enough of them today.
pub async fn send_password_link(
    tx: &mut Tx,
    app: &App,
    occasion: Occasion,
    person: &store::users::Profile,
    now: Time,
) -> Result<Option<String>> {
    let day_ago = now - chrono::TimeDelta::days(1);
    if store::mail_outbox::links_since(tx, &person.email, day_ago).await? >= LINKS_A_DAY {
        return Ok(None);
    }
    let link = password_link(tx, app, person.id, now).await?;
    let (template, subject) = match occasion {
        Occasion::Welcome => ("welcome", "[trends.earth] Welcome - Set Your Password"),
        Occasion::Recovery => ("recovery", "[trends.earth] Password Reset Request"),
    };
    let name = if person.email_verified == Some(true) { person.name.as_str() } else { harmless(&person.name) };
    let (text, html) = rendered(template, &context! { name, link => own(&link) })?;
    // Each link is a letter of its own: the account may ask again.
    let event = format!("{template}:{}", Id::ordered());
    let letter = NewMail {
        subject_id: person.id,
        event: &event,
        recipient: &person.email,
        subject,
        text: &text,
        html: Some(&html),
    };
    mail::post(tx, app, &letter, now).await?;
    Ok(Some(link))
}

/// Tells a person that the password was changed: who did not do it hears of it.
pub async fn password_changed(tx: &mut Tx, app: &App, person: &store::users::Profile, now: Time) -> Result<()> {
    let (text, html) = rendered("password", &context! { name => &person.name })?;
    let event = format!("password:{}", Id::ordered());
    let letter = NewMail {
        subject_id: person.id,
        event: &event,
        recipient: &person.email,
        subject: "[trends.earth] Your password was changed",
        text: &text,
        html: Some(&html),
    };
    mail::post(tx, app, &letter, now).await?;
    Ok(())
}

/// Tells the owner that an execution has ended, if he wants to hear of it: at most once for each.
pub async fn execution_ended(
    tx: &mut Tx,
    app: &App,
    id: Id,
    to: Status,
    failure: Option<&Failure>,
    now: Time,
) -> Result<()> {
    let Some(ended) = store::mail_outbox::ended(tx, id).await?.filter(|ended| ended.wanted) else { return Ok(()) };
    let token = app.tokens.issue_unsubscribe(ended.user_id, app.config.unsubscribe_days, now)?;
    let time = |time: Option<Time>| time.map(|time| time.format("%Y-%m-%d %H:%M UTC").to_string());
    let (text, html) = rendered(
        "execution",
        &context! {
            name => ended.name,
            status => to.as_str(),
            task => ended.task.filter(|task| !task.is_empty()).unwrap_or_else(|| "N/A".into()),
            script => ended.script,
            id => id.to_string(),
            start => time(ended.start_date),
            end => time(ended.end_date),
            message => failure.map(|failure| &failure.message),
            unsubscribe => own(&format!("{}/unsubscribe?token={token}", app.config.public_url())),
            hint => failure.and_then(|failure| failure.hint.as_ref()),
        },
    )?;
    let letter = NewMail {
        subject_id: id,
        event: "execution.ended",
        recipient: &ended.email,
        subject: "[trends.earth] Execution finished",
        text: &text,
        html: Some(&html),
    };
    mail::post(tx, app, &letter, now).await?;
    Ok(())
}
