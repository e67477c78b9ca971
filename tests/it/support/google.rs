//! A stand-in for Google: tokens, accounts, Earth Engine, a bucket, groups. It keeps every call.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use super::Options;

/// What was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub method: String,
    /// `/<host>/<path>`, without the query.
    pub path: String,
    /// The token that was brought; empty for none.
    pub token: String,
    pub body: String,
}

/// The stand-in.
#[derive(Clone)]
pub struct Google {
    pub url: String,
    state: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    calls: Vec<Call>,
    policy: Value,
    tasks: BTreeMap<String, &'static str>,
    members: Vec<String>,
}

/// What opens something, and nothing else does.
pub const CODE: &str = "4/good";
pub const REFRESH: &str = "1//good";
/// The address of the account that consents.
pub const ADDRESS: &str = "ada.g@gmail.example";

impl Google {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(Inner { policy: json!({"etag": "E1", "bindings": []}), ..Inner::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Google { url, state }
    }

    /// Settings of a server that asks it.
    pub fn settings(&self) -> Options {
        Options::default()
            .set("GEE_ENCRYPTION_KEY", "the key of the test")
            .set("TE_GOOGLE_URL", &self.url)
            .set("GOOGLE_OAUTH_CLIENT_ID", "client-1")
            .set("GOOGLE_OAUTH_CLIENT_SECRET", "client secret 1")
    }

    /// Everything that was asked since the last time.
    pub fn calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    /// The bucket's rules.
    pub fn bindings(&self) -> Value {
        self.state.lock().unwrap().policy["bindings"].clone()
    }

    /// A task of Earth Engine that is there, in this state.
    pub fn task(&self, id: &str, state: &'static str) {
        self.state.lock().unwrap().tasks.insert(id.to_owned(), state);
    }

    /// In which state it is now.
    pub fn state_of(&self, task: &str) -> &'static str {
        self.state.lock().unwrap().tasks[task]
    }

    /// `<group> <address>` of every member.
    pub fn members(&self) -> Vec<String> {
        self.state.lock().unwrap().members.clone()
    }
}

/// The key of a service account.
pub fn service_account(name: &str) -> Value {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
    json!({"type": "service_account", "project_id": format!("{name}-project"), "private_key_id": "k1", "private_key": pem,
        "client_email": format!("{name}@{name}-project.iam.gserviceaccount.com"), "client_id": "1",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth", "token_uri": "http://169.254.169.254/token"})
}

async fn answer(
    State(state): State<Arc<Mutex<Inner>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, Json<Value>) {
    let token = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or("");
    let token = token.trim_start_matches("Bearer ").to_owned();
    let mut state = state.lock().unwrap();
    let path = uri.path().to_owned();
    state.calls.push(Call { method: method.to_string(), path: path.clone(), token: token.clone(), body: body.clone() });
    let (status, said) = state.judge(&method, &path, &token, &body);
    (StatusCode::from_u16(status).unwrap(), Json(said))
}

impl Inner {
    fn judge(&mut self, method: &Method, path: &str, token: &str, body: &str) -> (u16, Value) {
        let no = (403, json!({"error": {"code": 403, "message": "no"}}));
        if path == "/oauth2.googleapis.com/token" {
            return token_for(body);
        }
        if token.is_empty() {
            return (401, json!({"error": {"code": 401}}));
        }
        if path == "/www.googleapis.com/oauth2/v2/userinfo" {
            return (200, json!({"email": ADDRESS}));
        }
        if path == "/storage.googleapis.com/storage/v1/b/exports/iam" {
            if method == Method::PUT {
                self.policy = serde_json::from_str(body).unwrap();
            }
            return (200, self.policy.clone());
        }
        if let Some(rest) = path.strip_prefix("/admin.googleapis.com/admin/directory/v1/groups/") {
            let (group, name) = rest.split_once("/members").unwrap();
            if method == Method::POST {
                let said: Value = serde_json::from_str(body).unwrap();
                let member = format!("{group} {}", said["email"].as_str().unwrap());
                if self.members.contains(&member) {
                    return (409, json!({}));
                }
                self.members.push(member);
                return (200, json!({}));
            }
            let member = format!("{group} {}", name.trim_start_matches('/').replace("%40", "@"));
            let before = self.members.len();
            self.members.retain(|other| *other != member);
            return if self.members.len() < before { (204, Value::Null) } else { (404, json!({})) };
        }
        if path.starts_with("/earthengine.googleapis.com/v1/projects/") {
            if path.ends_with("/value:compute") {
                return if path.contains("/closed-project/") { no } else { (200, json!({"result": 1})) };
            }
            let task = path.rsplit('/').next().unwrap();
            let (task, cancel) = task.split_once(':').map_or((task, false), |(task, _)| (task, true));
            return match self.tasks.get_mut(task) {
                None => (404, json!({"error": {"code": 404}})),
                Some(state) => {
                    if cancel {
                        *state = "CANCELLED";
                    }
                    (200, json!({"metadata": {"state": *state}, "done": *state == "SUCCEEDED"}))
                }
            };
        }
        (404, json!({}))
    }
}

fn token_for(body: &str) -> (u16, Value) {
    let form: BTreeMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    let field = |name: &str| form.get(name).map_or("", String::as_str);
    let client = field("client_id") == "client-1" && field("client_secret") == "client secret 1";
    match field("grant_type") {
        "authorization_code" if client && field("code") == CODE && field("code_verifier").len() == 43 => {
            (200, json!({"access_token": "consented", "refresh_token": REFRESH, "expires_in": 3599}))
        }
        "refresh_token" if client && field("refresh_token") == REFRESH => {
            (200, json!({"access_token": "refreshed", "expires_in": 3599}))
        }
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            let claims = field("assertion").split('.').nth(1).unwrap();
            let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
            let of = claims["sub"].as_str().or(claims["iss"].as_str()).unwrap();
            (200, json!({"access_token": format!("token of {of}"), "expires_in": 3599}))
        }
        _ => (400, json!({"error": "invalid_grant"})),
    }
}
