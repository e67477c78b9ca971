//! `/api/v1/user/me/google-groups…`: whether a person wants to be in the groups at Google (contract/auth-users.md 11). A wish
//! is kept in any case; who is a member is told to Google where the settings name an account for it.

use axum::{Json, extract::State};
use serde_json::{Map, Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Data, ErrorBody, data, extract::json::MaybeJson};
use crate::{
    app::App,
    auth::{Own, User},
    error::{Error, Result},
    outside::Failure,
    store::{
        self, search,
        users::{Changes, Connections, Profile},
    },
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(info)).routes(routes!(get, update)).routes(routes!(sync))
}

/// A group at Google.
struct Group {
    key: &'static str,
    column: &'static str,
    email: &'static str,
    name: &'static str,
    description: &'static str,
}

const GROUPS: [Group; 2] = [
    Group {
        key: "trends_earth_users",
        column: "google_groups_trends_earth_users",
        email: "trends_earth_users@googlegroups.com",
        name: "Trends.Earth Users",
        description: "Community group for Trends.Earth users",
    },
    Group {
        key: "trendsearth",
        column: "google_groups_trendsearth",
        email: "trendsearth@googlegroups.com",
        name: "TrendsEarth",
        description: "TrendsEarth community group",
    },
];

impl Group {
    fn wanted(&self, person: &Connections) -> bool {
        match self.key {
            "trendsearth" => person.google_groups_trendsearth,
            _ => person.google_groups_trends_earth_users,
        }
    }
}

/// The groups that there are.
#[utoipa::path(get, path = "/api/v1/google-groups/info", tag = "users", security(()), responses((status = 200, body = Data<Object>)))]
async fn info() -> Json<Data<Value>> {
    let groups = GROUPS
        .iter()
        .map(|group| (group.key.to_owned(), json!({"group_name": group.name, "description": group.description})));
    data(json!({"available_groups": Map::from_iter(groups)}))
}

/// The own wishes, and when Google was last told.
#[utoipa::path(get, path = "/api/v1/user/me/google-groups", tag = "users", security(("bearerAuth" = [])),
    responses((status = 200, body = Data<Object>), (status = 401, body = ErrorBody)))]
async fn get(State(app): State<App>, user: User) -> Result<Json<Data<Value>>> {
    let person = wishes(&app, &user).await?;
    let groups = GROUPS.iter().map(|group| {
        let shown = json!({"group_name": group.name, "group_email": group.email, "description": group.description});
        (group.key.to_owned(), shown)
    });
    Ok(data(json!({
        "available_groups": Map::from_iter(groups),
        "service_available": app.google.settings.groups.is_some(),
        "sync_status": {"last_sync": person.google_groups_last_sync, "registration_status": person.google_groups_registration_status},
        "user_preferences": preferences(&person),
    })))
}

/// Changes own wishes, `{"preferences": {"trendsearth": true}}`, and tells Google of those that were sent.
#[utoipa::path(put, path = "/api/v1/user/me/google-groups", tag = "users", security(("bearerAuth" = [])), request_body = Object,
    responses((status = 200, body = Data<Object>), (status = 400, body = ErrorBody)))]
async fn update(State(app): State<App>, own: Own, body: MaybeJson) -> Result<Json<Data<Value>>> {
    let body = body.0.filter(|body| !body.is_empty()).ok_or_else(|| Error::invalid("Request body is required"))?;
    let sent = match body.raw("preferences") {
        None => Map::new(),
        Some(sent) => serde_json::from_str::<Map<String, Value>>(sent.get())
            .map_err(|_| Error::invalid("'preferences' must be an object"))?,
    };
    let unknown: Vec<String> =
        sent.keys().filter(|key| GROUPS.iter().all(|group| group.key != *key)).map(|key| format!("'{key}'")).collect();
    if !unknown.is_empty() {
        let valid = GROUPS.map(|group| format!("'{}'", group.key)).join(", ");
        return Err(Error::invalid(format!("Invalid group keys: [{}]. Valid keys: [{valid}]", unknown.join(", "))));
    }
    let (mut changes, mut changed) = (Changes::default(), Vec::new());
    for group in &GROUPS {
        let Some(wish) = sent.get(group.key) else { continue };
        let wish = wish.as_bool();
        let wish = wish.ok_or_else(|| Error::invalid(format!("Preference for '{}' must be a boolean", group.key)))?;
        changes.0.push((group.column, Some(search::Value::Flag(wish))));
        changed.push(group);
    }
    if !changed.is_empty() {
        keep(&app, &own.user, &changes).await?;
    }
    let person = wishes(&app, &own.user).await?;
    let told = if changed.is_empty() { None } else { tell(&app, &own, &person, &changed).await? };
    Ok(data(json!({
        "message": "Google Groups preferences updated successfully",
        "preferences": preferences(&person),
        "sync_results": told,
        "updated_groups": changed.iter().map(|group| group.key).collect::<Vec<_>>(),
    })))
}

