//! P15: where the machine cannot keep P1 to P3, scripts do not run unless the operator said so by name.

use std::process::Command;

use serde_json::json;

use crate::support::{Options, Package, Server, program, skip};

#[tokio::test]
async fn no_sandbox_means_no_runs() {
    if Command::new("bwrap").arg("--version").output().is_err() {
        return skip("no_sandbox_means_no_runs", "bubblewrap is needed to make a place without namespaces");
    }
    let server = Server::with(Options { confined: true, ..Options::default() }).await;
    server.may_log_errors();
    assert!(!server.has_sandbox().await, "a sandbox was found where none can be made: {}", server.log());
    assert!(server.log().contains("No sandbox for scripts works here"), "{}", server.log());

    // The API answers, uploads are taken, and everything waits and says why.
    let admin = server.admin().await;
    assert_eq!(admin.publish(&Package::echo("echo")).await["status"], "PENDING");
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    let id = admin.run("echo", &json!({})).await;
    let run = admin.get(&format!("/api/v1/execution/{id}")).await.data(200);
    assert_eq!((&run["status"], &run["queue"]["reason"]), (&json!("PENDING"), &json!("engine_unreachable")));
    assert!(server.files(&["runs", "builds"]).is_empty(), "a unit was made");

    // `check` says which promise is missing.
    let mut check = program(true);
    check.args(["check", "--data-dir"]).arg(&server.folder).env_clear().envs(server.env());
    let said = check.output().unwrap();
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(text.contains("FAILS scripts: No sandbox for scripts works here") && text.contains("TE_SANDBOX"), "{text}");
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
