//! Sends requests and says how long their answers took: as fast as they are answered, at fixed times of arrival, again and
//! again with the tag of the last answer, or as streams that stay open. One job as JSON on standard input, figures as JSON
//! on standard output.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
    header,
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet, time::timeout};

/// How far apart streams are opened, and how long one waits that was told to come again.
const APART: Duration = Duration::from_millis(5);
const AGAIN: Duration = Duration::from_secs(1);
/// How long an answer may take before it counts as wrong.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
struct Job {
    address: String,
    /// Path of a file: tokens, and requests that name them by their number.
    requests: String,
    connections: usize,
    seconds: f64,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum Kind {
    /// Each connection sends the next request once the last one is answered; `once`: until all have been sent.
    Closed { once: bool },
    /// So many a second, at fixed times, on whichever connection is free: waiting for one counts.
    Open { rate: f64, once: bool },
    /// Connection n sends request n every `every_s` with the tag that it knows.
    Poll { every_s: f64 },
    /// Connection n sends request n and reads what comes.
    Stream,
}

#[derive(Deserialize)]
struct Plan {
    tokens: Vec<String>,
    /// Method, path, number of the token, body.
    requests: Vec<(String, String, Option<usize>, Option<String>)>,
}

#[derive(Default)]
struct Seen {
    /// Microseconds of each answer.
    times: Vec<u32>,
    statuses: BTreeMap<u16, usize>,
    bytes: usize,
    lines: usize,
    /// The first answer that was none of 2xx and 304, or why there was none.
    wrong: Option<String>,
}

#[derive(Serialize)]
struct Figures {
    answers: usize,
    seconds: f64,
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    bytes: usize,
    /// Of log lines in streams.
    lines: usize,
    statuses: BTreeMap<u16, usize>,
    wrong: usize,
    first_wrong: Option<String>,
}

struct Connection {
    address: String,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        let mut sender = match self.sender.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => {
                let stream = TcpStream::connect(&self.address).await.context("cannot connect")?;
                stream.set_nodelay(true)?;
                let (sender, connection) = handshake(TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                sender
            }
        };
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        self.sender = Some(sender);
        Ok(response)
    }
}

impl Seen {
    /// Sends one request and reads its answer; the tag of the answer.
    async fn ask(
        &mut self,
        connection: &mut Connection,
        request: Request<Full<Bytes>>,
        since: Instant,
    ) -> Option<String> {
        let answered = timeout(PATIENCE, async {
            let response = connection.send(request).await?;
            let (head, body) = response.into_parts();
            anyhow::Ok((head, body.collect().await?.to_bytes()))
        });
        let (head, body) = match answered.await.map_err(anyhow::Error::from).and_then(|answer| answer) {
            Ok(answer) => answer,
            Err(error) => {
                connection.sender = None;
                *self.statuses.entry(0).or_default() += 1;
                self.wrong.get_or_insert_with(|| format!("{error:#}"));
                return None;
            }
        };
        self.times.push(u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX));
        self.bytes += body.len();
        self.count(head.status, &body);
        head.headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned)
    }

    fn count(&mut self, status: StatusCode, body: &[u8]) {
        *self.statuses.entry(status.as_u16()).or_default() += 1;
        if !status.is_success() && status != StatusCode::NOT_MODIFIED {
            self.wrong.get_or_insert_with(|| format!("{status} {}", String::from_utf8_lossy(body)));
        }
    }

    fn add(&mut self, other: Seen) {
        self.times.extend(other.times);
        for (status, n) in other.statuses {
            *self.statuses.entry(status).or_default() += n;
        }
        self.bytes += other.bytes;
        self.lines += other.lines;
        self.wrong = self.wrong.take().or(other.wrong);
    }

    fn figures(mut self, seconds: f64) -> Figures {
        self.times.sort_unstable();
        let at = |share: f64| {
            let place = (share * self.times.len() as f64).ceil() as usize;
            self.times.get(place.saturating_sub(1)).map_or(0.0, |us| f64::from(*us) / 1000.0)
        };
        let fine = |status: &u16| (200..300).contains(status) || *status == 304;
        Figures {
            answers: self.times.len(),
            seconds,
            rate: self.times.len() as f64 / seconds,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
            bytes: self.bytes,
            lines: self.lines,
            wrong: self.statuses.iter().filter(|(status, _)| !fine(status)).map(|(_, n)| n).sum(),
            statuses: self.statuses,
            first_wrong: self.wrong,
        }
    }
}

impl Plan {
    fn request(&self, n: usize, tag: Option<&str>) -> anyhow::Result<Request<Full<Bytes>>> {
        let (method, path, token, body) = &self.requests[n % self.requests.len()];
        let mut request = Request::builder()
            .method(method.as_str())
            .uri(path)
            .header(header::HOST, "bench")
            .header(header::ACCEPT_ENCODING, "identity")
            .header("x-te-client", "type=bench");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.tokens[*token]));
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(tag) = tag {
            request = request.header(header::IF_NONE_MATCH, tag);
        }
        Ok(request.body(Full::new(Bytes::from(body.clone().unwrap_or_default())))?)
    }
}

