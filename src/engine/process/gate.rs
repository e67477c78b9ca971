//! The one way out of units: a CONNECT proxy on a socket in a unit's folder, served by its keeper, or on a port that
//! all containers of a network reach (`trends-earth gate`).
//! A name is resolved here, every address is checked, and the connection is made to the address that was checked.

use std::{
    cell::Cell,
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixListener, lookup_host},
    time::timeout,
};
use url::{Host, Position, Url};

use super::spec::Gate as Rules;
use crate::net;

/// The socket's name in the gate's folder.
pub const SOCKET: &str = "egress.sock";
/// Connections of one unit at one time, and of all containers of a network.
const CONNECTIONS: usize = 64;
const ALL_CONNECTIONS: usize = 4_096;
/// Refusals of one unit that are written down.
const TOLD: u32 = 50;
const HEAD_BYTES: usize = 16 * 1024;
/// Bytes of what a run sends to have a loan changed.
const LENDING_BYTES: u64 = 16 * 1024;
const HEAD_TIME: Duration = Duration::from_secs(30);
const CONNECT_TIME: Duration = Duration::from_secs(15);
/// What is still taken of a request that was refused, and how long that may last.
const LINGER_BYTES: u64 = 64 << 10;
const LINGER: Duration = Duration::from_secs(1);
/// Characters of a host in a sentence; what is longer is no host.
const HOST_CHARS: usize = 255;

/// One side of a connection.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Where units knock.
enum Door {
    Socket(UnixListener),
    Port(TcpListener),
}

impl Door {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Door::Socket(listener) => Box::new(listener.accept().await?.0),
            Door::Port(listener) => Box::new(listener.accept().await?.0),
        })
    }
}

/// Takes a sentence about what was refused.
type Note = Box<dyn Fn(&str) -> io::Result<()>>;

/// The gate of one unit, or of the containers of a network.
pub struct Gate {
    rules: Rules,
    door: Door,
    most: usize,
    note: Note,
    refusals: Cell<u32>,
    bytes: Cell<u64>,
    connections: Cell<u64>,
}

/// Why a request is not served.
enum Refusal {
    /// By our rules: the unit's log says so.
    Forbidden { target: String, why: String },
    /// The request itself is wrong.
    Bad(u16, &'static str),
    /// The other side did not answer.
    Failed(u16, String),
}

/// What a request asks for.
struct Request {
    host: String,
    port: u16,
    /// For a request that is no CONNECT.
    plain: Option<Plain>,
    /// Bytes of the body, for the one request to the server.
    lends: Option<u64>,
    /// What came after the head.
    early: Vec<u8>,
}

/// A request without TLS, to be sent on.
struct Plain {
    method: String,
    url: Url,
    /// The headers that concern the other side, each with its line's end.
    headers: String,
}

impl Plain {
    /// The head for the server itself, or for the machine's proxy with its credentials.
    fn head(&self, proxied: Option<&str>) -> String {
        let path = &self.url[Position::BeforePath..Position::AfterQuery];
        let whole = &self.url[..Position::AfterQuery];
        let target = if proxied.is_some() { whole } else { path };
        let (method, headers) = (&self.method, &self.headers);
        format!("{method} {target} HTTP/1.1\r\n{headers}{}Connection: close\r\n\r\n", proxied.unwrap_or_default())
    }
}

impl Gate {
    /// Opens the gate. `socket` is relative to the working folder: paths of sockets are limited to 108 bytes.
    pub fn open(rules: Rules, socket: &Path, note: Note) -> io::Result<Self> {
        let _ = std::fs::remove_file(socket);
        let door = Door::Socket(UnixListener::bind(socket)?);
        Ok(Self::new(rules, door, CONNECTIONS, note))
    }

    /// A gate that whoever reaches this port goes through.
    pub fn on(rules: Rules, listener: TcpListener, note: Note) -> Self {
        Self::new(rules, Door::Port(listener), ALL_CONNECTIONS, note)
    }

    fn new(rules: Rules, door: Door, most: usize, note: Note) -> Self {
        let (refusals, bytes, connections) = Default::default();
        Self { rules, door, most, note, refusals, bytes, connections }
    }

