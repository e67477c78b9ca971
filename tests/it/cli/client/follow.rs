//! Runs are followed to their end, whatever happens on the way; the exit code says how they ended.

use nix::sys::signal::Signal;

use super::{Author, front::Front};
use crate::support::{Package, Server};

/// Says so many lines, one each 50 ms, after the file `go` of its parameters is there.
const TALKS: &str = "
import time
def run(params, logger):
    for n in range(params['lines']):
        logger.info('line %d.', n)
        logger.send_progress(n)
        time.sleep(0.05)
    if params.get('fail'):
        raise ValueError('no such tile')
    return {'lines': params['lines']}
";

/// The numbers of the lines that were shown.
fn lines(out: &str) -> Vec<u32> {
    let texts = out.lines().filter_map(|line| line.strip_prefix("  INFO     line "));
    texts.map(|text| text.trim_end_matches('.').parse().unwrap()).collect()
}

#[tokio::test]
async fn a_followed_run_goes_on_after_the_server_was_killed_and_every_line_is_shown_once() {
    let mut server = Server::start().await;
    server.may_log_errors();
    let front = Front::start(&server.base, true).await;
    let ada = Author::signed_in(&server, "ada", &front.base).await;
    ada.publish(&Package::new("Talks", TALKS)).await;
    let mut run = ada.client(&["run", "talks", "lines=80", "--follow"]).start().await;
    run.until("line 10.").await;
    server.kill();
    server.restart().await;
    front.now_at(&server.base);
    let said = run.end().await;
    assert_eq!(lines(said.ended(0)), (0..80).collect::<Vec<_>>(), "{}", said.err);
    assert!(said.err.contains("The run is FINISHED."), "{}", said.err);

    let id = said.out.lines().next().unwrap();
    let again = ada.client(&["logs", id, "--follow"]).run().await;
    assert_eq!(lines(again.ended(0)), (0..80).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_without_streams_is_asked_again_and_again() {
    let server = Server::start().await;
    let front = Front::start(&server.base, false).await;
    let ada = Author::signed_in(&server, "ada", &front.base).await;
    ada.publish(&Package::new("Talks", TALKS)).await;
    // The script is built already; only the new build is told.
    let said = ada.client(&["publish", &ada.folder(&Package::new("Talks", TALKS))]).run().await;
    assert_eq!(said.ended(0).matches("Build started.").count(), 1, "{}", said.out);
    let said = ada.client(&["run", "talks", "lines=90", "fail=true", "--follow"]).run().await;
    said.ended(1);
    assert_eq!(lines(&said.out), (0..90).collect::<Vec<_>>());
    assert!(said.err.contains("The run is FAILED: ") && said.err.contains("no such tile"), "{}", said.err);
}

#[tokio::test]
async fn a_run_that_fails_ends_with_one_and_a_cancelled_one_with_130() {
    let server = Server::start().await;
    let ada = Author::signed_in(&server, "ada", &server.base).await;
    ada.publish(&Package::new("Talks", TALKS)).await;
    let said = ada.client(&["run", "talks", "lines=1", "fail=true"]).run().await;
    let id = said.ended(0).trim();
    assert!(said.err.contains(&format!("Follow it: trends-earth client logs {id} --follow")), "{}", said.err);
    let said = ada.client(&["logs", id, "--follow"]).run().await;
    said.ended(1);
    assert!(said.err.contains("The run is FAILED: ") && said.err.contains("no such tile"), "{}", said.err);
    assert!(said.out.contains("  INFO     line 0.\n"), "{}", said.out);

    let mut run = ada.client(&["run", "talks", "lines=10000", "--follow"]).start().await;
    run.until("line 3.").await;
    let id = run.out.lines().next().unwrap().to_owned();
    let said = ada.client(&["cancel", &id]).run().await;
    assert_eq!(said.ended(0), "The run is CANCELLING.\n");
    let said = run.end().await;
    said.ended(130);
    assert!(said.err.contains("The run is CANCELLED."), "{}", said.err);
    let said = ada.client(&["cancel", &id]).run().await;
    said.ended(2);
    assert!(said.err.contains("Cannot cancel execution in CANCELLED state"), "{}", said.err);
}

#[tokio::test]
async fn who_stops_following_leaves_the_run_alone_and_hears_how_to_go_on() {
    let server = Server::start().await;
    let ada = Author::signed_in(&server, "ada", &server.base).await;
    ada.publish(&Package::new("Talks", TALKS)).await;
    let mut run = ada.client(&["run", "talks", "lines=80", "--follow"]).start().await;
    run.until("line 5.").await;
    run.signal(Signal::SIGINT);
    let said = run.end().await;
    said.ended(130);
    let id = said.out.lines().next().unwrap();
    let hint = said.err.lines().find(|line| line.starts_with("The run goes on.")).unwrap();
    let words: Vec<&str> = hint.split("trends-earth client ").nth(1).unwrap().split(' ').collect();
    assert_eq!(words[..3], ["logs", id, "--follow"]);

    let rest = ada.client(&words).run().await;
    let shown = [lines(&said.out), lines(rest.ended(0))].concat();
    assert_eq!(shown, (0..80).collect::<Vec<_>>(), "{hint}");
}
