//! How often one may call (contract/auth-users.md 12): which route is in which group, what a group allows, and who is
//! counted. A classroom behind one address is many people: where nobody has signed in yet, accounts are counted first.

pub mod address;
pub mod counters;
pub mod layer;
pub mod memory;

use std::fmt;

use axum::http::Method;
use ipnet::IpNet;
use secrecy::SecretString;

/// So many requests in a window of some units of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub count: u32,
    multiple: u32,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

impl Unit {
    fn word(self) -> &'static str {
        match self {
            Unit::Second => "second",
            Unit::Minute => "minute",
            Unit::Hour => "hour",
            Unit::Day => "day",
        }
    }
}

impl Limit {
    const fn per(count: u32, unit: Unit) -> Self {
        Limit { count, multiple: 1, unit }
    }

    /// `5 per minute`, `5/minute`, `5 per 2 hours`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_lowercase().replace('/', " per ");
        let words: Vec<&str> = text.split_whitespace().collect();
        let (count, multiple, unit) = match words[..] {
            [count, "per", unit] => (count, "1", unit),
            [count, "per", multiple, unit] => (count, multiple, unit),
            _ => return None,
        };
        let unit = match unit.trim_end_matches('s') {
            "second" => Unit::Second,
            "minute" => Unit::Minute,
            "hour" => Unit::Hour,
            "day" => Unit::Day,
            _ => return None,
        };
        let small = |text: &str| text.parse().ok().filter(|number| (1..=1_000_000).contains(number));
        Some(Limit { count: small(count)?, multiple: small(multiple)?, unit })
    }

    /// The length of its window.
    pub fn seconds(self) -> i64 {
        let unit = match self.unit {
            Unit::Second => 1,
            Unit::Minute => 60,
            Unit::Hour => 3_600,
            Unit::Day => 86_400,
        };
        i64::from(self.multiple) * unit
    }

    /// The key of one caller's counter at one endpoint.
    fn key(self, who: &str, endpoint: &str) -> String {
        format!("LIMITER/{who}/{endpoint}/{}/{}/{}", self.count, self.multiple, self.unit.word())
    }

    /// The same window, wider by a factor.
    fn wider(self, factor: u32) -> Self {
        Limit { count: self.count.saturating_mul(factor), ..self }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {} {}", self.count, self.multiple, self.unit.word())
    }
}

/// Where requests are counted: `RATE_LIMIT_STORAGE_URI`.
#[derive(Debug, Clone)]
pub enum Storage {
    /// In each process for itself: `memory://`.
    Here,
    /// In the Redis of `REDIS_URL`, if that is set; otherwise here.
    Redis,
    /// In another Redis.
    Other(SecretString),
}

/// What the settings say about limits. Each list is ordered, the shortest window first.
#[derive(Debug, Clone)]
pub struct Limits {
    /// `RATE_LIMITING_ENABLED`
    pub enabled: bool,
    pub storage: Storage,
    /// `DEFAULT_LIMITS`
    pub default: Vec<Limit>,
    /// `AUTH_LIMITS`
    pub auth: Vec<Limit>,
    /// `PASSWORD_RESET_LIMITS`
    pub password_reset: Vec<Limit>,
    /// `USER_CREATION_LIMITS`
    pub user_creation: Vec<Limit>,
    /// `EXECUTION_RUN_LIMITS`
    pub execution_run: Vec<Limit>,
    /// Networks that nobody limits; see `TE_TRUST_INTERNAL_NETWORKS`.
    pub unlimited: Vec<IpNet>,
    /// `TE_TRUSTED_CLIENTS`: front ends that speak for many people, by network; they are counted by account only.
    pub trusted_networks: Vec<IpNet>,
    /// The same by the id of a service client.
    pub trusted_clients: Vec<String>,
}

/// Requests of a run, with its own credential.
const RUN: [Limit; 1] = [Limit::per(50, Unit::Second)];
/// Sign-ins of a run.
const RUN_SIGN_IN: [Limit; 1] = [Limit::per(600, Unit::Minute)];

/// What kind of route it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    Default,
    Auth,
    PasswordReset,
    UserCreation,
    ExecutionRun,
}

impl Group {
    /// The group of a route; `None` is never limited.
    fn of(method: &Method, path: &str) -> Option<Self> {
        let posts = *method == Method::POST;
        Some(match path {
            "/api-health" => return None,
            "/auth" | "/auth/refresh" | "/api/v1/oauth/token" | "/api/v1/execution/{execution}/google-token"
                if posts =>
            {
                Group::Auth
            }
            "/api/v1/user/{user}/recover-password" | "/api/v1/user/reset-password" | "/reset-password" if posts => {
                Group::PasswordReset
            }
            "/api/v1/user" if posts => Group::UserCreation,
            "/api/v1/unsubscribe" | "/unsubscribe" => Group::UserCreation,
            "/api/v1/script/{script}/run" | "/api/v1/execution/{execution}/rerun" => Group::ExecutionRun,
            _ => Group::Default,
        })
    }

    fn limits(self, limits: &Limits) -> &[Limit] {
        match self {
            Group::Default => &limits.default,
            Group::Auth => &limits.auth,
            Group::PasswordReset => &limits.password_reset,
            Group::UserCreation => &limits.user_creation,
            Group::ExecutionRun => &limits.execution_run,
        }
    }

    /// How much wider an address is than one account, where accounts are counted.
    fn widening(self) -> Option<u32> {
        match self {
            Group::Auth => Some(20),
            // A whole class asks for its links within one minute.
            Group::PasswordReset => Some(60),
            Group::Default | Group::UserCreation | Group::ExecutionRun => None,
        }
    }
}