    /// Serves until it is dropped.
    pub async fn serve(&self) {
        let mut served = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.door.accept(), if served.len() < self.most => match accepted {
                    Ok(stream) => {
                        self.connections.set(self.connections.get() + 1);
                        served.push(self.handle(stream));
                    }
                    // Out of descriptors, for example: not at once again.
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                },
                Some(()) = served.next() => {}
            }
        }
    }

    /// Connections served and bytes relayed so far.
    pub fn counted(&self) -> (u64, u64) {
        (self.connections.get(), self.bytes.get())
    }

    async fn handle(&self, mut stream: Box<dyn Stream>) {
        let (status, reason) = match self.pass(&mut stream).await {
            Ok(()) => return,
            Err(Refusal::Forbidden { target, why }) => {
                let sentence = format!("The script may not reach {target}: {why}.");
                self.note(&sentence);
                (403, sentence)
            }
            Err(Refusal::Bad(status, reason)) => (status, reason.to_owned()),
            Err(Refusal::Failed(status, reason)) => (status, reason),
        };
        let phrase = match status {
            400 => "Bad Request",
            403 => "Forbidden",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            504 => "Gateway Timeout",
            _ => "Bad Gateway",
        };
        let answer = format!(
            "HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{reason}",
            reason.len()
        );
        let _ = stream.write_all(answer.as_bytes()).await;
        // A body that is still on its way is taken: closed before, the connection would be reset, and the answer lost with it.
        let _ = stream.shutdown().await;
        let mut rest = (&mut stream).take(LINGER_BYTES);
        let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
    }

    fn note(&self, sentence: &str) {
        let before = self.refusals.replace(self.refusals.get().saturating_add(1));
        let told = match (before, &self.door) {
            (0..TOLD, _) | (_, Door::Port(_)) => (self.note)(sentence),
            (TOLD, _) => (self.note)("More refusals of the gate are not written down."),
            _ => Ok(()),
        };
        if let Err(error) = told {
            eprintln!("a refusal cannot be written down: {error}");
        }
    }

    async fn pass(&self, stream: &mut Box<dyn Stream>) -> Result<(), Refusal> {
        let mut request = timeout(HEAD_TIME, self.read_request(stream))
            .await
            .map_err(|_| Refusal::Bad(408, "The request did not come in time."))??;
        let (mut outside, proxied) = self.reach(&mut request).await?;
        let credentials = self.credentials();
        let proxied = proxied.then_some(credentials.as_str());
        let failed = |error: io::Error| Refusal::Failed(502, format!("The connection was lost: {error}."));
        match &request.plain {
            Some(plain) if self.is_api(&request) => {
                outside.write_all(plain.head(None).as_bytes()).await.map_err(failed)?;
                outside.write_all(&request.early).await.map_err(failed)?;
                // Whatever follows on this connection goes to the API too, which judges it by its credential.
                let mut outside = Counted { inner: outside, bytes: &self.bytes };
                let _ = copy_bidirectional(stream, &mut outside).await;
            }
            Some(plain) => {
                outside.write_all(plain.head(proxied).as_bytes()).await.map_err(failed)?;
                if let Some(length) = request.lends {
                    let mut body = (&request.early[..]).chain(&mut *stream).take(length);
                    tokio::io::copy(&mut body, &mut outside).await.map_err(failed)?;
                }
                // One way only: a second request on this connection would not be looked at.
                let count = tokio::io::copy(&mut outside, stream).await.unwrap_or(0);
                self.bytes.set(self.bytes.get() + count);
            }
            None => {
                if let Some(credentials) = proxied {
                    tunnel(&mut outside, &request, credentials).await?;
                }
                stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.map_err(failed)?;
                outside.write_all(&request.early).await.map_err(failed)?;
                let mut outside = Counted { inner: outside, bytes: &self.bytes };
                let _ = copy_bidirectional(stream, &mut outside).await;
            }
        }
        Ok(())
    }

    async fn read_request(&self, stream: &mut Box<dyn Stream>) -> Result<Request, Refusal> {
        let lost = Refusal::Bad(400, "The request is not HTTP.");
        let (head, early) = read_head(stream).await.map_err(|_| lost)?;
        let text = String::from_utf8_lossy(&head);
        let mut lines = text.split("\r\n");
        // A bare CR or LF would be a line's end to somebody behind us.
        if text.split("\r\n").any(|line| line.chars().any(|c| c.is_control() && c != '\t')) {
            return Err(Refusal::Bad(400, "The request holds control characters."));
        }
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if method == "CONNECT" {
            let (host, port) = target
                .rsplit_once(':')
                .and_then(|(host, port)| Some((host, port.parse().ok()?)))
                .ok_or(Refusal::Bad(400, "CONNECT needs host:port."))?;
            return Ok(Request { host: normal(host)?, port, plain: None, lends: None, early });
        }
        let url = Url::parse(target).ok().filter(|url| url.scheme() == "http");
        let Some((url, host)) = url.as_ref().and_then(|url| Some((url, url.host_str()?))) else {
            return Err(Refusal::Bad(405, "This proxy knows CONNECT only."));
        };
        let lender = self.rules.lender.as_ref().filter(|lender| method == "POST" && lender.inside == url.as_str());
        if let Some(lender) = lender {
            return lending(&lender.outside, lines, early);
        }
        let port = url.port_or_known_default().unwrap_or(80);
        let request = Request { host: normal(host)?, port, plain: None, lends: None, early };
        let api = self.is_api(&request);
        if !api && !named(&self.rules.plain, &request) {
            return Err(forbidden(&request, "only HTTPS is allowed"));
        }
        if !api && !matches!(method, "GET" | "HEAD") {
            return Err(Refusal::Bad(405, "Without TLS this proxy knows GET and HEAD only."));
        }
        let mut headers = format!("Host: {}\r\n", &url[Position::BeforeHost..Position::AfterPort]);
        for line in lines.take_while(|line| !line.is_empty()) {
            let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
            if PASSED.contains(&name.as_str()) || (api && !HOP.contains(&name.as_str())) {
                headers.push_str(line);
                headers.push_str("\r\n");
            }
        }
        let plain = Plain { method: method.to_owned(), url: url.clone(), headers };
        Ok(Request { plain: Some(plain), ..request })
    }

    /// The header that the machine's proxy wants, if its address has a name and a password.
    fn credentials(&self) -> String {
        let url = self.rules.upstream.as_deref().and_then(|upstream| Url::parse(upstream).ok());
        let Some(url) = url.filter(|url| !url.username().is_empty()) else { return String::new() };
        let pair = [decoded(url.username()), decoded(url.password().unwrap_or_default())].join(&b':');
        format!("Proxy-Authorization: Basic {}\r\n", BASE64.encode(pair))
    }

    /// Whether the operator named this place, for this way to it: an index without TLS is read by requests that are
    /// looked at, and never through a tunnel.
    fn trusts(&self, request: &Request) -> bool {
        self.is_api(request)
            || request.lends.is_some()
            || named(if request.plain.is_some() { &self.rules.plain } else { &self.rules.trusted }, request)
    }

    /// Whether a request goes to the server of these runs.
    fn is_api(&self, request: &Request) -> bool {
        named(self.rules.api.as_slice(), request)
    }

    /// Connects to where a request may go; says whether that is the machine's own proxy.
    async fn reach(&self, request: &mut Request) -> Result<(TcpStream, bool), Refusal> {
        let trusted = self.trusts(request);
        if !trusted {
            if !self.rules.ports.contains(&request.port) {
                return Err(forbidden(request, &format!("port {} is not allowed", request.port)));
            }
            if let Some(hosts) = &self.rules.hosts
                && !hosts.iter().any(|rule| matches(rule, &request.host))
            {
                return Err(forbidden(request, "the host is not allowed"));
            }
        }
        let found = timeout(CONNECT_TIME, resolve(&request.host, request.port)).await;
        let addresses = match found {
            Ok(Ok(addresses)) if !addresses.is_empty() => addresses,
            // Behind a proxy the machine may know no names of the outside; the proxy does. It is asked for what the
            // operator named: where any name would lead it, nobody has checked.
            _ if self.rules.upstream.is_some()
                && !is_address(&request.host)
                && (trusted || self.rules.hosts.is_some()) =>
            {
                Vec::new()
            }
            _ => return Err(Refusal::Failed(502, format!("{} is not known.", target(request)))),
        };
        let private = addresses.iter().any(|address| net::refused_or_own(address.ip()));
        if !trusted && (private || is_local_name(&request.host)) {
            return Err(forbidden(request, "the address is not public"));
        }
        // What is trusted and near, an index of the own network, the machine's proxy would not find.
        let direct = private || self.is_api(request) || request.lends.is_some();
        if let Some(upstream) = self.rules.upstream.as_ref().filter(|_| !direct) {
            let proxy = Url::parse(upstream).ok().and_then(|url| {
                Some((url.host_str()?.trim_matches(['[', ']']).to_owned(), url.port_or_known_default()?))
            });
            let (host, port) =
                proxy.ok_or_else(|| Refusal::Failed(502, "The machine's proxy is not understood.".into()))?;
            let stream = connect(&format!("{host}:{port}"), TcpStream::connect((host.as_str(), port))).await?;
            // The proxy is told the address that was checked; it would resolve the name anew.
            if let (Some(checked), None) = (addresses.first(), &request.plain) {
                request.host = checked.ip().to_string();
            }
            return Ok((stream, true));
        }
        let mut last = Refusal::Failed(502, format!("{} does not answer.", target(request)));
        for address in addresses {
            match connect(&target(request), TcpStream::connect(address)).await {
                Ok(stream) => return Ok((stream, false)),
                Err(refusal) => last = refusal,
            }
        }
        Err(last)
    }
}

