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
            say(&format!("would take over {status}: {n}"));
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
    say(&format!("waiting for a worker of this server: {}", adopted.waiting));
    say(&format!("started by the existing server, where nobody follows them any more, so FAILED: {}", adopted.failed));
    say(&format!("to be cancelled, so CANCELLED: {}", adopted.cancelled));
    for (slug, n) in &adopted.left {
        say(&format!(
            "left as they are, since this server has no version of {slug} that it can run: {n}. Publish it here and run this again."
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
