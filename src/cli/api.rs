//! The API as a command sees it: any server, spoken to over HTTP as an account. What passes is waited for, a token that has
//! ended is traded for a new one, and what a server refuses is told in its own words.

use std::{fmt, path::PathBuf, sync::Mutex, time::Duration};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, header, multipart};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{aside, client::session, client::session::Session};

/// How long an answer that is no file may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Seconds that a server may ask to wait.
const MAX_WAIT_S: u64 = 3_600;

/// A caller, signed in.
pub struct Api {
    pub http: Client,
    pub base: String,
    session: Mutex<Session>,
    /// Where a new token is kept; `None` keeps it in memory only.
    kept: Option<PathBuf>,
}

/// Why there is no answer: a refusal in the server's own words, or no word from it.
#[derive(Debug)]
pub struct Trouble {
    /// `None` if the server was not reached or the connection broke.
    pub status: Option<StatusCode>,
    pub sentence: String,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Trouble {}

impl Trouble {
    /// Whether it may be different soon: no connection, or a server that has fallen over.
    pub fn passes(&self) -> bool {
        self.status.is_none_or(|status| status.is_server_error())
    }

    /// Whether what was asked for is not there.
    pub fn is_missing(&self) -> bool {
        self.status == Some(StatusCode::NOT_FOUND)
    }
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        let place = error.url().map(|url| url.origin().ascii_serialization()).unwrap_or_default();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let sentence = if error.is_timeout() {
            format!("{place} does not answer in time.")
        } else if error.is_connect() {
            format!("{place} cannot be reached: {cause}.")
        } else {
            format!("The connection to {place} broke: {cause}.")
        };
        Trouble { status: None, sentence }
    }
}

impl Api {
    /// A caller with this session; a new token is kept in the folder, if there is one.
    pub fn of(session: Session, kept: Option<PathBuf>) -> anyhow::Result<Self> {
        let http = http(&session.url)?;
        Ok(Api { http, base: session.url.clone(), session: Mutex::new(session), kept })
    }

    /// A session of this account at this server.
    pub async fn sign_in(url: &str, email: &str, password: &SecretString) -> anyhow::Result<Session> {
        let (http, url) = (http(url)?, url.trim_end_matches('/'));
        let credentials = json!({"email": email, "password": password.expose_secret()});
        let make = || http.post(format!("{url}/auth")).json(&credentials).timeout(PATIENCE);
        let answer = json_of(patient(make).await?).await?;
        Session::of(&answer, url, email).ok_or_else(|| anyhow::anyhow!("{url} is no Trends.Earth server."))
    }

    fn token(&self) -> String {
        self.session.lock().map(|session| session.access_token.expose_secret().to_owned()).unwrap_or_default()
    }

    /// Sends a request, made anew for each time that it is sent: again once a wait is over that the server asked for, and
    /// again with a new token if this one has ended.
    pub async fn send(&self, make: impl Fn() -> RequestBuilder) -> Result<Response, Trouble> {
        let token = self.token();
        match patient(|| make().bearer_auth(&token)).await {
            Err(trouble) if trouble.status == Some(StatusCode::UNAUTHORIZED) => {
                self.refresh().await?;
                let token = self.token();
                patient(|| make().bearer_auth(&token)).await
            }
            answer => answer,
        }
    }

    async fn refresh(&self) -> Result<(), Trouble> {
        let ended = |sentence: &str| Trouble { status: Some(StatusCode::UNAUTHORIZED), sentence: sentence.to_owned() };
        let over = || ended("The session has ended; sign in again: trends-earth client login");
        let session = self.session.lock().map(|session| session.clone()).map_err(|_| over())?;
        let Some(token) = &session.refresh_token else { return Err(over()) };
        let body = json!({"refresh_token": token.expose_secret()});
        let make = || self.http.post(format!("{}/auth/refresh", self.base)).json(&body).timeout(PATIENCE);
        let answer = match patient(make).await {
            Err(trouble) if trouble.status == Some(StatusCode::UNAUTHORIZED) => return Err(over()),
            answer => json_of(answer?).await?,
        };
        let new = Session::of(&answer, &session.url, &session.email).ok_or_else(over)?;
        let new = Session { refresh_token: new.refresh_token.or(session.refresh_token), ..new };
        if let Some(folder) = &self.kept {
            session::keep(folder, &new).map_err(|error| ended(&format!("{error:#}")))?;
        }
        if let Ok(mut session) = self.session.lock() {
            *session = new;
        }
        Ok(())
    }

