//! `migrate --remove`: everything that is ours is taken away from a database of the existing server.

use std::process::ExitCode;

use super::{say, taken_over};
use crate::{
    config::Config,
    store::takeover::{self, remove},
};

pub async fn run(config: &Config, check: bool) -> anyhow::Result<ExitCode> {
    // One connection: any other one of this program's is somebody who works.
    let (db, pool) = taken_over(config, 1).await?;
    if !db.has_table("takeover").await? && !db.has_table("_sqlx_migrations").await? {
        say("There is nothing of this program in the database.");
        return Ok(ExitCode::SUCCESS);
    }
    let obstacles = match db.has_table("worker").await? && db.has_table("execution_run").await? {
        true => remove::obstacles(&pool, takeover::now(&pool).await?).await?,
        false => Vec::new(),
    };
    for (table, rows) in remove::losses(&pool).await? {
        say(&format!(
            "{}: {table}, {rows} rows",
            if check || !obstacles.is_empty() { "would be lost" } else { "lost" }
        ));
    }
    if check {
        for sentence in obstacles {
            say(&sentence);
        }
        return Ok(ExitCode::FAILURE);
    }
    anyhow::ensure!(obstacles.is_empty(), "Nothing was taken away. {}", obstacles.join(" "));
    remove::run(&pool, say).await?;
    say("What this program had added is gone. All values that the existing server reads have stayed.");
    say("Scripts that were uploaded here have no image there: upload them to it again.");
    Ok(ExitCode::SUCCESS)
}
