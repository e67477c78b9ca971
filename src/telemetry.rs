//! What the server tells its operator: JSON lines with request and execution ids, never a secret and never a query.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts the log on standard error. `RUST_LOG` sets what is told; the default is `info` for this program.
#[expect(clippy::disallowed_methods, reason = "RUST_LOG is the log's own setting, needed before any other is read")]
pub fn start(default: &str) {
    let filter = std::env::var("RUST_LOG")
        .ok()
        .and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(default));
    let lines = fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false)
        .with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}
