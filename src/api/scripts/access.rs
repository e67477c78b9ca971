//! `/api/v1/script/<s>/access…`: who beside its owner and administrators sees a restricted script. For administrators
//! (contract/scripts-executions.md 1, "Script access control").

use axum::{
    Json,
    extract::{FromRequest, Request, State},
};
use serde_json::Value;

use super::{audit_with, find};
use crate::{
    api::{
        Data, ErrorBody, data,
        extract::{
            json::Body,
            path::{RolePath, ScriptPath, UserPath},
        },
        value,
    },
    app::App,
    auth::User,
    error::{Error, Result},
    json::Object,
    store::{
        self, Id,
        scripts::{Access, Script},
        users::{Key, Role},
    },
};

/// People in one list.
const MOST: usize = 1_000;
/// Characters of a wrong entry that an answer repeats.
const SHOWN: usize = 60;

/// Who sees a script.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub struct AccessView {
    restricted: bool,
    public: bool,
    allowed_roles: Vec<String>,
    allowed_users: Vec<String>,
    /// `restricted`, `public` or `owner_only`.
    access_type: &'static str,
}

impl AccessView {
    fn of(public: bool, access: Access) -> Self {
        let access_type = match (access.restricted, public) {
            (true, _) => "restricted",
            (false, true) => "public",
            (false, false) => "owner_only",
        };
        AccessView {
            restricted: access.restricted,
            public,
            allowed_roles: access.roles,
            allowed_users: access.users,
            access_type,
        }
    }
}

type Answer = Result<Json<Data<AccessView>>>;

/// The script, for administrators.
pub(super) async fn administered(app: &App, user: &User, path: &ScriptPath) -> Result<Script> {
    if !user.is_admin() {
        return Err(Error::Forbidden("Admin privileges required".into()));
    }
    find(app, user, path).await
}

