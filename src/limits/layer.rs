//! What every route passes: a request takes its turn, and its answer says how many are left.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    Group, Limit, RUN, RUN_SIGN_IN,
    address::{Address, counted, holds},
    counters::{Count, Window},
    memory::WHOLE,
};
use crate::{
    app::App,
    auth::{self, Caller, User, tokens},
    error::{Error, Result},
    store::{self, Id, Time, rate_limit_events::NewEvent},
};

/// How much wider the account of the containers is than others, for its sign-ins.
const CONTAINERS: u32 = 20;
/// Rows about refused requests that this process writes in a minute at most, whoever asks.
const EVENTS: Limit = Limit::per(60, super::Unit::Minute);

/// A request's turn. Handlers that learn whom a request is about (`account`, `run`) count that too.
#[derive(Clone)]
pub struct Turn(Option<Arc<Inner>>);

struct Inner {
    app: App,
    group: Group,
    method: Method,
    path: String,
    caller: Caller,
    /// How the address is counted; `None` for a front end that speaks for many.
    address: Option<String>,
    state: Mutex<Taken>,
}

/// What a request has been counted at.
#[derive(Default)]
struct Taken {
    /// Key, window, and whether only a failure counts there.
    counters: Vec<(String, Window, bool)>,
    /// The address has had enough; whoever turns out to be a run or the account of the containers may sign in nevertheless.
    full: Option<Refusal>,
    /// What the headers tell.
    shown: Option<(Limit, Count)>,
    exempt: bool,
}

/// A counter that is full.
struct Refusal {
    who: String,
    key: String,
    limit: Limit,
    count: Count,
}

