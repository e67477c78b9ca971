//! A front end before a server, as many installations have one: its address stays while the server is started again, and it
//! can be one that passes no streams on, as the existing server has none.

use std::sync::{Arc, Mutex};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{Response, StatusCode},
};

#[derive(Clone)]
pub struct Front {
    pub base: String,
    server: Arc<Mutex<String>>,
    streams: bool,
    http: reqwest::Client,
}

impl Front {
    pub async fn start(server: &str, streams: bool) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let front = Front { base, server: Arc::new(Mutex::new(server.to_owned())), streams, http };
        let routes = axum::Router::new().fallback(pass).with_state(front.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        front
    }

    /// The server answers at another address from now on.
    pub fn now_at(&self, server: &str) {
        server.clone_into(&mut self.server.lock().unwrap());
    }
}

async fn pass(State(front): State<Front>, request: Request) -> Response<Body> {
    let answer = |status: StatusCode, body: Body| Response::builder().status(status).body(body).unwrap();
    if !front.streams && request.uri().path().ends_with("/log/stream") {
        return answer(StatusCode::NOT_FOUND, Body::from(r#"{"detail":"Not Found","status":404}"#));
    }
    let url = format!("{}{}", front.server.lock().unwrap(), request.uri());
    let (mut head, body) = request.into_parts();
    head.headers.remove("host");
    let sent = front.http.request(head.method, url).headers(head.headers);
    match sent.body(reqwest::Body::wrap_stream(body.into_data_stream())).send().await {
        Err(_) => answer(StatusCode::BAD_GATEWAY, Body::empty()),
        Ok(got) => {
            let mut passed = answer(got.status(), Body::empty());
            *passed.headers_mut() = got.headers().clone();
            passed.headers_mut().remove("transfer-encoding");
            *passed.body_mut() = Body::from_stream(got.bytes_stream());
            passed
        }
    }
}