/// Headers of a request without TLS that the other side gets to see.
const PASSED: &[&str] = &[
    "accept",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "range",
    "user-agent",
];

/// Headers that concern a proxy, or that are written anew.
const HOP: &[&str] = &[
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "upgrade",
    "te",
];

/// The one request to the server: what a run was lent is changed. Of its headers only those of the body are sent on.
fn lending<'a>(outside: &str, lines: impl Iterator<Item = &'a str>, early: Vec<u8>) -> Result<Request, Refusal> {
    let url =
        Url::parse(outside).map_err(|_| Refusal::Failed(502, "The server's address is not understood.".into()))?;
    let mut headers = format!("Host: {}\r\n", &url[Position::BeforeHost..Position::AfterPort]);
    let mut length = None;
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok().filter(|length| *length <= LENDING_BYTES),
            "content-type" => headers.push_str(&format!("{line}\r\n")),
            _ => {}
        }
    }
    let length = length.ok_or(Refusal::Bad(400, "The body needs a length, of at most 16 KiB."))?;
    headers.push_str(&format!("Content-Length: {length}\r\n"));
    let host = normal(url.host_str().unwrap_or_default().trim_matches(['[', ']']))?;
    let port = url.port_or_known_default().unwrap_or(80);
    let plain = Some(Plain { method: "POST".into(), url, headers });
    Ok(Request { host, port, plain, lends: Some(length), early })
}

