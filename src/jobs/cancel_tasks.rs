//! Ends the Earth Engine tasks that a cancelled run has begun, by the ids in its own log and with the credentials that it was
//! lent (contract/scripts-executions.md 2, cancel). Google is asked again, ever later, if it does not answer.

use std::{collections::BTreeSet, sync::LazyLock, time::Duration};

use futures::future::join_all;
use regex::Regex;
use secrecy::SecretString;

use super::{Lease, WAITS};
use crate::{
    account::earth_engine::{Credential, NO_PROJECT},
    app::App,
    clock::after,
    execution::loan::{self, OF_OPERATOR, OF_USER},
    google::Access,
    jobs::CANCEL_TASKS,
    outside::Failure,
    store::{
        self, Id, Time, Tx,
        jobs::{Job, NewJob},
        logs::Line,
    },
};

/// How scripts name their tasks in their logs.
static TASK: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?i-u:task)(?i-u:[ _-]?id)?[^A-Za-z0-9\n]{1,4}([A-Z0-9]{24})(?-u:\b)").ok());
/// Tasks of one run that are ended.
const MOST: usize = 200;
/// Tasks that are asked about at one time.
const AT_ONCE: usize = 8;
/// What is told of what went wrong.
const TOLD: usize = 3;

/// Queues it, in the transaction that cancels the run. Where nobody can have credentials there is nothing to end.
pub async fn post(tx: &mut Tx, app: &App, execution: Id, now: Time) -> sqlx::Result<()> {
    if app.config.rehearse || (app.fernet.is_none() && app.google.settings.service_account.is_none()) {
        return Ok(());
    }
    let job = NewJob { kind: CANCEL_TASKS, subject: execution, unique_key: Some(format!("tasks:{execution}")) };
    store::jobs::insert(tx, &job, now).await
}

/// What came of the tasks.
#[derive(Default)]
struct Outcome {
    ended: usize,
    errors: Vec<String>,
    /// Google did not answer about some of them.
    silent: bool,
}

/// Drives the job until the tasks are ended, postponed or given up.
pub async fn drive(app: &App, job: &Job, mut lease: Lease) -> anyhow::Result<()> {
    let tasks = tasks(&store::logs::naming_tasks(&app.db, job.subject_id).await?);
    let mut outcome = Outcome::default();
    if !tasks.is_empty() {
        match opened(app, job.subject_id).await? {
            None => outcome.errors.push("the credentials of the run are gone".into()),
            Some((_, Err(Failure::Refused(..)))) => {
                outcome.errors.push("Google does not accept the credentials of the run".into());
            }
            Some((_, Err(Failure::Silent))) => outcome.silent = true,
            Some((projects, Ok(access))) => {
                for some in tasks.chunks(AT_ONCE) {
                    let sent = std::time::Instant::now();
                    if store::jobs::heartbeat(&app.db, job, after(app.clock.now(), app.config.lease_s)).await?.is_none()
                    {
                        return Ok(());
                    }
                    lease.renewed(sent);
                    end(app, some, &projects, &access.token, &mut outcome).await;
                }
            }
        }
    }
    if lease.has_passed() {
        return Ok(());
    }
    let now = app.clock.now();
    let mut tx = app.db.begin().await?;
    if !store::jobs::hold(&mut tx, job, after(now, app.config.lease_s)).await? {
        return Ok(());
    }
    let tries = store::jobs::attempts(&mut tx, job).await?;
    let next = WAITS.get(usize::try_from(tries - 1).unwrap_or(0)).filter(|_| outcome.silent);
    if let Some(minutes) = next {
        store::jobs::retry(&mut tx, job, "Google did not answer", after(now, minutes * 60)).await?;
    } else {
        if outcome.silent {
            outcome.errors.push("Google did not answer".into());
        }
        if !tasks.is_empty() && store::executions::lock(&mut tx, job.subject_id).await?.is_some() {
            let line = Line { level: "INFO".into(), text: sentence(tasks.len(), &outcome), at: now };
            store::logs::insert(&mut tx, job.subject_id, &[line]).await?;
        }
        store::jobs::finish(&mut tx, job, None, now).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// The ids in these lines, each once.
fn tasks(lines: &[String]) -> Vec<String> {
    let found = lines.iter().flat_map(|line| TASK.iter().flat_map(|task| task.captures_iter(line)));
    let ids: BTreeSet<String> = found.filter_map(|one| Some(one.get(1)?.as_str().to_owned())).collect();
    ids.into_iter().take(MOST).collect()
}

/// A token for what the run was lent, or would be, and the projects in which its tasks may be.
async fn opened(app: &App, execution: Id) -> anyhow::Result<Option<(Vec<String>, Result<Access, Failure>)>> {
    let lent = store::loans::of(&app.db, execution).await?;
    let credential = match lent {
        Some(loan) => loan::credential(app, &loan.source, loan.user_id).await?,
        // A run of the existing server.
        None => {
            let owner = store::executions::user_of(&app.db, execution).await?;
            match loan::credential(app, OF_USER, owner).await? {
                Some(own) => Some(own),
                None => loan::credential(app, OF_OPERATOR, owner).await?,
            }
        }
    };
    let Some(credential) = credential else { return Ok(None) };
    let mut projects = vec![credential.project().to_owned()];
    if let (Credential::ServiceAccount(_), Some(project)) = (&credential, &app.google.settings.project) {
        projects.insert(0, project.clone());
    }
    projects.push(NO_PROJECT.to_owned());
    projects.dedup();
    Ok(Some((projects, credential.access(app).await)))
}

/// Ends some tasks, at one time and within the lease.
async fn end(app: &App, tasks: &[String], projects: &[String], token: &SecretString, outcome: &mut Outcome) {
    let patience = Duration::from_secs(app.config.lease_s).mul_f64(0.6);
    let ended = tasks.iter().map(|task| tokio::time::timeout(patience, one(app, task, projects, token)));
    for (task, ended) in tasks.iter().zip(join_all(ended).await) {
        match ended.unwrap_or(Err(Failure::Silent)) {
            Ok(true) => outcome.ended += 1,
            Ok(false) => {}
            Err(Failure::Silent) => outcome.silent = true,
            Err(Failure::Refused(status, _)) => outcome.errors.push(format!("{task}: Google answered {status}")),
        }
    }
}

/// Ends a task in the first project that has it.
async fn one(app: &App, task: &str, projects: &[String], token: &SecretString) -> Result<bool, Failure> {
    let mut last = Failure::Silent;
    for project in projects {
        match app.google.cancel_task(token, project, task).await {
            Err(Failure::Refused(status @ (403 | 404), said)) => last = Failure::Refused(status, said),
            other => return other,
        }
    }
    Err(last)
}

fn sentence(all: usize, outcome: &Outcome) -> String {
    let mut text = format!("Execution cancelled by user. {}/{all} GEE tasks cancelled", outcome.ended);
    if !outcome.errors.is_empty() {
        let some: Vec<&str> = outcome.errors.iter().take(TOLD).map(String::as_str).collect();
        text.push_str(&format!(". Errors: {}", some.join("; ")));
    }
    text
}
