//! The programs that talk to this server, unchanged: the command line from PyPI, and what a container says.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use trends_earth::{
    engine::docker::unit::{BUCKET, OBJECTS, PREFIX},
    store::{Db, users::Role},
};

use crate::support::{Client, Options, Package, Server, python, skip};

fn program(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients").join(file)
}

/// Runs a program with this standard input; what it says on both outputs.
async fn run(mut command: Command, input: &str) -> String {
    let input = input.to_owned();
    let command = move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}");
        said
    };
    tokio::task::spawn_blocking(command).await.unwrap()
}

/// An author's folder, his home, and the command line in it.
struct Author {
    python: PathBuf,
    home: PathBuf,
    project: PathBuf,
    base: String,
}

impl Author {
    fn new(server: &Server, python: PathBuf, package: &Package) -> Self {
        let home = server.folder.join("home");
        let project = home.join("project");
        std::fs::create_dir_all(project.join("src")).unwrap();
        std::fs::write(home.join(".gef.yml"), "").unwrap();
        std::fs::write(project.join("configuration.json"), package.configuration.to_string()).unwrap();
        for (path, bytes) in &package.files {
            std::fs::write(project.join(path), bytes).unwrap();
        }
        Author { python, home, project, base: server.base.clone() }
    }

    async fn trends(&self, words: &[&str], input: &str) -> String {
        let mut command = Command::new(&self.python);
        command.arg(program("trends.py")).arg(&self.base).args(words).current_dir(&self.project);
        command.env("HOME", &self.home).env("NO_PROXY", "127.0.0.1");
        run(command, input).await
    }

