//! What `docs` promise about scripts and secrets, each promise tried from inside a real script or by a real client.
//! Where two sandboxes keep a promise, both are tried.

mod accounts;
mod costs;
mod credential;
mod files;
mod neighbour;
mod network;
mod sandbox;
mod secrets;

use crate::support::{Options, Server, skip};

/// Both ways to hold a script that need no operator's word.
const RUNGS: [&str; 2] = ["bwrap", "namespaces"];

/// A server whose scripts this sandbox holds; `None`, and a word about it, where it does not work.
async fn on(rung: &str, test: &str, options: Options) -> Option<Server> {
    let server = Server::with(options.set("TE_SANDBOX", rung)).await;
    if server.has_sandbox().await {
        return Some(server);
    }
    server.may_log_errors();
    skip(test, &format!("the sandbox {rung} does not work here"));
    None
}

/// A text that is found nowhere by chance.
fn canary(name: &str) -> String {
    format!("canary-{name}-{}", uuid::Uuid::new_v4().simple())
}

/// Written backwards, so that whoever searches for it does not find his own question.
fn backwards(text: &str) -> String {
    text.chars().rev().collect()
}
