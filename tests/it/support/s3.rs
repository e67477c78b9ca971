//! S3 on a loopback port: moto's server, behind a door that can be shut. It is found in `target/moto`, which `test.sh`
//! prepares, or on the PATH.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    routing::{get, put},
};
use reqwest::Method;
use serde_json::json;
use tokio::net::{TcpListener as Listener, TcpStream};

use super::{Options, skip, until};

/// Whoever signs may do everything; what he signs with is not looked at.
const SIGNED: &str =
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x";

pub struct S3 {
    /// Where the server under test finds it: the door.
    pub url: String,
    /// Where the test finds it.
    own: String,
    shut: Arc<AtomicBool>,
    http: reqwest::Client,
    process: Child,
}

impl S3 {
    /// `None`, and the test is skipped, where moto is not installed.
    pub async fn start(test: &str) -> Option<Self> {
        let prepared = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/moto/bin/moto_server");
        let program = if prepared.exists() { prepared } else { "moto_server".into() };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(program);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(process) = command.spawn() else {
            skip(test, "moto is not installed (pip install 'moto[s3]' flask flask-cors)");
            return None;
        };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let shut = Arc::new(AtomicBool::new(false));
        let url = door(port, shut.clone()).await;
        let s3 = S3 { url, own: format!("http://127.0.0.1:{port}"), shut, http, process };
        until("S3 answers", async || s3.http.get(&s3.own).send().await.is_ok()).await;
        for bucket in ["scripts-of-all", "params-of-all"] {
            s3.http.put(format!("{}/{bucket}", s3.own)).send().await.unwrap().error_for_status().unwrap();
        }
        Some(s3)
    }

    /// Settings of a server that keeps its objects here.
    pub fn settings(&self, options: Options) -> Options {
        options
            .set("SCRIPTS_S3_BUCKET", "scripts-of-all")
            .set("SCRIPTS_S3_PREFIX", "api/scripts")
            .set("PARAMS_S3_BUCKET", "params-of-all")
            .set("PARAMS_S3_PREFIX", "params")
            .set("AWS_ENDPOINT_URL_S3", &self.url)
            .set("AWS_DEFAULT_REGION", "us-east-1")
    }

    /// From now on nobody gets in.
    pub fn shut(&self, shut: bool) {
        self.shut.store(shut, Ordering::Relaxed);
    }

    /// An object, `None` if it is not there.
    pub async fn get(&self, path: &str) -> Option<Vec<u8>> {
        let answer = self.ask(Method::GET, path).await;
        if answer.status() == 404 {
            return None;
        }
        Some(answer.error_for_status().unwrap().bytes().await.unwrap().to_vec())
    }

    pub async fn put(&self, path: &str, bytes: Vec<u8>) {
        let request = self.http.put(format!("{}/{path}", self.own)).header("authorization", SIGNED);
        request.body(bytes).send().await.unwrap().error_for_status().unwrap();
    }

    pub async fn delete(&self, path: &str) {
        self.ask(Method::DELETE, path).await.error_for_status().unwrap();
    }

    /// The keys of a bucket, in order.
    pub async fn keys(&self, bucket: &str) -> Vec<String> {
        let list = self.ask(Method::GET, &format!("{bucket}?list-type=2")).await.text().await.unwrap();
        list.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap().to_owned()).collect()
    }

    async fn ask(&self, method: Method, path: &str) -> reqwest::Response {
        let request = self.http.request(method, format!("{}/{path}", self.own)).header("authorization", SIGNED);
        request.send().await.unwrap()
    }
}

/// What a machine of a cloud asks for the keys of its role: they end in a minute. And how often it has asked.
pub async fn role_of_the_machine() -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let keys = async move || {
        count.fetch_add(1, Ordering::Relaxed);
        let ends = (chrono::Utc::now() + chrono::TimeDelta::minutes(1)).format("%Y-%m-%dT%H:%M:%SZ").to_string();
        axum::Json(json!({"AccessKeyId": "key", "SecretAccessKey": "secret", "Token": "token", "Expiration": ends}))
    };
    let roles = "/latest/meta-data/iam/security-credentials/";
    let router = Router::new()
        .route("/latest/api/token", put(async || "a token of the session"))
        .route(roles, get(async || "trends-earth"))
        .route(&format!("{roles}trends-earth"), get(keys));
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    (url, asked)
}

/// Hands every connection on, unless it is shut.
async fn door(port: u16, shut: Arc<AtomicBool>) -> String {
    let listener = Listener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut here, _)) = listener.accept().await {
            let shut = shut.clone();
            tokio::spawn(async move {
                let closed = async {
                    while !shut.load(Ordering::Relaxed) {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                };
                if shut.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut there) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut here, &mut there) => {}
                    () = closed => {}
                }
            });
        }
    });
    url
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
