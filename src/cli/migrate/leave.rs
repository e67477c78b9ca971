//! `migrate --leave-reference`: the existing server does not come back.

use std::process::ExitCode;

use super::{must_be_up_to_date, say, taken_over};
use crate::{
    config::Config,
    store::takeover::{self, reference},
};

/// What is written otherwise from now on, and so cannot be undone.
const FOR_GOOD: [&str; 4] = [
    "New passwords and secrets of clients are kept as Argon2id, which the existing server cannot read.",
    "New sessions and links to set a password are kept as digests, which it does not find.",
    "Large results lie beside the database, where it does not look.",
    "Tokens that are ended here are not noted in Redis for it.",
];

pub async fn run(config: &Config, check: bool) -> anyhow::Result<ExitCode> {
    let (db, pool) = taken_over(config, config.database_connections).await?;
    must_be_up_to_date(&db).await?;
    if let Some(at) = takeover::left(&db).await? {
        say(&format!("The existing server was left on {}.", at.format("%Y-%m-%d at %H:%M:%S UTC")));
        return Ok(ExitCode::SUCCESS);
    }
    let now = takeover::now(&pool).await?;
    let mut hindered = reference::sign_of_life(&pool, now).await?;
    let open: i64 = reference::open_runs(&pool).await?.iter().map(|(_, n)| n).sum();
    if hindered.is_none() && open > 0 {
        hindered =
            Some(format!("{open} of its runs have not ended; take them over first: `trends-earth migrate --adopt`."));
    }
    if check {
        for sentence in FOR_GOOD {
            say(sentence);
        }
        if let Some(sentence) = hindered {
            say(&sentence);
        }
        return Ok(ExitCode::FAILURE);
    }
    if let Some(sentence) = hindered {
        anyhow::bail!(sentence);
    }
    takeover::leave(&db, now).await?;
    say("The existing server is left. Start the servers and workers of this program anew; from then on, and for good:");
    for sentence in FOR_GOOD {
        say(sentence);
    }
    say(
        "What this program has added can be taken away (`trends-earth migrate --remove`) only as long as none of that was written.",
    );
    Ok(ExitCode::SUCCESS)
}
