//! A caller of the API, and what it was answered.

use std::time::Duration;

use eventsource_stream::Eventsource;
use futures::StreamExt;
use reqwest::{Method, RequestBuilder, header::HeaderMap, multipart};
use serde_json::{Value, json};

use super::Package;

/// How long an event that must come may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// A caller, signed in or not.
#[derive(Debug, Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub base: String,
    pub token: Option<String>,
    pub email: String,
    pub password: String,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
    pub what: String,
}

impl Answer {
    /// The body as JSON; `null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or(Value::Null)
    }

    /// Checks the status and gives the body.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        let text = String::from_utf8_lossy(&self.bytes);
        assert_eq!(self.status, status, "{}: {text}", self.what);
        self.json()
    }

    /// Checks the status and gives `data` of the body.
    #[track_caller]
    pub fn data(&self, status: u16) -> Value {
        self.expect(status)["data"].take()
    }

    /// Checks status and `detail` of an error.
    #[track_caller]
    pub fn refused(&self, status: u16, detail: &str) {
        let body = self.expect(status);
        assert_eq!(body["detail"], json!(detail), "{}", self.what);
        assert_eq!(body["status"], json!(status), "{}", self.what);
    }
}

impl Client {
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends what was prepared and reads the answer.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// The same where the server may be killed before it has answered.
    pub async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let (client, request) = request.build_split();
        let request = request?;
        let what = format!("{} {}", request.method(), request.url());
        let answer = client.execute(request).await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, bytes: answer.bytes().await?.to_vec(), what })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// A POST without body and content type.
    pub async fn post_empty(&self, path: &str) -> Answer {
        self.send(self.request(Method::POST, path)).await
    }

    /// A POST of these bytes with this content type.
    pub async fn post_raw(&self, path: &str, kind: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.send(self.request(Method::POST, path).header("content-type", kind).body(body)).await
    }

    /// The same caller with another token, or none.
    pub fn with_token(&self, token: impl Into<Option<String>>) -> Self {
        Client { token: token.into(), ..self.clone() }
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Uploads bytes as the part `file` under this file name.
    pub async fn upload(&self, method: Method, path: &str, file_name: &str, bytes: Vec<u8>) -> Answer {
        self.send(self.uploading(method, path, file_name, bytes)).await
    }

    /// An upload that is not sent yet.
    pub fn uploading(&self, method: Method, path: &str, file_name: &str, bytes: Vec<u8>) -> RequestBuilder {
        let part = multipart::Part::bytes(bytes).file_name(file_name.to_owned());
        self.request(method, path).multipart(multipart::Form::new().part("file", part))
    }

    /// Grants a secret to a script.
    pub async fn grant(&self, script: &str, name: &str, value: &str) {
        let path = format!("/api/v1/script/{script}/secrets/{name}");
        self.send(self.request(Method::PUT, &path).json(&json!({"value": value}))).await.expect(200);
    }

    /// Publishes a package; the script as answered.
    pub async fn publish(&self, package: &Package) -> Value {
        self.upload(Method::POST, "/api/v1/script", "script.tar.gz", package.pack()).await.data(200)
    }

    /// Publishes a package and waits for its build to succeed; its slug.
    pub async fn publish_built(&self, package: &Package) -> String {
        let slug = self.publish(package).await["slug"].as_str().unwrap().to_owned();
        let (status, log) = self.built(&slug).await;
        assert_eq!(status, "SUCCESS", "{log:#?}");
        slug
    }

    /// Waits for the end of the newest build: SUCCESS or FAIL, and the lines of its log.
    pub async fn built(&self, slug: &str) -> (String, Vec<String>) {
        let events = self.events(&format!("/api/v1/script/{slug}/log/stream")).await;
        let lines = events.iter().filter(|e| e.0 == "log").map(|e| e.1["text"].as_str().unwrap_or("").to_owned());
        (events.last().unwrap().1["status"].as_str().unwrap().to_owned(), lines.collect())
    }

    /// Starts a run; its id.
    pub async fn run(&self, slug: &str, params: &Value) -> String {
        let run = self.post(&format!("/api/v1/script/{slug}/run"), params).await.data(200);
        run["id"].as_str().unwrap().to_owned()
    }

    /// Waits for the end of a run, and gives it whole.
    pub async fn ended(&self, id: &str) -> Value {
        self.events(&format!("/api/v1/execution/{id}/log/stream")).await;
        self.get(&format!("/api/v1/execution/{id}")).await.data(200)
    }

    /// Waits until a run has said this line.
    pub async fn said(&self, id: &str, text: &str) {
        self.until(&format!("/api/v1/execution/{id}/log/stream"), |name, data| {
            name == "log" && data["text"].as_str().is_some_and(|t| t.contains(text))
        })
        .await;
    }

    /// Starts a run and waits for its end.
    pub async fn finish(&self, slug: &str, params: &Value) -> Value {
        let id = self.run(slug, params).await;
        self.ended(&id).await
    }

    /// The texts of a run's log.
    pub async fn log(&self, id: &str) -> Vec<String> {
        let lines = self.get(&format!("/api/v1/execution/{id}/log")).await.data(200);
        lines.as_array().unwrap().iter().map(|line| line["text"].as_str().unwrap_or("").to_owned()).collect()
    }

    /// All events of a live stream until its `end`: name and data.
    pub async fn events(&self, path: &str) -> Vec<(String, Value)> {
        self.until(path, |name, _| name == "end").await
    }

    /// Events of a live stream until one fits; goes on where a lost connection stopped.
    pub async fn until(&self, path: &str, fits: impl Fn(&str, &Value) -> bool) -> Vec<(String, Value)> {
        let mut seen = Vec::new();
        let mut last = String::new();
        let all = async {
            loop {
                let mut request = self.request(Method::GET, path);
                if !last.is_empty() {
                    request = request.header("Last-Event-ID", &last);
                }
                let answer = request.send().await;
                let Ok(answer) = answer else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                assert!(answer.status().is_success(), "{path}: {}", answer.status());
                let mut events = answer.bytes_stream().eventsource();
                while let Some(Ok(event)) = events.next().await {
                    let data = serde_json::from_str(&event.data).unwrap_or(Value::Null);
                    if !event.id.is_empty() {
                        last = event.id;
                    }
                    let end = fits(&event.event, &data);
                    seen.push((event.event, data));
                    if end {
                        return;
                    }
                }
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            panic!("{path}: the event did not come; seen: {seen:#?}");
        }
        seen
    }
}