    /// The id that the command line wrote into the author's configuration.
    fn script(&self) -> String {
        let text = std::fs::read_to_string(self.project.join("configuration.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["id"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn the_command_line_from_pypi_signs_in_publishes_shows_and_downloads() {
    let made = python::environment(
        "cli",
        "import tecli",
        &[&["requests", "pyyaml", "termcolor", "python-dateutil", "fire"], &["--no-deps", "trends-earth-cli"]],
    );
    let python = match made {
        Ok(python) => python,
        Err(why) => return skip("the_command_line_from_pypi_signs_in_publishes_shows_and_downloads", &why),
    };
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let author = Author::new(&server, python, &Package::echo("From The Command Line"));

    let wrong = author.trends(&["login"], &format!("{}\nwrong\n", admin.email)).await;
    assert!(wrong.contains("Error login."), "{wrong}");
    let said = author.trends(&["login"], &format!("{}\n{}\n", admin.email, admin.password)).await;
    assert!(said.contains("You are logged"), "{said}");

    let said = author.trends(&["publish"], "").await;
    assert!(said.contains("Script published successfully"), "{said}");
    let id = author.script();
    std::fs::write(author.project.join("src/extra.py"), "TILES = 12\n").unwrap();
    let said = author.trends(&["publish", "--public", "--overwrite"], "").await;
    assert!(said.contains("Script published successfully"), "{said}");
    assert_eq!(author.script(), id, "publishing again is a PATCH");
    let script = admin.get(&format!("/api/v1/script/{id}")).await.data(200);
    assert_eq!((&script["slug"], &script["public"]), (&json!("from-the-command-line"), &json!(true)));

    let said = author.trends(&["info"], "").await;
    for line in [&format!("Id: {id}"), "Slug: From The Command Line", "Name: from-the-command-line", "Status: PENDING"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }

    let said = author.trends(&["download", &id], "").await;
    assert!(said.contains("Script downloaded successfully"), "{said}");
    for file in ["configuration.json", "requirements.txt", "src/main.py", "src/extra.py"] {
        let (sent, got) = (author.project.join(file), author.project.join(&id).join(file));
        // The command line writes the id into the configuration after the first upload, and sent it with the second.
        assert_eq!(std::fs::read(sent).unwrap(), std::fs::read(got).unwrap(), "{file}");
    }
}

/// Clients that accept compressed answers read this one below their decoder.
#[tokio::test]
async fn an_archive_is_downloaded_byte_for_byte_and_never_compressed() {
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let package = Package::echo("Bytes").file("src/big.txt", "a".repeat(100_000));
    let id = admin.publish(&package).await["id"].as_str().unwrap().to_owned();
    let request = admin.request(reqwest::Method::GET, &format!("/api/v1/script/{id}/download"));
    let answer = admin.send(request.header("Accept-Encoding", "gzip, deflate, br, zstd")).await;
    assert_eq!((answer.status, answer.headers.get("content-encoding")), (200, None));
    assert_eq!(answer.headers["content-disposition"], "attachment; filename=bytes.tar.gz");
    assert_eq!(answer.bytes, package.pack());
}

/// Today's command line: everything once, then what is later than the last line, with a bare `+` in the query.
#[tokio::test]
async fn a_build_log_is_followed_by_the_time_of_its_last_line() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let slug = admin.publish_built(&Package::echo("Followed")).await;
    let id = admin.get(&format!("/api/v1/script/{slug}")).await.data(200)["id"].as_str().unwrap().to_owned();
    let script = admin.get(&format!("/api/v1/script/{id}?include=logs")).await.data(200);
    assert_eq!(script["status"], "SUCCESS");
    let lines = script["logs"].as_array().unwrap().clone();
    assert!(lines.len() > 1, "{lines:?}");
    for (n, line) in lines.iter().enumerate() {
        let at = line["register_date"].as_str().unwrap();
        let later: Vec<Value> = lines.iter().filter(|l| l["register_date"].as_str() > Some(at)).cloned().collect();
        for start in [format!("{at}+00:00"), at.to_owned(), format!("{at}Z"), format!("{at}%2B00:00")] {
            let path = format!("/api/v1/script/{id}/log?start={start}");
            assert_eq!(admin.get(&path).await.data(200), json!(later), "{path}, line {n}");
        }
    }
}

/// An execution as the existing server leaves it for its container.
async fn foreign_execution(server: &Server, admin: &Client) -> String {
    let script = admin.publish(&Package::echo("Foreign")).await["id"].as_str().unwrap().to_owned();
    let owner = admin.get("/api/v1/user/me").await.data(200)["id"].as_str().unwrap().to_owned();
    let id = uuid::Uuid::new_v4().to_string();
    let insert = format!(
        "INSERT INTO execution (id, start_date, status, progress, params, results, script_id, user_id)
         VALUES ('{id}', '2026-01-01 00:00:00', 'READY', 0, '{{}}', '{{}}', '{script}', '{owner}')"
    );
    let insert = sqlx::AssertSqlSafe(insert);
    match &server.app.db {
        Db::Sqlite { write, .. } => drop(sqlx::raw_sql(insert).execute(write).await.unwrap()),
        Db::Postgres(pool) => drop(sqlx::raw_sql(insert).execute(&**pool).await.unwrap()),
    }
    id
}

#[tokio::test]
async fn a_container_of_the_existing_server_reports_with_the_environment_account() {
    let python = match python::python("record", "import requests", &[&["requests", "brotli"]]) {
        Ok(python) => python,
        Err(why) => return skip("a_container_of_the_existing_server_reports_with_the_environment_account", &why),
    };
    let options = Options { no_worker: true, ..Options::default() };
    let server = Server::with(options.set("API_ENVIRONMENT_USER", "Environment@example.org")).await;
    let environment = server.account("environment", Role::User).await;
    let admin = server.admin().await;
    let id = foreign_execution(&server, &admin).await;

    let mut command = Command::new(&python);
    command.arg(program("environment.py")).args([&server.base, &id, &environment.email, &environment.password]);
    command.env("NO_PROXY", "127.0.0.1");
    let said = run(command, "").await;
    let expected = [
        "POST log 401".to_owned(),
        "login 200".into(),
        "POST log 200".into(),
        format!("PATCH {id} 200"),
        "POST log 200".into(),
        "POST log 200".into(),
        format!("PATCH {id} 200"),
        "login 200".into(),
        "refresh 200".into(),
        format!("PATCH {id} 200"),
        format!("PATCH {id} 200"),
        "POST log 200".into(),
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);

    let execution = admin.get(&format!("/api/v1/execution/{id}")).await.data(200);
    assert_eq!((&execution["status"], &execution["progress"]), (&json!("FINISHED"), &json!(100)));
    assert_eq!(execution["results"]["data"][0], Value::Null, "NaN is no JSON");
    assert_eq!(execution["results"]["name"], json!("d\u{fffd}ne"));
    let log = admin.log(&id).await;
    assert_eq!(log[1], "  File \"/project/main.py\", line 3, in <module>\n    onload = \"<b>\"  ");
    assert_eq!(log.len(), 4, "{log:?}");
}

/// The parameters of a run, and its results, as objects of S3: with the real library, told by variables alone.
#[tokio::test]
async fn boto3_finds_the_objects_of_its_own_run_and_nothing_else() {
    let python = match python::python("boto3", "import boto3", &[&["boto3"]]) {
        Ok(python) => python,
        Err(why) => return skip("boto3_finds_the_objects_of_its_own_run_and_nothing_else", &why),
    };
    // Without a worker nothing is built; a version that counts as built is enough for a run that nobody starts.
    let server = Server::api_only().await;
    let admin = server.admin().await;
    let slug = admin.publish(&Package::echo("Objects")).await["slug"].as_str().unwrap().to_owned();
    server.execute("UPDATE script_version SET status = 'SUCCESS'").await;
    server.execute("UPDATE script SET status = 'SUCCESS'").await;
    let params = json!({"year": 2020, "name": "Sahel é"});
    let (own, other) = (admin.run(&slug, &params).await, admin.run(&slug, &params).await);
    server.lend(&own, 1, "a password").await;
    server.lend(&other, 1, "another password").await;
    let id = trends_earth::store::Id::parse(&own).unwrap();

    let mut command = Command::new(&python);
    command.arg(program("objects.py")).args([&own, &other]).current_dir(&server.folder);
    command.env("NO_PROXY", "127.0.0.1").env_remove("AWS_PROFILE").env_remove("AWS_SESSION_TOKEN");
    command.env("AWS_ENDPOINT_URL_S3", format!("{}{}", server.base, OBJECTS));
    command.env("AWS_ACCESS_KEY_ID", &own).env("AWS_DEFAULT_REGION", "us-east-1");
    command.env("AWS_SECRET_ACCESS_KEY", server.app.tokens.objects_secret(id, 1).expose_secret());
    command.env("PARAMS_S3_BUCKET", BUCKET).env("PARAMS_S3_PREFIX", PREFIX);
    let said = run(command, "").await;
    let mut lines = said.lines();
    assert_eq!(serde_json::from_str::<Value>(lines.next().unwrap()).unwrap(), params);
    let refused = ["another's 403", "another bucket 404", "change params 403", "list 404", "wrong secret 403"];
    assert_eq!(lines.collect::<Vec<_>>(), refused);

    let ended = admin.get(&format!("/api/v1/execution/{own}")).await.data(200);
    assert_eq!((&ended["status"], &ended["results"]["data"]), (&json!("FINISHED"), &json!([null, 1.5])));
    let untouched = admin.get(&format!("/api/v1/execution/{other}")).await.data(200);
    assert_eq!(untouched["status"], "PENDING");
}