/// Counts a request before its handler, and tells the count after it.
pub async fn limit(State(app): State<App>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Some((turn, by)) = begin(&app, &parts) else {
        return next.run(Request::from_parts(parts, body)).await;
    };
    let mut response = match turn.enter(by).await {
        Ok(()) => {
            parts.extensions.insert(Turn(Some(turn.clone())));
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => error.into_response(),
    };
    turn.end(&mut response).await;
    response
}

/// Who brought a token that is genuine.
enum By {
    Nobody,
    User(Box<tokens::Access>),
    Run(Id),
}

fn begin(app: &App, parts: &Parts) -> Option<(Arc<Inner>, By)> {
    let limits = &app.config.limits;
    let path = parts.extensions.get::<MatchedPath>()?.as_str();
    let group = Group::of(&parts.method, path).filter(|_| limits.enabled)?;
    // A method that the route does not have is no use of it.
    let scopes = parts.extensions.get::<Arc<auth::scopes::Scopes>>()?;
    let ip = parts.extensions.get::<Address>().map(|address| address.ip);
    if !scopes.knows(&parts.method, path) || ip.is_some_and(|ip| holds(&limits.unlimited, ip)) {
        return None;
    }
    let by = brought(app, parts);
    let trusted = match &by {
        By::User(access) => access.client.as_ref().is_some_and(|client| limits.trusted_clients.contains(&client.id)),
        By::Nobody | By::Run(_) => false,
    } || ip.is_some_and(|ip| holds(&limits.trusted_networks, ip));
    let address = ip.map_or_else(|| "ip:unknown".to_owned(), |ip| format!("ip:{}", counted(ip)));
    let turn = Inner {
        app: app.clone(),
        group,
        method: parts.method.clone(),
        path: path.to_owned(),
        caller: Caller::of(parts),
        address: (!trusted).then_some(address),
        state: Mutex::default(),
    };
    Some((Arc::new(turn), by))
}

/// Only the signature is looked at: no query, and a token that is none counts as nobody's.
fn brought(app: &App, parts: &Parts) -> By {
    let Ok(token) = auth::bearer(&parts.headers) else { return By::Nobody };
    let now = app.clock.now();
    match (app.tokens.read_access(token, now), app.tokens.read_run(token, now)) {
        (Ok(access), _) => By::User(Box::new(access)),
        (_, Ok(Some(claims))) => By::Run(claims.execution),
        _ => By::Nobody,
    }
}

impl Inner {
    async fn enter(&self, by: By) -> Result<()> {
        let limits = self.group.limits(&self.app.config.limits);
        if let Some(factor) = self.group.widening() {
            let wide: Vec<Limit> = limits.iter().map(|limit| limit.wider(factor)).collect();
            let Some(address) = &self.address else { return Ok(()) };
            return match self.count(address, &wide, false).await {
                Err(refusal) if self.group == Group::Auth => {
                    self.state().full = Some(refusal);
                    Ok(())
                }
                counted => counted.map_err(|refusal| self.refuse(refusal, None)),
            };
        }
        match by {
            By::Run(execution) => self.take(&format!("run:{execution}"), &RUN, false).await,
            By::Nobody => match &self.address {
                Some(address) => self.take(address, limits, false).await,
                None => Ok(()),
            },
            By::User(access) => {
                let who = format!("user:{}", access.sub);
                let Err(refusal) = self.count(&who, limits, false).await else { return Ok(()) };
                // Only who has used up his turns is asked for his role.
                let user = auth::of_token(&self.app, *access, self.caller.clone()).await.ok();
                let exempt = user.as_ref().is_some_and(|user| user.is_admin() || user.is_environment);
                if exempt && !self.group.is_for_all() {
                    self.state().exempt = true;
                    return Ok(());
                }
                Err(self.refuse(refusal, user.as_ref()))
            }
        }
    }

    async fn take(&self, who: &str, limits: &[Limit], failures: bool) -> Result<()> {
        self.count(who, limits, failures).await.map_err(|refusal| self.refuse(refusal, None))
    }

    /// Counts at every limit; the first without room refuses.
    async fn count(&self, who: &str, limits: &[Limit], failures: bool) -> Result<(), Refusal> {
        let now = self.app.clock.now().and_utc().timestamp();
        for (n, limit) in limits.iter().enumerate() {
            let key = limit.key(who, &format!("{} {}", self.method, self.path));
            let count = self.app.counters.take(&key, *limit, now).await;
            let mut state = self.state();
            if n == 0 || !count.fits {
                state.shown = Some((*limit, count.clone()));
            }
            if !count.fits {
                return Err(Refusal { who: who.to_owned(), key, limit: *limit, count });
            }
            state.counters.push((key, count.window, failures));
        }
        Ok(())
    }

    /// 429 if the address has had enough.
    fn stay_at_address(&self) -> Result<()> {
        let full = self.state().full.take();
        full.map_or(Ok(()), |refusal| Err(self.refuse(refusal, None)))
    }

    /// The address does not hold this request up; one that succeeds is not counted there.
    fn leave_address(&self) {
        let mut state = self.state();
        state.full = None;
        for counter in &mut state.counters {
            counter.2 = true;
        }
    }

    fn state(&self) -> MutexGuard<'_, Taken> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a refused request. The first refusal of a window is written down, beside the request.
    fn refuse(&self, refusal: Refusal, user: Option<&User>) -> Error {
        let Refusal { who, key, limit, count } = refusal;
        let now = self.app.clock.now();
        let second = now.and_utc().timestamp();
        if count.first_refusal {
            tracing::warn!(who, path = self.path, limit = %limit, "a rate limit was reached");
            if self.app.counters.here.take("EVENTS", EVENTS, second).fits {
                self.write_down(&who, limit, &key, user, now);
            }
        }
        Error::Limited {
            detail: "Rate limit exceeded. Please try again later.".into(),
            code: "RATE_LIMIT_EXCEEDED",
            retry_after: u64::try_from(count.ends - second).unwrap_or(0).max(1),
        }
    }

    fn write_down(&self, who: &str, limit: Limit, key: &str, user: Option<&User>, now: Time) {
        let auth = ["auth", "login", "logout", "token", "recovery", "password"];
        let kind = match who {
            _ if auth.iter().any(|word| self.path.contains(word)) => "AUTH",
            _ if who.starts_with("user:") => "USER",
            _ => "IP",
        };
        let event = NewEvent {
            user: user.map(|user| user.id),
            user_role: user.map(|user| user.role.as_str().to_owned()),
            user_email: user.map(|user| user.email.clone()),
            kind,
            endpoint: self.path.clone(),
            method: self.method.to_string(),
            definition: limit.to_string(),
            count: i32::try_from(limit.count).unwrap_or(i32::MAX),
            window_s: i32::try_from(limit.seconds()).unwrap_or(i32::MAX),
            key: key.chars().take(255).collect(),
            address: self.caller.address.clone(),
            user_agent: self.caller.user_agent.chars().take(255).collect(),
            expires_at: now + chrono::TimeDelta::seconds(limit.seconds()),
        };
        let app = self.app.clone();
        self.app.tasks.spawn(async move {
            if let Err(error) = store::rate_limit_events::insert(&app.db, &event, now).await {
                tracing::warn!(error = %error, "a reached rate limit was not written down");
            }
        });
    }

    /// Gives back what does not count after all, and tells what is left.
    async fn end(&self, response: &mut Response) {
        let Taken { counters, full, shown, exempt } = std::mem::take(&mut *self.state());
        if let Some(refusal) = full {
            // The request has not even said whom it is about.
            *response = self.refuse(refusal, None).into_response();
        }
        let status = response.status();
        for (key, window, failures) in &counters {
            if *failures && status.is_success() {
                self.app.counters.give_back(key, WHOLE, window).await;
            } else if status == StatusCode::NOT_MODIFIED {
                self.app.counters.give_back(key, WHOLE - 1, window).await;
            }
        }
        let Some((limit, count)) = shown.filter(|_| !exempt) else { return };
        for (name, value) in [
            ("x-ratelimit-limit", i64::from(limit.count)),
            ("x-ratelimit-remaining", i64::from(count.remaining)),
            ("x-ratelimit-reset", count.ends),
        ] {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
    }
}

impl Turn {
    /// Administrators and the account of the containers are not limited here.
    pub fn seen(&self, user: &User) {
        if let Some(turn) = &self.0
            && turn.group.widening().is_none()
            && (user.is_admin() || user.is_environment)
        {
            turn.state().exempt = true;
        }
    }

    /// Counts a request about an account, by what names it: an address, a token. Its digest is what is kept.
    /// Sign-ins that fail count at the caller's address as well. 429 if either has had enough.
    pub async fn account(&self, name: &str) -> Result<()> {
        let Some(turn) = &self.0 else { return Ok(()) };
        let limits = turn.group.limits(&turn.app.config.limits);
        if turn.group == Group::Auth {
            if auth::is_environment(&turn.app, name) {
                // Hundreds of containers sign in with it, from addresses that others share.
                turn.leave_address();
                let wide: Vec<Limit> = limits.iter().map(|limit| limit.wider(CONTAINERS)).collect();
                return turn.take(&account(name), &wide, false).await;
            }
            turn.stay_at_address()?;
            if let Some(address) = &turn.address {
                turn.take(&format!("{address}/failed"), limits, true).await?;
            }
        }
        turn.take(&account(name), limits, false).await
    }

    /// Counts a sign-in of a run, if there is such a run. What others have done at its address does not hold it up.
    pub async fn run(&self, execution: Option<Id>) -> Result<()> {
        let Some(turn) = &self.0 else { return Ok(()) };
        let Some(execution) = execution else { return turn.stay_at_address() };
        turn.leave_address();
        turn.take(&format!("run:{execution}"), &RUN_SIGN_IN, false).await
    }
}

/// How an account is counted before anybody has signed in: no address of a person stands in a key.
pub fn account(name: &str) -> String {
    format!("account:{}", &tokens::digest(&name.trim().to_lowercase())[..32])
}

impl<S: Sync> FromRequestParts<S> for Turn {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Turn>().cloned().unwrap_or(Turn(None)))
    }
}