/// Whether a list of `host:port` names where a request goes.
fn named(places: &[String], request: &Request) -> bool {
    let target = format!("{}:{}", request.host, request.port);
    places.iter().any(|place| place.eq_ignore_ascii_case(&target))
}

async fn connect(name: &str, connecting: impl Future<Output = io::Result<TcpStream>>) -> Result<TcpStream, Refusal> {
    match timeout(CONNECT_TIME, connecting).await {
        Ok(Ok(stream)) => {
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) => Err(Refusal::Failed(502, format!("{name} cannot be reached: {error}."))),
        Err(_) => Err(Refusal::Failed(504, format!("{name} does not answer."))),
    }
}

/// Asks the machine's own proxy for a tunnel.
async fn tunnel(proxy: &mut TcpStream, request: &Request, credentials: &str) -> Result<(), Refusal> {
    let target = target(request);
    let ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credentials}\r\n");
    let answered = timeout(CONNECT_TIME, async {
        proxy.write_all(ask.as_bytes()).await?;
        read_head_exactly(proxy).await
    });
    let failed = |what: &str| Refusal::Failed(502, format!("The machine's proxy does not reach {target}: {what}."));
    match answered.await {
        Ok(Ok(head)) => {
            let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
            let good = line.split(' ').nth(1).is_some_and(|status| status.starts_with('2'));
            if good { Ok(()) } else { Err(failed(&line.chars().take(HOST_CHARS).collect::<String>())) }
        }
        Ok(Err(error)) => Err(failed(&error.to_string())),
        Err(_) => Err(failed("no answer")),
    }
}

