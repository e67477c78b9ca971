//! P15: where the machine cannot keep P1 to P3, scripts do not run unless the operator said so by name.

use std::{os::unix::fs::PermissionsExt, process::Command};

use serde_json::json;

use crate::support::{Options, Package, Server, until};

/// An interpreter that answers what it is asked about itself, and then does not run: no sandbox passes its probe with it.
fn broken_python(folder: &std::path::Path) -> String {
    let path = folder.join("python3");
    let real = "/usr/bin/python3";
    let text = format!("#!/bin/sh\ncase \"$*\" in *base_prefix*) exec {real} \"$@\";; *) exit 9;; esac\n");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn no_sandbox_means_no_runs() {
    // The server looks for bubblewrap at fixed places; a limit of no processes at all lets no namespace begin.
    let folder = std::env::temp_dir().join(format!("te-broken-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&folder).unwrap();
    let python = broken_python(&folder);
    let server = Server::with(Options::default().set("TE_PYTHON", &python)).await;
    server.may_log_errors();
    until("the server has said that no script runs", async || {
        let log = server.log();
        log.contains("no script runs here") || log.contains("scripts run here")
    })
    .await;
    let log = server.log();
    if log.contains("scripts run here") {
        // The wrapper was seen through to the real interpreter: then this machine keeps its promises with it.
        crate::support::skip("no_sandbox_means_no_runs", "the interpreter behind the wrapper works");
    } else {
        // The API answers, uploads are taken, and everything waits and says why.
        let admin = server.admin().await;
        admin.publish(&Package::echo("echo")).await;
        server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
        let id = admin.run("echo", &json!({})).await;
        let run = admin.get(&format!("/api/v1/execution/{id}")).await.data(200);
        assert_eq!((&run["status"], &run["queue"]["reason"]), (&json!("PENDING"), &json!("engine_unreachable")));
        assert!(std::fs::read_dir(server.folder.join("runs")).map_or(0, Iterator::count) == 0, "a unit was made");
        let check = Command::new(env!("CARGO_BIN_EXE_trends-earth"))
            .args(["check", "--data-dir"])
            .arg(&server.folder)
            .env_clear()
            .envs(server.env())
            .output()
            .unwrap();
        assert_eq!(check.status.code(), Some(1), "{check:?}");
        assert!(String::from_utf8_lossy(&check.stdout).contains("FAILS scripts"), "{check:?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn less_than_a_sandbox_is_refused_in_production_and_beyond_this_machine() {
    let folder = std::env::temp_dir().join(format!("te-refused-{}", uuid::Uuid::new_v4()));
    for (env, listen, sentence) in [
        ([("TE_SANDBOX", "none"), ("ENVIRONMENT", "prod")], "127.0.0.1:0", "are refused with ENVIRONMENT=prod"),
        ([("TE_SANDBOX", "landlock"), ("ENVIRONMENT", "prod")], "127.0.0.1:0", "are refused with ENVIRONMENT=prod"),
        ([("TE_SANDBOX", "none"), ("ENVIRONMENT", "dev")], "0.0.0.0:0", "listens on loopback only"),
        ([("TE_SANDBOX", "landlock"), ("ENVIRONMENT", "dev")], "[::]:0", "listens on loopback only"),
    ] {
        let said = Command::new(env!("CARGO_BIN_EXE_trends-earth"))
            .args(["serve", "--listen", listen, "--data-dir"])
            .arg(&folder)
            .env_clear()
            .envs(env)
            .output()
            .unwrap();
        assert!(!said.status.success(), "{said:?}");
        assert!(String::from_utf8_lossy(&said.stderr).contains(sentence), "{said:?}");
    }
    let _ = std::fs::remove_dir_all(&folder);
}
