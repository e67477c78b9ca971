//! What runs are lent of Earth Engine: changed for a token while they live, hidden in their words, and the end of their tasks.

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use trends_earth::{google::account::ServiceAccount, reading};

use crate::support::{
    Answer, Client, Package, Server,
    google::{CODE, Google, service_account},
    processes_of, python, skip, until,
};

/// Changes what it was lent, says all it has, tries other doors, and stays.
const MAIN: &str = r#"
import base64, json, os, time, urllib.error, urllib.parse, urllib.request

def ask(url, fields):
    try:
        with urllib.request.urlopen(url, urllib.parse.urlencode(fields).encode(), timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code

def run(params, logger):
    env = os.environ
    seen = {name: env.get(name) for name in params["names"]}
    seen["skipped"] = env.get("SKIP_GEE_INIT")
    url = env.get("GOOGLE_OAUTH_TOKEN_URI", "")
    if url:
        lent = {"grant_type": "refresh_token", "refresh_token": env["GEE_OAUTH_REFRESH_TOKEN"]}
        seen["token"] = ask(url, lent)
        seen["other"] = [ask(url + "?x", lent), ask(url.replace("google-token", "log"), lent), ask("http://trends-earth.internal/auth", lent)]
        logger.info("I hold " + env["GEE_OAUTH_REFRESH_TOKEN"])
        print("printed " + env["GEE_OAUTH_REFRESH_TOKEN"])
    if "EE_SERVICE_ACCOUNT_JSON" in env:
        key = json.loads(base64.b64decode(env["EE_SERVICE_ACCOUNT_JSON"]))
        seen["account"] = [key["client_email"], key["project_id"], key["token_uri"].rsplit("/", 1)[1]]
        logger.info("I hold " + env["EE_SERVICE_ACCOUNT_JSON"] + " and " + json.dumps(key))
    for task in params.get("tasks", []):
        logger.info("Starting GEE task " + task)
    logger.info("seen " + json.dumps(seen, sort_keys=True))
    while params.get("stay"):
        time.sleep(0.1)
    return seen
"#;

const NAMES: [&str; 7] = [
    "GEE_OAUTH_ACCESS_TOKEN",
    "GEE_CLOUD_PROJECT",
    "GOOGLE_OAUTH_CLIENT_ID",
    "GOOGLE_OAUTH_CLIENT_SECRET",
    "GOOGLE_PROJECT_ID",
    "GEE_ENDPOINT",
    "EE_SERVICE_ACCOUNT_JSON",
];
const SET: &str = "/api/v1/user/me/gee-service-account";

/// What a run said that it sees.
async fn seen(who: &Client, run: &str) -> Value {
    who.said(run, "seen ").await;
    let lines = who.log(run).await;
    serde_json::from_str(lines.iter().find_map(|line| line.strip_prefix("seen ")).unwrap()).unwrap()
}

/// What was made for a run.
async fn made(server: &Server, run: &str) -> Value {
    let text = sqlx::AssertSqlSafe(format!("SELECT sealed FROM execution_loan WHERE execution_id = '{run}'"));
    let sealed: String = reading!(&server.app.db, |on| sqlx::query_scalar(text).fetch_one(on).await).unwrap();
    let opened = server.app.vault.open(&format!("loan:{run}"), &sealed).unwrap();
    serde_json::from_str(opened.expose_secret()).unwrap()
}

async fn change(server: &Server, run: &str, fields: &[(&str, &str)]) -> Answer {
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let path = format!("/api/v1/execution/{run}/google-token");
    server.anonymous().post_raw(&path, "application/x-www-form-urlencoded", form).await
}

/// Google's own library asks for a token with what a run was lent.
const ASKS: &str = "
import json, sys
from google.auth.transport.requests import Request
from google.oauth2 import credentials, service_account
kind, lent, url = sys.argv[1:]
if kind == 'token':
    asks = credentials.Credentials('lent', refresh_token=lent, token_uri=url, client_id='client-1', client_secret='lent',
        scopes=['https://www.googleapis.com/auth/earthengine'])
else:
    key = dict(json.loads(lent), token_uri=url)
    asks = service_account.Credentials.from_service_account_info(key, scopes=['https://www.googleapis.com/auth/earthengine'])
asks.refresh(Request())
print(asks.token)
";

/// Checks the token that Google's own library gets, where there is one.
async fn asked_by_library(server: &Server, run: &str, (kind, lent): (&str, &str), expected: &str) {
    let import = "import google.auth.transport.requests, google.oauth2.service_account";
    let python = match python::python("google-auth", import, &[&["google-auth[requests]"]]) {
        Ok(python) => python,
        Err(why) => return skip("google_s_own_library_changes_a_loan", &why),
    };
    let url = format!("{}/api/v1/execution/{run}/google-token", server.base);
    let mut command = std::process::Command::new(python);
    command.args(["-c", ASKS, kind, lent, &url]).env("NO_PROXY", "127.0.0.1");
    let said = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&said.stdout).trim_end(), expected, "{}", String::from_utf8_lossy(&said.stderr));
}