/// Who sees a script. Administrators only.
#[utoipa::path(get, path = "/api/v1/script/{script}/access", tag = "scripts", security(("bearerAuth" = ["script:read"])), params(("script" = String, Path)),
    responses((status = 200, body = Data<AccessView>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn get(State(app): State<App>, user: User, path: ScriptPath) -> Answer {
    let script = administered(&app, &user, &path).await?;
    Ok(data(AccessView::of(script.public, Access::of(&script))))
}

/// Changes the lists of a script, which nobody else changes meanwhile.
async fn change(app: &App, user: &User, path: &ScriptPath, change: impl FnOnce(&mut Access)) -> Answer {
    let id = administered(app, user, path).await?.id;
    let mut tx = app.db.begin().await?;
    store::scripts::lock(&mut tx, id).await?;
    let script = store::scripts::get_within(&mut tx, id).await?.ok_or_else(|| path.missing())?;
    let mut access = Access::of(&script);
    change(&mut access);
    store::scripts::set_access(&mut tx, id, &access).await?;
    let view = AccessView::of(script.public, access);
    audit_with(&mut tx, user, "script.access_changed", &script, &value(&view)?, app.clock.now()).await?;
    tx.commit().await?;
    Ok(data(view))
}

/// The list under this key; `null` is an empty one.
fn list(body: &Object, key: &str, wrong: &str) -> Result<Vec<Value>> {
    let raw = body.raw(key).ok_or_else(|| Error::invalid(format!("Missing '{key}' in request body")))?;
    let list: Option<Vec<Value>> = serde_json::from_str(raw.get()).map_err(|_| Error::invalid(wrong))?;
    Ok(list.unwrap_or_default())
}

/// A wrong entry as an answer repeats it.
fn shown(entry: &Value) -> String {
    let text = entry.as_str().map_or_else(|| entry.to_string(), str::to_owned);
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

/// Opens a script to these roles and no other ones. An empty list opens it to none, and lifts no restriction.
#[utoipa::path(put, path = "/api/v1/script/{script}/access/roles", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path)),
    request_body = Object, responses((status = 200, body = Data<AccessView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn set_roles(State(app): State<App>, user: User, path: ScriptPath, request: Request) -> Answer {
    administered(&app, &user, &path).await?;
    let Body(body) = Body::from_request(request, &app).await?;
    let mut roles: Vec<String> = Vec::new();
    let mut wrong = Vec::new();
    for entry in list(&body, "roles", "Roles must be a list")? {
        match entry.as_str().and_then(Role::parse) {
            Some(role) if roles.iter().any(|known| known == role.as_str()) => {}
            Some(role) => roles.push(role.as_str().to_owned()),
            None if entry.is_string() => wrong.push(format!("'{}'", shown(&entry))),
            None => wrong.push(shown(&entry)),
        }
    }
    if !wrong.is_empty() {
        wrong.truncate(10);
        return Err(Error::invalid(format!("Invalid roles: [{}]", wrong.join(", "))));
    }
    change(&app, &user, &path, |access| {
        access.restricted |= !roles.is_empty();
        access.roles = roles;
    })
    .await
}

/// Opens a script to these people and no other ones. An empty list opens it to none, and lifts no restriction.
#[utoipa::path(put, path = "/api/v1/script/{script}/access/users", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path)),
    request_body = Object, responses((status = 200, body = Data<AccessView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn set_users(State(app): State<App>, user: User, path: ScriptPath, request: Request) -> Answer {
    administered(&app, &user, &path).await?;
    let Body(body) = Body::from_request(request, &app).await?;
    let nobody = |entry: &Value| Error::invalid(format!("User '{}' not found", shown(entry)));
    let mut ids: Vec<Id> = Vec::new();
    for entry in list(&body, "users", "Users must be a list of user IDs")? {
        let id = entry.as_str().and_then(Id::parse).ok_or_else(|| nobody(&entry))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
        if ids.len() > MOST {
            return Err(Error::invalid(format!(
                "At most {MOST} users can be named; open the script to a role instead"
            )));
        }
    }
    let known = store::users::profiles(&app.db, &ids).await?;
    if let Some(id) = ids.iter().find(|id| !known.iter().any(|person| person.id == **id)) {
        return Err(nobody(&Value::from(id.to_string())));
    }
    change(&app, &user, &path, |access| {
        access.restricted |= !ids.is_empty();
        access.users = ids.iter().map(Id::to_string).collect();
    })
    .await
}

/// Opens a script to one more person.
#[utoipa::path(post, path = "/api/v1/script/{script}/access/users/{user}", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path), ("user" = String, Path)),
    responses((status = 200, body = Data<AccessView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn add_user(State(app): State<App>, user: User, path: ScriptPath, person: UserPath) -> Answer {
    let script = administered(&app, &user, &path).await?;
    let known = match person.key {
        Key::Id(id) => store::users::profile(&app.db, id).await?,
        Key::Email(_) => None,
    };
    let id = known.ok_or_else(|| Error::not_found("User not found"))?.id;
    if Access::of(&script).users.len() >= MOST {
        return Err(Error::invalid(format!("At most {MOST} users can be named; open the script to a role instead")));
    }
    change(&app, &user, &path, |access| {
        access.restricted = true;
        // The existing server keeps ids as they were sent; such an entry grants nobody until it is written like this.
        match access.users.iter_mut().find(|entry| Id::parse(entry) == Some(id)) {
            Some(entry) => *entry = id.to_string(),
            None => access.users.push(id.to_string()),
        }
    })
    .await
}

/// Takes one person off the list. Who is not on it changes nothing.
#[utoipa::path(delete, path = "/api/v1/script/{script}/access/users/{user}", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path), ("user" = String, Path)),
    responses((status = 200, body = Data<AccessView>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn remove_user(State(app): State<App>, user: User, path: ScriptPath, person: UserPath) -> Answer {
    change(&app, &user, &path, |access| {
        access.users.retain(|entry| match person.key {
            Key::Id(id) => Id::parse(entry) != Some(id),
            Key::Email(_) => *entry != person.text,
        });
    })
    .await
}

/// Opens a script to one more role.
#[utoipa::path(post, path = "/api/v1/script/{script}/access/roles/{role}", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path), ("role" = String, Path)),
    responses((status = 200, body = Data<AccessView>), (status = 400, body = ErrorBody), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn add_role(State(app): State<App>, user: User, path: ScriptPath, role: RolePath) -> Answer {
    administered(&app, &user, &path).await?;
    let wrong = || Error::invalid(format!("Invalid role: {}", shown(&Value::from(role.0.as_str()))));
    let role = Role::parse(&role.0).ok_or_else(wrong)?.as_str();
    change(&app, &user, &path, |access| {
        access.restricted = true;
        if !access.roles.iter().any(|known| known == role) {
            access.roles.push(role.to_owned());
        }
    })
    .await
}

/// Takes one role off the list. One that is not on it changes nothing.
#[utoipa::path(delete, path = "/api/v1/script/{script}/access/roles/{role}", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path), ("role" = String, Path)),
    responses((status = 200, body = Data<AccessView>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn remove_role(State(app): State<App>, user: User, path: ScriptPath, role: RolePath) -> Answer {
    change(&app, &user, &path, |access| access.roles.retain(|known| *known != role.0)).await
}

/// Empties both lists and lifts the restriction: a public script is everybody's again, another one its owner's.
#[utoipa::path(delete, path = "/api/v1/script/{script}/access", tag = "scripts", security(("bearerAuth" = ["script:write"])), params(("script" = String, Path)),
    responses((status = 200, body = Data<AccessView>), (status = 403, body = ErrorBody), (status = 404, body = ErrorBody)))]
pub async fn clear(State(app): State<App>, user: User, path: ScriptPath) -> Answer {
    change(&app, &user, &path, |access| *access = Access::default()).await
}