/// Hands out arrivals at fixed times. It sleeps in a thread of its own: the runtime's timers know whole milliseconds only.
fn arrivals(rate: f64, end: Instant, most: usize) -> mpsc::UnboundedReceiver<Instant> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let start = Instant::now();
        for n in 0..most {
            let due = start + Duration::from_secs_f64(n as f64 / rate);
            if due >= end {
                break;
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if sender.send(Instant::now()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Requests one after the other on every connection, at fixed times if there is a rate.
async fn requests(job: &Job, plan: &Arc<Plan>, rate: Option<f64>, once: bool) -> anyhow::Result<Seen> {
    let end = Instant::now() + Duration::from_secs_f64(job.seconds);
    let most = if once { plan.requests.len() } else { usize::MAX };
    let due = rate.map(|rate| Arc::new(tokio::sync::Mutex::new(arrivals(rate, end, most))));
    let next = Arc::new(AtomicUsize::new(0));
    let mut askers = JoinSet::new();
    for _ in 0..job.connections {
        let (plan, due, next, address) = (plan.clone(), due.clone(), next.clone(), job.address.clone());
        askers.spawn(async move {
            let (mut seen, mut connection) = (Seen::default(), Connection { address, sender: None });
            loop {
                let since = match &due {
                    Some(due) => match due.lock().await.recv().await {
                        Some(since) => since,
                        None => break,
                    },
                    None => Instant::now(),
                };
                let n = next.fetch_add(1, Ordering::Relaxed);
                // A server that cannot keep up is not waited for until all have been sent.
                let over = if due.is_some() { Instant::now() >= end + PATIENCE } else { since >= end };
                if n >= most || over {
                    break;
                }
                seen.ask(&mut connection, plan.request(n, None)?, since).await;
            }
            anyhow::Ok(seen)
        });
    }
    sum(askers).await
}

/// Every connection asks its own question again and again.
async fn poll(job: &Job, plan: &Arc<Plan>, every_s: f64) -> anyhow::Result<Seen> {
    let start = tokio::time::Instant::now();
    let end = start + Duration::from_secs_f64(job.seconds);
    let mut askers = JoinSet::new();
    for n in 0..job.connections {
        let (plan, address) = (plan.clone(), job.address.clone());
        let first = start + Duration::from_secs_f64(every_s * n as f64 / job.connections as f64);
        askers.spawn(async move {
            let (mut seen, mut connection) = (Seen::default(), Connection { address, sender: None });
            let mut tag: Option<String> = None;
            let mut turns = tokio::time::interval_at(first, Duration::from_secs_f64(every_s));
            loop {
                if turns.tick().await >= end {
                    break;
                }
                let request = plan.request(n, tag.as_deref())?;
                tag = seen.ask(&mut connection, request, Instant::now()).await.or(tag);
            }
            anyhow::Ok(seen)
        });
    }
    sum(askers).await
}

/// Streams that stay open until the time is over. The word `open` on standard error says that all are.
async fn streams(job: &Job, plan: &Arc<Plan>) -> anyhow::Result<Seen> {
    let end = tokio::time::Instant::now() + Duration::from_secs_f64(job.seconds);
    let (opened, told) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let all = job.connections;
    let mut readers = JoinSet::new();
    for n in 0..all {
        let (plan, address, opened, told) = (plan.clone(), job.address.clone(), opened.clone(), told.clone());
        let seen = Arc::new(Mutex::new(Seen::default()));
        readers.spawn(async move {
            let reading = async {
                tokio::time::sleep(APART * u32::try_from(n)?).await;
                let (begun, mut connection) = (Instant::now(), Connection { address, sender: None });
                let mut response = connection.send(plan.request(n, None)?).await?;
                while response.status() == StatusCode::SERVICE_UNAVAILABLE {
                    tokio::time::sleep(AGAIN).await;
                    connection.sender = None;
                    response = connection.send(plan.request(n, None)?).await?;
                }
                if let Ok(mut seen) = seen.lock() {
                    seen.times.push(u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX));
                    seen.count(response.status(), b"");
                }
                if opened.fetch_add(1, Ordering::Relaxed) + 1 == all && !told.swap(true, Ordering::Relaxed) {
                    eprintln!("open");
                }
                while let Some(frame) = response.frame().await {
                    if let (Ok(data), Ok(mut seen)) = (frame?.into_data(), seen.lock()) {
                        seen.bytes += data.len();
                        seen.lines += data.windows(11).filter(|piece| piece == b"event: log\n").count();
                    }
                }
                anyhow::Ok(())
            };
            let read = tokio::time::timeout_at(end, reading).await;
            let mut seen = std::mem::take(&mut *seen.lock().map_err(|_| anyhow::anyhow!("a reader broke"))?);
            if let Ok(Err(error)) = read {
                *seen.statuses.entry(0).or_default() += 1;
                seen.wrong.get_or_insert_with(|| format!("{error:#}"));
            }
            anyhow::Ok(seen)
        });
    }
    sum(readers).await
}

async fn sum(mut askers: JoinSet<anyhow::Result<Seen>>) -> anyhow::Result<Seen> {
    let mut all = Seen::default();
    while let Some(seen) = askers.join_next().await {
        all.add(seen??);
    }
    Ok(all)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let job: Job = serde_json::from_reader(io::stdin()).context("the job on standard input")?;
    let plan =
        Arc::new(serde_json::from_slice::<Plan>(&std::fs::read(&job.requests)?).context("the file of requests")?);
    let begun = Instant::now();
    let seen = match job.kind {
        Kind::Closed { once } => requests(&job, &plan, None, once).await?,
        Kind::Open { rate, once } => requests(&job, &plan, Some(rate), once).await?,
        Kind::Poll { every_s } => poll(&job, &plan, every_s).await?,
        Kind::Stream => streams(&job, &plan).await?,
    };
    serde_json::to_writer(io::stdout(), &seen.figures(begun.elapsed().as_secs_f64()))?;
    Ok(())
}