async fn consent(ada: &Client) {
    let begun = ada.post_empty("/api/v1/user/me/gee-oauth/initiate").await.data(200);
    let state = begun["state"].as_str().unwrap();
    let page = ada.with_token(None).get(&format!("/gee-oauth/callback?code={CODE}&state={state}")).await;
    page.expect(200);
    assert!(String::from_utf8_lossy(&page.bytes).contains("Your account is connected."));
}

#[tokio::test]
async fn a_run_is_lent_its_owner_s_consent_and_its_tasks_end_when_it_is_cancelled() {
    let google = Google::start().await;
    let server = Server::with(google.settings().set("GEE_ENDPOINT", "https://ee.example.org")).await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let package = Package::new("Trees", MAIN).with("uses_gee", true).with("network", "https");
    admin.publish_built(&package).await;
    admin.post_empty("/api/v1/script/trees/publish").await.expect(200);
    consent(&ada).await;
    ada.patch("/api/v1/user/me/gee-credentials/project", &json!({"cloud_project": "her-project"})).await.expect(200);
    google.calls();

    let (running, done, foreign) = ("AAAABBBBCCCCDDDDEEEE0001", "AAAABBBBCCCCDDDDEEEE0002", "AAAABBBBCCCCDDDDEEEE0003");
    google.task(running, "RUNNING");
    google.task(done, "SUCCEEDED");
    google.task(foreign, "RUNNING");
    let run = ada.run("trees", &json!({"names": NAMES, "tasks": [running, done], "stay": true})).await;
    let seen = seen(&ada, &run).await;
    let token = made(&server, &run).await["token"].as_str().unwrap().to_owned();
    assert_eq!(seen["token"]["access_token"], "refreshed");
    assert_eq!(seen["other"], json!([403, 403, 403]), "one address and no other");
    assert_eq!(
        (&seen["GEE_OAUTH_ACCESS_TOKEN"], &seen["GOOGLE_OAUTH_CLIENT_SECRET"]),
        (&json!("lent"), &json!("lent"))
    );
    assert_eq!(
        (&seen["GEE_CLOUD_PROJECT"], &seen["GOOGLE_OAUTH_CLIENT_ID"]),
        (&json!("her-project"), &json!("client-1"))
    );
    assert_eq!((&seen["GEE_ENDPOINT"], &seen["skipped"]), (&json!("https://ee.example.org"), &Value::Null));
    assert_eq!(google.calls().len(), 1, "only the run's own change");

    // Neither the consent nor what was made of it lies in a file, a command line or a log.
    let mut texts = vec![ada.log(&run).await.join("\n")];
    texts.extend(
        server
            .files(&["runs"])
            .iter()
            .map(|file| String::from_utf8_lossy(&std::fs::read(file).unwrap_or_default()).into_owned()),
    );
    texts.extend(processes_of(&run).iter().map(|pid| {
        String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default()).into_owned()
    }));
    let printed = server.unit(&run).join("stdout.log");
    for text in &texts {
        assert!(!text.contains("1//good") && !text.contains("client secret 1"));
    }
    assert!(!texts[0].contains(&token) && texts[0].contains("I hold ***"), "{}", texts[0]);
    // What a script prints itself stands in the file of its own unit, and is hidden where it is kept.
    until("it is printed", async || std::fs::read_to_string(&printed).is_ok_and(|text| text.contains("printed"))).await;

    // The door knows what was made for this run and nothing else.
    let refresh = |token: &'static str| [("grant_type", "refresh_token"), ("refresh_token", token)];
    assert_eq!(change(&server, &run, &refresh("1//good")).await.expect(400)["error"], "invalid_grant");
    assert_eq!(change(&server, &run, &[]).await.expect(400)["error"], "unsupported_grant_type");
    let own = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
    let again = change(&server, &run, &own).await.expect(200);
    assert!(again["expires_in"].as_i64().unwrap() > 3_000 && again["access_token"] == "refreshed", "{again}");
    asked_by_library(&server, &run, ("token", &token), "refreshed").await;
    assert_eq!(google.calls(), [], "one token an hour");

    ada.post_empty(&format!("/api/v1/execution/{run}/cancel")).await.expect(202);
    assert_eq!(ada.ended(&run).await["status"], "CANCELLED");
    assert_eq!(change(&server, &run, &own).await.expect(400)["error"], "invalid_grant");
    until("the tasks are ended", async || server.rows("job WHERE kind = 'cancel_tasks' AND state = 'done'").await == 1)
        .await;
    assert_eq!([running, done, foreign].map(|task| google.state_of(task)), ["CANCELLED", "SUCCEEDED", "RUNNING"]);
    assert_eq!(ada.log(&run).await.last().unwrap(), "Execution cancelled by user. 1/2 GEE tasks cancelled");
    let ended = google.calls().into_iter().find(|call| call.path.ends_with(":cancel")).unwrap();
    assert_eq!(ended.path, format!("/earthengine.googleapis.com/v1/projects/her-project/operations/{running}:cancel"));
    assert_eq!(ended.token, "refreshed");
    let output =
        server.rows(&format!("execution_output WHERE execution_id = '{run}' AND text LIKE '%printed ***%'")).await;
    assert_eq!(output, 1);
}