/// A part of an address with its `%40` and the like as they are meant.
fn decoded(text: &str) -> Vec<u8> {
    // A plus is a blank only in forms, which is what the decoder is made for.
    let form = format!("x={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(form.as_bytes())
        .next()
        .map_or_else(Vec::new, |(_, value)| value.into_owned().into_bytes())
}

/// A host as it is compared and resolved: lower case, and every spelling of an IPv4 address (`0`, `0x7f.1`,
/// `2130706433`) as one.
fn normal(host: &str) -> Result<String, Refusal> {
    let bare = host.trim_end_matches('.');
    if bare.is_empty() || bare.len() > HOST_CHARS {
        return Err(Refusal::Bad(400, "This is not the name of a host."));
    }
    match Host::parse(bare) {
        Ok(Host::Ipv6(address)) => Ok(address.to_string()),
        Ok(host) => Ok(host.to_string()),
        Err(_) => match bare.parse::<IpAddr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => Err(Refusal::Bad(400, "This is not the name of a host.")),
        },
    }
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// Names that mean this machine or its network, for a proxy that would resolve them for us.
fn is_local_name(host: &str) -> bool {
    !is_address(host)
        && (host == "localhost"
            || [".localhost", ".local", ".internal", ".localdomain", ".home.arpa"]
                .iter()
                .any(|end| host.ends_with(end)))
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    Ok(lookup_host((host, port)).await?.collect())
}

/// Whether a host is meant by a rule: its exact name, or `.example.org` for a domain and all below.
fn matches(rule: &str, host: &str) -> bool {
    let rule = rule.to_ascii_lowercase();
    match rule.strip_prefix('.') {
        Some(domain) => host == domain || host.ends_with(&rule),
        None => host == rule,
    }
}

fn target(request: &Request) -> String {
    if request.host.contains(':') {
        format!("[{}]:{}", request.host, request.port)
    } else {
        format!("{}:{}", request.host, request.port)
    }
}

fn forbidden(request: &Request, why: &str) -> Refusal {
    Refusal::Forbidden { target: target(request), why: why.to_owned() }
}

/// The head of a request, and what was read beyond it.
async fn read_head(stream: &mut Box<dyn Stream>) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok((bytes, rest));
        }
        if bytes.len() > HEAD_BYTES || stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// The head of an answer and not one byte more: the rest belongs to the tunnel.
async fn read_head_exactly(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        if bytes.len() > HEAD_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        bytes.push(stream.read_u8().await?);
    }
    Ok(bytes)
}

/// A connection whose bytes are counted while they pass, also those of one that never ends.
struct Counted<'a> {
    inner: TcpStream,
    bytes: &'a Cell<u64>,
}

impl AsyncRead for Counted<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = std::pin::Pin::new(&mut self.inner).poll_read(context, buffer);
        self.bytes.set(self.bytes.get() + (buffer.filled().len() - before) as u64);
        polled
    }
}

impl AsyncWrite for Counted<'_> {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        let polled = std::pin::Pin::new(&mut self.inner).poll_write(context, bytes);
        if let std::task::Poll::Ready(Ok(count)) = polled {
            self.bytes.set(self.bytes.get() + count as u64);
        }
        polled
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<io::Result<()>> {
        std::pin::Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