/// Tells Google of all own wishes.
#[utoipa::path(post, path = "/api/v1/user/me/google-groups/sync", tag = "users", security(("bearerAuth" = [])),
    responses((status = 200, body = Data<Object>), (status = 503, body = ErrorBody)))]
async fn sync(State(app): State<App>, own: Own) -> Result<Json<Data<Value>>> {
    let person = wishes(&app, &own.user).await?;
    let told = tell(&app, &own, &person, &GROUPS.iter().collect::<Vec<_>>()).await?;
    let told = told.ok_or_else(|| Error::NotConfigured("Google Groups service is not available".into()))?;
    Ok(data(json!({"message": "Google Groups sync completed", "sync_results": told})))
}

async fn wishes(app: &App, user: &User) -> Result<Connections> {
    let found = store::users::connections(&app.db, &[user.id]).await?.pop();
    found.ok_or_else(|| Error::not_found("User not found"))
}

fn preferences(person: &Connections) -> Value {
    Value::Object(GROUPS.iter().map(|group| (group.key.to_owned(), json!(group.wanted(person)))).collect())
}

async fn keep(app: &App, user: &User, changes: &Changes) -> Result<()> {
    let mut tx = app.db.begin().await?;
    store::users::update(&mut tx, user.id, changes, app.clock.now()).await?;
    tx.commit().await?;
    Ok(())
}

/// Tells Google whether the person is in these groups, and keeps what came of it; `None` where the settings name no account.
async fn tell(app: &App, own: &Own, person: &Connections, groups: &[&Group]) -> Result<Option<Value>> {
    let (now, email) = (app.clock.now(), &own.profile.email);
    let Some(token) = app.google.groups_token(now).await else { return Ok(None) };
    let mut results = Map::new();
    for group in groups {
        let wanted = group.wanted(person);
        let done = match &token {
            // Nobody is put into a group whose address is not known to be his.
            _ if wanted && !is_confirmed(&own.profile) => Err("The address is not confirmed yet".to_owned()),
            Err(failure) => Err(sentence(failure)),
            Ok(token) => {
                app.google.let_into_group(token, group.email, email, wanted).await.map_err(|failure| sentence(&failure))
            }
        };
        let action = if wanted { "added" } else { "removed" };
        let mut result = json!({"success": done.is_ok(), "group": group.key, "group_email": group.email});
        match done {
            Ok(()) => result["action"] = json!(action),
            Err(sentence) => result["error"] = json!(sentence),
        }
        results.insert(group.key.to_owned(), result);
    }
    let results = Value::Object(results);
    let status = search::Value::Text(results.to_string());
    let changes = vec![
        ("google_groups_registration_status", Some(status)),
        ("google_groups_last_sync", Some(search::Value::Time(now))),
    ];
    keep(app, &own.user, &Changes(changes)).await?;
    Ok(Some(json!({"user_email": email, "timestamp": now, "groups": results})))
}

fn is_confirmed(profile: &Profile) -> bool {
    profile.email_verified == Some(true)
}

fn sentence(failure: &Failure) -> String {
    match failure {
        Failure::Refused(status, _) => format!("Google refused it ({status})"),
        Failure::Silent => "Google does not answer".to_owned(),
    }
}
