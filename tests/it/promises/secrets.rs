//! P5: no key or password of the server or of an account is in a unit's environment, files or arguments, in a log or an error.

use serde_json::json;

use super::{RUNGS, on};
use crate::support::{Options, Package, is_root, processes_of};

#[tokio::test]
async fn no_secret_leaves_the_server() {
    for rung in RUNGS {
        let options = Options::default()
            .set("API_ENVIRONMENT_USER", "runner@example.org")
            .set("API_ENVIRONMENT_USER_PASSWORD", "canary-of-the-runner")
            .set("JWT_SECRET_KEY", "canary-of-the-signing-key-0123456789abcdef");
        let Some(server) = on(rung, "no_secret_leaves_the_server", options).await else { continue };
        let admin = server.admin().await;
        let main = "import os, time\ndef run(params, logger):\n    logger.info('ready')\n    \
                    print(dict(os.environ), open('/proc/self/cmdline').read(), open('/proc/1/cmdline').read())\n    \
                    while not os.path.exists('/work/go') and params.get('wait'):\n        time.sleep(0.05)\n        \
                    params['wait'] -= 1\n    return dict(os.environ)\n";
        let slug = admin.publish_built(&Package::new("env", main)).await;
        let id = admin.run(&slug, &json!({"wait": 40})).await;
        admin.said(&id, "ready").await;
        let mut secrets = vec![
            "canary-of-the-runner".to_owned(),
            "canary-of-the-signing-key".to_owned(),
            admin.password.clone(),
            admin.token.clone().unwrap(),
        ];
        secrets.extend(server.env().get("DATABASE_URL").cloned());
        let mut texts = Vec::new();
        for pid in processes_of(&id) {
            for name in ["environ", "cmdline"] {
                let place = format!("/proc/{pid}/{name}");
                texts.push((place.clone(), std::fs::read(place).unwrap_or_default()));
            }
        }
        assert!(!texts.is_empty(), "the run's processes are found");
        admin.ended(&id).await;
        let mut places = server.files(&["runs", "builds", "versions", "runtime", "envs"]);
        places.extend(["server.log", "server.out"].map(|name| server.folder.join(name)));
        texts
            .extend(places.iter().map(|place| (place.display().to_string(), std::fs::read(place).unwrap_or_default())));
        for (place, text) in &texts {
            let text = String::from_utf8_lossy(text);
            for secret in &secrets {
                assert!(!text.contains(secret.as_str()), "{place} holds {secret}");
            }
        }
        // What others of the same account could read of the server itself.
        if !is_root() {
            let environ = std::fs::read(format!("/proc/{}/environ", server.pid()));
            assert!(environ.is_err(), "the server's environment can be read by its own account");
        }
        // Errors tell nothing of the inside.
        for path in ["/api/v1/script/%27%22;--", "/api/v1/execution/x", "/api/v1/script?page=%00"] {
            let body = admin.get(path).await.bytes;
            let text = String::from_utf8_lossy(&body).to_lowercase();
            assert!(!["select ", "sqlx", "panicked", "src/"].iter().any(|word| text.contains(word)), "{text}");
        }
    }
}
