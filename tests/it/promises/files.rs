//! P1: a script reads its own package, environment, parameters and scratch, when it is built and when it runs; nothing else.

use serde_json::{Value, json};
use trends_earth::store::users::Role;

use super::{RUNGS, backwards, canary, on};
use crate::support::{Options, Package, PackageIndex, Server, source};

const LOOK: &str = include_str!("look.py");

/// Holds secrets of its own in parameters, log and scratch as long as the test wants.
const VICTIM: &str = r#"
import time

def run(params, logger):
    with open("/work/scratch", "w") as file:
        file.write(params["secret"])
    logger.info(params["secret"])
    time.sleep(600)
"#;

/// Where secrets lie on this machine: the server's folder and all that is in it, and the usual places.
fn paths(server: &Server) -> Vec<String> {
    let mut paths = Vec::new();
    let mut next = vec![server.folder.clone()];
    while let Some(folder) = next.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            // What the interpreter brings along is no secret, and long.
            let own = !folder.ends_with("runtime") && !folder.ends_with("lib");
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && own => next.push(entry.path()),
                _ => paths.push(entry.path().display().to_string()),
            }
        }
        paths.push(folder.display().to_string());
    }
    let pid = server.pid();
    paths.extend(["environ", "mem", "maps", "cwd", "root", "fd"].map(|name| format!("/proc/{pid}/{name}")));
    paths.extend(
        ["/etc/shadow", "/etc/hostname", "/etc/machine-id", "/etc/resolv.conf", "/home", "/var/lib", "/mnt", "/boot"]
            .map(str::to_owned),
    );
    paths
}

fn judge(found: &Value, own: &str, at_build: bool) {
    // What is its own is found: so the search is worth something.
    let hits = found["hits"].as_array().unwrap();
    assert!(hits.contains(&json!(["/script/src/beside.txt", own])), "{hits:?}");
    // The script's own package, which carries the same word, lies in its environment.
    let is_own = |hit: &Value| {
        hit[1] == own && hit[0].as_str().is_some_and(|path| path.starts_with("/script/") || path.starts_with("/env/"))
    };
    assert!(hits.iter().all(is_own), "secrets were found: {hits:?}");
    assert_eq!(found["told"], json!([]), "paths of the host were seen");
    let mut writable = vec!["/dev/shm", "/te/out", "/tmp", "/work"];
    if at_build {
        writable.push("/env");
    }
    for folder in found["writable"].as_array().unwrap() {
        let folder = folder.as_str().unwrap();
        let inside = |own: &str| folder == own || folder.starts_with(&format!("{own}/"));
        assert!(writable.iter().any(|own| inside(own)), "{folder} can be written");
    }
    let known = [
        "ENV",
        "EXECUTION_ID",
        "HOME",
        "LANG",
        "LC_CTYPE",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "PATH",
        "SKIP_GEE_INIT",
        "TE_JOURNAL",
        "TE_OUT",
        "TE_PARAMS",
        "TE_SCRIPT",
        "TZ",
    ];
    let known_at_build = |name: &str| {
        // What pip and its build tools say to each other.
        ["PIP_", "PEP517_", "_PYPROJECT_HOOKS_", "UV", "VIRTUAL_ENV", "GIT_", "PYTHON", "NO_COLOR", "TERM", "TMPDIR"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"].contains(&name)
            || name.to_lowercase().ends_with("_proxy")
    };
    for name in found["environment"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        assert!(known.contains(&name) || (at_build && known_at_build(name)), "{name} is in the environment");
    }
    for (pid, command) in found["commands"].as_object().unwrap() {
        let command = command.as_str().unwrap();
        assert!(!command.contains(" serve ") && !command.contains(" keep "), "process {pid} is seen: {command}");
    }
}

#[tokio::test]
async fn a_script_sees_only_its_own_files() {
    for rung in RUNGS {
        sees_only_its_own_files(rung).await;
    }
}

async fn sees_only_its_own_files(rung: &str) {
    let planted = canary("planted");
    let (of_others, of_its_own) = (canary("others"), canary("own"));
    let words = [planted.as_str(), of_others.as_str(), of_its_own.as_str(), "test-jwt-secret-0123456789"];
    let index = PackageIndex::serve([]);
    let options =
        Options::default().set("PIP_INDEX_URL", format!("{}/simple", index.url)).set("SOME_PASSWORD", &planted);
    let Some(server) = on(rung, "a_script_sees_only_its_own_files", options).await else { return };
    for name in ["jwt.key", "notes.txt"] {
        std::fs::write(server.folder.join(name), &planted).unwrap();
    }
    let admin = server.admin().await;

    let victim = server.account("victim", Role::Admin).await;
    let package = Package::new(&format!("victim of {of_others}"), VICTIM).file("src/data.txt", of_others.as_bytes());
    let slug = victim.publish_built(&package.with("timeout_s", 300)).await;
    let other = victim.run(&slug, &json!({"secret": of_others})).await;
    victim.said(&other, &of_others).await;

    let given = json!({"backwards": words.map(backwards), "paths": paths(&server)});
    // A package's code runs when it is built; what it found travels in its module.
    let code = format!("{LOOK}\nMODULE = 'FOUND = %r' % look(json.loads({:?}))\n", given.to_string());
    index.add(source("nosy", "0.1", &code));
    let main = format!(
        "{LOOK}\nimport nosy\n\ndef run(params, logger):\n    return {{'build': nosy.FOUND, 'run': look(params['given']), 'own': own()}}\n\n{OWN}"
    );
    let package = Package::new("curious", &main).requirements("nosy").file("src/beside.txt", of_its_own.as_bytes());
    let slug = admin.publish_built(&package).await;
    let run = admin.finish(&slug, &json!({"given": given})).await;
    assert_eq!(run["status"], "FINISHED", "{} {:#?}", run["failure"], admin.log(run["id"].as_str().unwrap()).await);
    let found = &run["results"];
    judge(&found["build"], &of_its_own, true);
    judge(&found["run"], &of_its_own, false);
    assert_eq!(found["own"], json!({"beside": of_its_own, "scratch": "kept", "params": true}), "its own is there");

    victim.post_empty(&format!("/api/v1/execution/{other}/cancel")).await.expect(202);
    victim.ended(&other).await;
}

/// What a script may read and write.
const OWN: &str = r#"
def own():
    with open("/work/file", "w") as file:
        file.write("kept")
    with open("/script/src/beside.txt") as beside, open("/work/file") as scratch, open("/te/params.json") as params:
        return {"beside": beside.read(), "scratch": scratch.read(), "params": "given" in json.load(params)}
"#;
