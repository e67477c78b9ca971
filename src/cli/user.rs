//! `user`: accounts from the shell. Passwords come from a prompt or standard input, never from an argument.

use std::{collections::HashSet, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Subcommand, ValueEnum};
use secrecy::ExposeSecret;

use super::{ask_password, flags, say, sentence, serve};
use crate::{
    account::{
        fields::{self, Registration},
        register,
    },
    app::App,
    auth::{Caller, passwords},
    json::Object,
    server,
    store::{self, Id, users::Role as Level},
};

const PROMPT: &str = "Password (12 characters or more; nothing for a link to set it): ";

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
    /// Make an account; with --from, one for each line of a CSV file
    Create {
        #[arg(required_unless_present = "from")]
        email: Option<String>,
        #[arg(long, value_enum, ignore_case = true, default_value = "USER")]
        role: Role,
        /// How the person is called; default: the part of the address before the @
        #[arg(long)]
        name: Option<String>,
        /// CSV file with the columns email, name and, if wanted, role, country, institution. Prints a link to set the password
        /// for each; nobody is made if a line is wrong
        #[arg(long, value_name = "FILE", conflicts_with_all = ["email", "name", "role"])]
        from: Option<PathBuf>,
    },
    /// Make an account and print the link with which its person sets the password
    Invite {
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
        Action::Create { from: Some(file), .. } => return create_class(&app, &file).await,
        Action::Create { email, role, name, from: None } => {
            let email = email.unwrap_or_default();
            let name = name.unwrap_or_else(|| local_part(&email));
            let password = ask_password(PROMPT)?;
            if password.expose_secret().is_empty() {
                return invite(&app, email, name, role.into()).await;
            }
            let id = server::create_user(&app, &email, &name, role.into(), password).await?;
            say(&format!("The account {email} is made (id {id})."));
        }
        Action::Invite { email, role, name } => {
            let name = name.unwrap_or_else(|| local_part(&email));
            return invite(&app, email, name, role.into()).await;
        }
        Action::List => {
            for (email, name, role) in store::users::list(&app.db).await? {
                say(&format!("{:<11} {email}  {name}", role.unwrap_or_default()));
            }
        }
        Action::SetPassword { email } => {
            let id = only(&app, &email).await?;
            let password = ask_password(PROMPT)?;
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

/// Makes an account whose person sets the password, and prints the link for that.
async fn invite(app: &App, email: String, name: String, role: Level) -> anyhow::Result<ExitCode> {
    let role = role.as_str().to_owned();
    let new = registration([("email", email), ("name", name), ("role", role)]).map_err(anyhow::Error::msg)?;
    let (profile, link) = register::invite(app, new).await.map_err(|error| anyhow::Error::msg(sentence(error)))?;
    say(&format!("The account {} is made. Its link to set the password, for one hour:", profile.email));
    say(&link.unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

fn local_part(email: &str) -> String {
    email.split('@').next().unwrap_or("").to_owned()
}

fn registration(pairs: impl IntoIterator<Item = (&'static str, String)>) -> Result<Registration, String> {
    let pairs = pairs.into_iter().filter(|(_, value)| !value.is_empty()).map(|(key, value)| (key.to_owned(), value));
    let object = Object::of(pairs).map_err(|error| error.to_string())?;
    fields::registration(&object).map_err(sentence)
}

/// A class at once: every line is checked before anybody is made.
async fn create_class(app: &App, file: &std::path::Path) -> anyhow::Result<ExitCode> {
    const COLUMNS: [&str; 5] = ["email", "name", "role", "country", "institution"];
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .flexible(true)
        .from_path(file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let head: Vec<String> =
        reader.headers()?.iter().map(|name| name.trim_start_matches('\u{feff}').to_lowercase()).collect();
    anyhow::ensure!(
        head.iter().any(|name| name == "email") && head.iter().all(|name| COLUMNS.contains(&name.as_str())),
        "The first line must name the columns: email, name and, if wanted, role, country, institution."
    );
    let (mut people, mut wrong, mut seen) = (Vec::<Registration>::new(), Vec::new(), HashSet::new());
    for (number, line) in reader.records().enumerate() {
        let line = line?;
        let value = |name: &'static str| {
            let at = head.iter().position(|column| column == name);
            (name, at.and_then(|at| line.get(at)).unwrap_or_default().to_owned())
        };
        let mut pairs = COLUMNS.map(value);
        if pairs[1].1.is_empty() {
            pairs[1].1 = local_part(&pairs[0].1);
        }
        match registration(pairs) {
            Ok(person) if !seen.insert(person.email.clone()) => {
                wrong.push(format!("line {}: {} stands there twice", number + 2, person.email))
            }
            Ok(person) if !store::users::logins::find(&app.db, &person.email).await?.is_empty() => {
                wrong.push(format!("line {}: {} is already registered", number + 2, person.email));
            }
            Ok(person) => people.push(person),
            Err(why) => wrong.push(format!("line {}: {why}", number + 2)),
        }
    }
    anyhow::ensure!(wrong.is_empty(), "Nobody was made; these lines are not right:\n  {}", wrong.join("\n  "));
    let mut code = ExitCode::SUCCESS;
    for person in people {
        let email = person.email.clone();
        match register::invite(app, person).await {
            Ok((_, link)) => say(&format!("{email}\t{}", link.unwrap_or_default())),
            Err(error) => {
                say(&format!("{email}\t{}", sentence(error)));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Acts from the shell have no actor and no address.
async fn audit(app: &App, tx: &mut store::Tx, action: &str, id: Id) -> anyhow::Result<()> {
    Ok(store::audit::insert(tx, &Caller::default().did(action, "user", &id), app.clock.now()).await?)
}

/// The one account of an address.
pub async fn only(app: &App, email: &str) -> anyhow::Result<Id> {
    let mut found = store::users::logins::find(&app.db, email).await?;
    anyhow::ensure!(found.len() < 2, "Several accounts differ from {email} in case only; spell it exactly.");
    found.pop().map(|login| login.id).ok_or_else(|| anyhow::anyhow!("There is no account {email}."))
}