#[tokio::test]
async fn runs_without_an_own_credential_are_lent_the_operator_s_and_only_by_scripts_of_administrators() {
    let google = Google::start().await;
    let operator = service_account("operator");
    let options = google
        .settings()
        .set("EE_SERVICE_ACCOUNT_JSON", STANDARD.encode(operator.to_string()))
        .set("GOOGLE_PROJECT_ID", "paying-project");
    let server = Server::with(options).await;
    let (admin, ada) = (server.admin().await, server.user("ada").await);
    let package = |name: &str| Package::new(name, MAIN).with("network", "https");
    for (name, uses) in [("Trees", true), ("Plain", false)] {
        admin.publish_built(&package(name).with("uses_gee", uses)).await;
        admin.post_empty(&format!("/api/v1/script/{}/publish", name.to_lowercase())).await.expect(200);
    }
    let run = ada.run("trees", &json!({"names": NAMES, "stay": true})).await;
    let seen = seen(&ada, &run).await;
    let account = json!(["operator@operator-project.iam.gserviceaccount.com", "operator-project", "google-token"]);
    assert_eq!((&seen["account"], &seen["GOOGLE_PROJECT_ID"]), (&account, &json!("paying-project")));
    // Its own words are rid of the key, in whatever form it is said.
    let made = made(&server, &run).await["account"].as_str().unwrap().to_owned();
    let lent: Value = serde_json::from_str(&made).unwrap();
    assert_ne!(lent["private_key"], operator["private_key"]);
    let log = ada.log(&run).await.join("\n");
    for line in lent["private_key"].as_str().unwrap().lines().filter(|line| !line.starts_with('-')) {
        assert!(!log.contains(line));
    }
    assert!(!log.contains(&STANDARD.encode(&made)) && log.contains("I hold *** and "));
    // A request that is signed with the run's own key is changed; one that is signed with another is not.
    let now = server.app.clock.now();
    let signed = |key: &str| {
        let account = ServiceAccount::read(key).unwrap();
        account.request("x", &["y"], None, now).unwrap().expose_secret().to_owned()
    };
    const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    let forged = signed(&operator.to_string());
    assert_eq!(
        change(&server, &run, &[("grant_type", GRANT), ("assertion", &forged)]).await.expect(400)["error"],
        "invalid_grant"
    );
    let own = signed(&made);
    let got = change(&server, &run, &[("grant_type", GRANT), ("assertion", &own)]).await.expect(200);
    let token = "token of operator@operator-project.iam.gserviceaccount.com";
    assert_eq!(got["access_token"], token);
    asked_by_library(&server, &run, ("account", &made), token).await;
    ada.post_empty(&format!("/api/v1/execution/{run}/cancel")).await.expect(202);
    ada.ended(&run).await;
    assert_eq!(
        change(&server, &run, &[("grant_type", GRANT), ("assertion", &own)]).await.expect(400)["error"],
        "invalid_grant"
    );

    // A person's own account comes first; who does not use Earth Engine gets nothing.
    ada.post(SET, &json!({"service_account_key": service_account("hers")})).await.expect(200);
    let own = ada.finish("trees", &json!({"names": NAMES})).await["results"].take();
    assert_eq!(own["account"][0], "hers@hers-project.iam.gserviceaccount.com");
    assert_eq!(own["GOOGLE_PROJECT_ID"], Value::Null);
    let plain = ada.finish("plain", &json!({"names": NAMES})).await["results"].take();
    assert_eq!(plain["skipped"], "true");
    assert!(plain.get("account").is_none() && plain.get("token").is_none());

    // A version that no administrator uploaded gets nothing of anybody, but of its own author.
    server
        .execute(r#"UPDATE script_version SET created_by = (SELECT id FROM "user" WHERE email = 'ada@example.org')"#)
        .await;
    let own = ada.finish("trees", &json!({"names": NAMES})).await["results"].take();
    assert_eq!(own["account"][0], "hers@hers-project.iam.gserviceaccount.com");
    let bob = server.user("bob").await;
    let none = bob.finish("trees", &json!({"names": NAMES})).await;
    assert!(none["results"].get("account").is_none(), "{none}");
    let withheld = "Earth Engine credentials are lent to scripts of administrators only; this run has none.";
    assert_eq!(bob.log(none["id"].as_str().unwrap()).await[0], withheld);
}
