//! `migrate --adopt`: unfinished runs of the existing server become ours.

use std::process::ExitCode;

use anyhow::bail;

use super::say;
use crate::{
    cli::serve,
    config::Flags,
    execution::adopt,
    store::{Db, takeover::reference},
};

pub async fn run(flags: &Flags, check: bool) -> anyhow::Result<ExitCode> {
    let (app, _data) = serve::app(flags).await?;
    let Db::Postgres(pool) = &app.db else { bail!("This is not a database of the existing Trends.Earth server.") };
    let open = reference::open_runs(pool).await?;
    if open.is_empty() {
        say("The existing server has no unfinished runs.");
        return Ok(ExitCode::SUCCESS);
    }
    let sign = reference::sign_of_life(pool, app.clock.now()).await?;
    if check {
        for (status, n) in &open {
            say(&format!("would take over {n} runs that are {status}"));
        }
        if let Some(sign) = sign {
            say(&sign);
        }
        return Ok(ExitCode::FAILURE);
    }
    if let Some(sign) = sign {
        bail!(sign);
    }
    let adopted = Box::pin(adopt::adopt(&app)).await?;
    say(&format!("{} runs wait for a worker of this server.", adopted.waiting));
    say(&format!(
        "{} runs had been started by the existing server, where nobody follows them any more: FAILED.",
        adopted.failed
    ));
    say(&format!("{} runs were to be cancelled: CANCELLED.", adopted.cancelled));
    for (slug, n) in &adopted.left {
        say(&format!(
            "{n} runs of {slug} stay as they are: this server has no version of it that it can run. Upload it, or use \
             `trends-earth script import`, and run this again."
        ));
    }
    if adopted.waiting > 0 {
        say(
            "Empty the queues of the existing server (`celery purge`) before its workers start again: what waits there would start \
             the same runs a second time.",
        );
    }
    Ok(ExitCode::SUCCESS)
}