    /// The JSON of an answer.
    pub async fn get(&self, path: &str) -> Result<Value, Trouble> {
        json_of(self.send(|| self.http.get(format!("{}{path}", self.base)).timeout(PATIENCE)).await?).await
    }

    /// The `data` of an answer.
    pub async fn data(&self, path: &str) -> Result<Value, Trouble> {
        Ok(self.get(path).await?["data"].take())
    }

    /// Sends a JSON document, as it is written.
    pub async fn post(&self, path: &str, body: &str) -> Result<Value, Trouble> {
        let make = || {
            let request = self.http.post(format!("{}{path}", self.base)).timeout(PATIENCE);
            request.header(header::CONTENT_TYPE, "application/json").body(body.to_owned())
        };
        Ok(json_of(self.send(make).await?).await?["data"].take())
    }

    /// Uploads an archive: a new script, or this one anew. The script's slug, and the last line of its build log before.
    pub async fn upload(&self, script: Option<&str>, name: &str, gz: &[u8]) -> Result<(String, i64), Trouble> {
        let (method, path, last) = match script {
            None => (Method::POST, "/api/v1/script".to_owned(), 0),
            Some(script) => {
                let path = format!("/api/v1/script/{script}");
                let log = self.data(&format!("{path}/log")).await?;
                let ids = log.as_array().into_iter().flatten().filter_map(|line| line["id"].as_i64());
                (Method::PATCH, path, ids.max().unwrap_or(0))
            }
        };
        let make = || {
            let part = multipart::Part::bytes(gz.to_vec()).file_name(format!("{name}.tar.gz"));
            let request = self.http.request(method.clone(), format!("{}{path}", self.base));
            request.multipart(multipart::Form::new().part("file", part))
        };
        let answer = json_of(self.send(make).await?).await?;
        Ok((answer["data"]["slug"].as_str().unwrap_or(name).to_owned(), last))
    }
}

/// A client for the server of this address; on this machine it is reached without a proxy.
fn http(url: &str) -> reqwest::Result<Client> {
    // Who says nothing about itself is taken for the QGIS plugin.
    let client = format!("type=cli; version={}; os={}", env!("CARGO_PKG_VERSION"), std::env::consts::OS);
    let value = header::HeaderValue::try_from(client).unwrap_or(header::HeaderValue::from_static("type=cli"));
    let headers = header::HeaderMap::from_iter([(header::HeaderName::from_static("x-te-client"), value)]);
    let here = url::Url::parse(url).is_ok_and(|url| match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    });
    let builder = if here { Client::builder().no_proxy() } else { Client::builder() };
    builder
        .default_headers(headers)
        .user_agent(concat!("trends-earth/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(20))
        .tcp_keepalive(Duration::from_secs(30))
        .build()
}

/// Sends a request and, as often as the server asks to wait, again. Nothing was done in such a case.
async fn patient(make: impl Fn() -> RequestBuilder) -> Result<Response, Trouble> {
    loop {
        let answer = make().send().await?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let wait = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let sentence = sentence(answer).await;
        match wait {
            Some(seconds @ 0..=MAX_WAIT_S)
                if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) =>
            {
                let seconds = seconds.max(1);
                aside(&format!("{sentence} (waiting {seconds} s)"));
                tokio::time::sleep(Duration::from_secs(seconds)).await;
            }
            _ => return Err(Trouble { status: Some(status), sentence }),
        }
    }
}

/// What an error says to people: the sentence of the server, else what its status means.
async fn sentence(answer: Response) -> String {
    let status = answer.status();
    let said = answer.json::<Value>().await.unwrap_or_default();
    let found = ["detail", "msg", "message", "error"].iter().find_map(|key| said[*key].as_str());
    found.map_or_else(|| format!("The server answers {status}."), str::to_owned)
}

async fn json_of(answer: Response) -> Result<Value, Trouble> {
    let url = answer.url().clone();
    let bytes = answer.bytes().await?;
    serde_json::from_slice(&bytes).map_err(|_| Trouble {
        status: Some(StatusCode::OK),
        sentence: format!("{url} answers, but not as a Trends.Earth server does; is the address right?"),
    })
}
