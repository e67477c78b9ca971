//! With which programs people work: `X-TE-Client`, `/api/v1/user/me/clients`, `/api/v1/admin/client-stats`
//! (contract/auth-users.md 8).

use std::{collections::BTreeMap, convert::Infallible};

use axum::{Json, extract::FromRequestParts, extract::State, http::HeaderMap, http::request::Parts};
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Data, data, extract::query::Pairs, health};
use crate::{
    app::App,
    auth::User,
    error::{Error, Result},
    store::{
        self,
        user_clients::{Client, Group, UserClient},
    },
};

pub fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(stats))
}

/// Kinds of programs that are noted.
const KINDS: [&str; 3] = ["qgis_plugin", "api_ui", "cli"];

/// What `X-TE-Client` says, if it names a kind that is noted. The header may hold raw UTF-8.
#[derive(Debug)]
pub struct ClientHeader(pub Option<Client>);

impl<S: Sync> FromRequestParts<S> for ClientHeader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(ClientHeader(client(&parts.headers)))
    }
}

/// `type=qgis_plugin; version=2.2.4; os=Windows; lang=en; other=…`
fn client(headers: &HeaderMap) -> Option<Client> {
    let text = String::from_utf8_lossy(headers.get("x-te-client")?.as_bytes()).replace('\0', "");
    let mut client = Client::default();
    let mut extra = BTreeMap::new();
    for part in text.split(';') {
        let Some((key, value)) = part.split_once('=') else { continue };
        let (key, value) = (key.trim(), value.trim());
        let cut = |length| Some(value.chars().take(length).collect::<String>()).filter(|value| !value.is_empty());
        match key {
            "type" => client.client_type = value.to_owned(),
            "version" => client.version = cut(50),
            "os" => client.os = cut(50),
            "qgis_version" => client.qgis_version = cut(20),
            "lang" => client.language = cut(10),
            _ if extra.len() < 20 => {
                extra.insert(key.chars().take(50).collect::<String>(), value.chars().take(200).collect::<String>());
            }
            _ => {}
        }
    }
    if !extra.is_empty() {
        client.extra = serde_json::value::to_raw_value(&extra).ok().map(sqlx::types::Json);
    }
    KINDS.contains(&client.client_type.as_str()).then_some(client)
}

/// The programs with which the caller has signed in.
#[utoipa::path(get, path = "/api/v1/user/me/clients", tag = "users", security(("bearerAuth" = ["account"])),
    responses((status = 200, body = Data<Vec<UserClient>>), (status = 401, body = super::ErrorBody)))]
async fn list(State(app): State<App>, user: User) -> Result<Json<Data<Vec<UserClient>>>> {
    Ok(data(store::user_clients::list(&app.db, user.id).await?))
}

/// People by a key, most first.
fn counted<'g>(groups: impl Iterator<Item = &'g Group>, key: impl Fn(&Group) -> Option<&String>) -> Vec<(String, i64)> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for group in groups {
        *counts.entry(key(group).cloned().unwrap_or_else(|| "unknown".into())).or_default() += group.n;
    }
    let mut counts: Vec<(String, i64)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| -n);
    counts
}

fn listed(name: &str, count: &str, counts: Vec<(String, i64)>) -> Vec<Value> {
    counts.into_iter().map(|(key, n)| json!({name: key, count: n})).collect()
}

/// Of a group, what it is counted by.
type Of = fn(&Group) -> Option<&String>;

/// By one key, and within each by another.
fn nested(groups: &[&Group], keys: [(&str, Of); 2]) -> Vec<Value> {
    let [(outer, outer_of), (inner, inner_of)] = keys;
    let list = counted(groups.iter().copied(), outer_of).into_iter().map(|(value, n)| {
        let within = groups.iter().copied().filter(|g| outer_of(g).map_or("unknown", String::as_str) == value);
        let mut entry = json!({outer: value, "user_count": n});
        entry[format!("by_{}", if inner == "version" { "plugin_version" } else { inner })] =
            json!(listed(inner, "count", counted(within, inner_of)));
        entry
    });
    list.collect()
}

/// How many work with what, over the last `days`.
#[utoipa::path(get, path = "/api/v1/admin/client-stats", tag = "admin", security(("bearerAuth" = ["stats:read"])),
    params(("days" = Option<i64>, Query), ("client_type" = Option<String>, Query)),
    responses((status = 200, body = Object), (status = 403, body = super::ErrorBody)))]
async fn stats(State(app): State<App>, user: User, query: Pairs) -> Result<Json<Value>> {
    if !user.is_superadmin() {
        return Err(Error::Role("Superadmin access required"));
    }
    let days = query.get("days").and_then(|text| text.trim().parse().ok()).filter(|days| (1..=36_500).contains(days));
    let days: i64 = days.unwrap_or(30);
    let since = app.clock.now() - chrono::TimeDelta::days(days);
    let groups = store::user_clients::groups(&app.db, since).await?;
    let of = |kind: &str| groups.iter().filter(|g| g.client_type == kind).collect::<Vec<&Group>>();
    let mut summary = serde_json::Map::new();
    for (kind, total) in store::user_clients::totals(&app.db).await? {
        let active: i64 = of(&kind).iter().map(|g| g.n).sum();
        summary.insert(kind, json!({"active_users": active, "total_users": total}));
    }
    let languages = store::user_clients::languages(&app.db, since).await?;
    let languages: Vec<Value> =
        languages.into_iter().map(|(language, n)| json!({"language": language, "user_count": n})).collect();
    let mut answer = json!({"period_days": days, "generated_at": health::timestamp(&app), "platform_summary": summary,
        "language_stats": languages});
    let wanted = query.get("client_type").filter(|text| !text.is_empty());
    let wants = |kind: &str| wanted.is_none_or(|wanted| wanted == kind);
    if wants("qgis_plugin") {
        let plugin = of("qgis_plugin");
        let by = |key: Of| counted(plugin.iter().copied(), key);
        let mut versions = nested(
            &plugin,
            [("version", |g| g.client_version.as_ref()), ("qgis_version", |g| g.qgis_version.as_ref())],
        );
        let systems = nested(&plugin, [("version", |g| g.client_version.as_ref()), ("os", |g| g.os.as_ref())]);
        for (version, system) in versions.iter_mut().zip(systems) {
            version["by_os"] = system["by_os"].clone();
        }
        answer["plugin_stats"] = json!({
            "by_plugin_version": versions,
            "by_qgis_version": nested(&plugin, [("qgis_version", |g| g.qgis_version.as_ref()), ("version", |g| g.client_version.as_ref())]),
            "by_os": listed("os", "user_count", by(|g| g.os.as_ref())),
            "by_language": listed("language", "user_count", by(|g| g.language.as_ref())),
        });
    }
    for (kind, name) in [("api_ui", "api_ui_stats"), ("cli", "cli_stats")] {
        if wants(kind) {
            let versions = counted(of(kind).into_iter(), |g| g.client_version.as_ref());
            answer[name] = json!({"by_version": listed("version", "user_count", versions)});
        }
    }
    Ok(Json(answer))
}
