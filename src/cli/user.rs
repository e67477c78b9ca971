//! `user`: accounts from the shell. Passwords come from a prompt or standard input, never from an argument.

use std::{
    io::{BufRead, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Subcommand, ValueEnum};
use secrecy::{ExposeSecret, SecretString};

use super::{flags, say, serve};
use crate::{
    app::App,
    auth::{Caller, passwords},
    server,
    store::{self, Id, users::Role as Level},
};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    /// Folder for everything that is kept on this machine
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an account
    Create {
        email: String,
        #[arg(long, value_enum, ignore_case = true, default_value = "USER")]
        role: Role,
        /// How the person is called; default: the part of the address before the @
        #[arg(long)]
        name: Option<String>,
    },
    /// List all accounts
    List,
    /// Give an account a new password; its sessions end
    SetPassword { email: String },
    /// Give an account another role
    SetRole {
        email: String,
        #[arg(value_enum, ignore_case = true)]
        role: Role,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
#[value(rename_all = "UPPER")]
enum Role {
    User,
    Admin,
    Superadmin,
}

impl From<Role> for Level {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Level::User,
            Role::Admin => Level::Admin,
            Role::Superadmin => Level::Superadmin,
        }
    }
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (app, _data) = serve::app(&flags(args.data_dir)).await?;
    match args.action {
        Action::Create { email, role, name } => {
            let name = name.unwrap_or_else(|| email.split('@').next().unwrap_or("").to_owned());
            let id = server::create_user(&app, &email, &name, role.into(), ask_password()?).await?;
            say(&format!("The account {email} is made (id {id})."));
        }
        Action::List => {
            for (email, name, role) in store::users::list(&app.db).await? {
                say(&format!("{:<11} {email}  {name}", role.unwrap_or_default()));
            }
        }
        Action::SetPassword { email } => {
            let id = only(&app, &email).await?;
            let password = ask_password()?;
            passwords::check(password.expose_secret()).map_err(anyhow::Error::msg)?;
            let hash = app.hasher.hash(password.expose_secret().to_owned()).await?;
            let mut tx = app.db.begin().await?;
            store::users::logins::set_password(&mut tx, id, &hash, app.clock.next_second()).await?;
            store::refresh_tokens::revoke_all(&mut tx, id).await?;
            audit(&app, &mut tx, "user.password_changed", id).await?;
            tx.commit().await?;
            say("The password is changed; all sessions of the account have ended.");
        }
        Action::SetRole { email, role } => {
            let id = only(&app, &email).await?;
            let role = Level::from(role);
            let mut tx = app.db.begin().await?;
            store::users::set_role(&mut tx, id, role, app.clock.now()).await?;
            audit(&app, &mut tx, "user.role_changed", id).await?;
            tx.commit().await?;
            say(&format!("{email} is now {}.", role.as_str()));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Acts from the shell have no actor and no address.
async fn audit(app: &App, tx: &mut store::Tx, action: &str, id: Id) -> anyhow::Result<()> {
    Ok(store::audit::insert(tx, &Caller::default().did(action, "user", &id), app.clock.now()).await?)
}

async fn only(app: &App, email: &str) -> anyhow::Result<Id> {
    let mut found = store::users::logins::find(&app.db, email).await?;
    anyhow::ensure!(found.len() < 2, "Several accounts differ from {email} in case only; spell it exactly.");
    found.pop().map(|login| login.id).ok_or_else(|| anyhow::anyhow!("There is no account {email}."))
}

fn ask_password() -> anyhow::Result<SecretString> {
    if std::io::stdin().is_terminal() {
        return Ok(SecretString::from(rpassword::prompt_password("Password (12 characters or more): ")?));
    }
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(SecretString::from(line.trim_end_matches(['\r', '\n']).to_owned()))
}
