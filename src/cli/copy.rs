//! `copy`: moves a whole installation into another database, of the same kind or the other one, and proves that it arrived.
//! Everything is written in one transaction, which is committed only if every table reads back as it was.

use std::{
    collections::BTreeSet,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use secrecy::{ExposeSecret, SecretString};

use super::say;
use crate::{
    app,
    store::{
        Db, Tx,
        copy::{self, End, Sum, Table, Tables, Value},
    },
};

/// Rows and bytes that are held at one time.
const ROWS: usize = 1000;
const BYTES: usize = 2 << 20;

/// Connections to PostgreSQL.
const CONNECTIONS: u32 = 4;

/// What the database keeps by itself: its steps, and counts that triggers make of the executions.
const KEPT: [&str; 2] = ["_sqlx_migrations", "execution_count"];

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The database that is copied: sqlite://path or postgresql://…
    #[arg(long, value_name = "URL")]
    from: SecretString,
    /// The database that it is copied to; it must be empty, or not there yet
    #[arg(long, value_name = "URL")]
    to: SecretString,
}

pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (from_file, to_file) = (file("--from", &args.from)?, file("--to", &args.to)?);
    if let Some(file) = &from_file {
        anyhow::ensure!(file.exists(), "--from: there is no database at {}.", file.display());
    }
    let _locks = lock(from_file.as_deref(), to_file.as_deref())?;
    let from = open("--from", &args.from).await?;
    check_source(&from).await?;
    let to = open("--to", &args.to).await?;
    make_target(&to).await?;
    let same = Box::pin(copy_all(&from, &to)).await?;
    from.close().await;
    to.close().await;
    if !same {
        say("The copy is not the same. It was taken back: nothing is in the target.");
        return Ok(ExitCode::FAILURE);
    }
    say("Everything has arrived.");
    say(&last_words(from_file.as_deref(), to_file.as_deref()));
    Ok(ExitCode::SUCCESS)
}

/// The file of a URL of SQLite.
fn file(flag: &str, url: &SecretString) -> anyhow::Result<Option<PathBuf>> {
    let url = url.expose_secret();
    let file = url.strip_prefix("sqlite://").map(PathBuf::from);
    anyhow::ensure!(
        file.as_ref().is_some_and(|file| file.file_name().is_some()) || url.starts_with("postgres"),
        "{flag} must be sqlite://path or postgresql://user@host/name."
    );
    Ok(file)
}

/// Holds the folders of SQLite files as a server would: whoever holds one already is a server.
fn lock(from: Option<&Path>, to: Option<&Path>) -> anyhow::Result<Vec<impl Sized>> {
    let mut folders = BTreeSet::new();
    for file in [from, to].into_iter().flatten() {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        folders.insert(folder.canonicalize()?);
    }
    let held = |folder: &PathBuf| {
        app::lock(folder).context("A database is copied while no server runs on it, as the lock of its folder says")
    };
    folders.iter().map(held).collect()
}

async fn open(flag: &'static str, url: &SecretString) -> anyhow::Result<Db> {
    Db::open(url.expose_secret(), Duration::ZERO, CONNECTIONS).await.context(flag)
}

/// What is read must be an installation whose schema this program knows.
async fn check_source(db: &Db) -> anyhow::Result<()> {
    anyhow::ensure!(!db.is_empty().await?, "--from: there is no installation in this database.");
    let pending = db.pending().await.context("--from")?;
    if db.has_table("alembic_version").await? {
        say("The source is a database of the existing server; what this program has too is copied.");
        return Ok(());
    }
    anyhow::ensure!(
        pending.is_empty(),
        "--from: the database is not up to date; run `trends-earth migrate` on it first. Pending: {}",
        pending.join(", ")
    );
    Ok(())
}

/// Makes the tables where there is no row that they could harm.
async fn make_target(db: &Db) -> anyhow::Result<()> {
    let mut tx = copy::begin_reading(db).await?;
    for table in copy::tables(&mut tx).await?.keys() {
        refuse_rows(&mut tx, table).await?;
    }
    drop(tx);
    if !db.pending().await.context("--to")?.is_empty() {
        db.migrate(None, say).await.context("--to")?;
    }
    Ok(())
}

async fn refuse_rows(tx: &mut Tx, table: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        table == "_sqlx_migrations" || !copy::has_rows(tx, table).await?,
        "--to: the table {table} has rows. An installation is copied into an empty database; nothing was changed."
    );
    Ok(())
}

/// Copies every table and compares; whether all are the same, and so committed.
async fn copy_all(from: &Db, to: &Db) -> anyhow::Result<bool> {
    let mut source = copy::begin_reading(from).await?;
    let mut target = to.begin().await?;
    let (here, there) = (copy::tables(&mut source).await?, copy::tables(&mut target).await?);
    tell_apart(&here, &there);
    let shared = here.iter().filter(|(name, _)| !KEPT.contains(&name.as_str()));
    let shared = shared.filter_map(|(name, from)| Table::shared(name, from, there.get(name)?)).collect();
    let tables = copy::ordered(&mut target, shared).await?;
    copy::lock(&mut target, &tables).await?;
    for table in &tables {
        refuse_rows(&mut target, &table.name).await?;
    }
    let mut sums = Vec::with_capacity(tables.len());
    for table in &tables {
        let sum = copy_rows(&mut source, &mut target, table).await.with_context(|| table.name.clone())?;
        say(&format!("copied {}: {}", table.name, sum.rows));
        sums.push(sum);
    }
    let last = copy::numbered(&mut source).await?;
    let numbered = tables.iter().filter_map(|table| Some((table, last.get(&table.name)?)));
    for (table, last) in numbered {
        copy::number_from(&mut target, &table.name, *last).await?;
    }
    let mut same = true;
    say(&format!("{:30} {:>10} {:>10}  {:16}  checksum there", "table", "rows here", "rows there", "checksum here"));
    for (table, here) in tables.iter().zip(sums) {
        let mut there = Sum::default();
        let add = async |row: Vec<Value>| {
            table.add(&mut there, &row);
            Ok(())
        };
        copy::read(&mut target, table, End::To, add).await.with_context(|| table.name.clone())?;
        same &= here == there;
        say(&format!(
            "{:30} {:10} {:10}  {:016x}  {:016x}{}",
            table.name,
            here.rows,
            there.rows,
            here.hash,
            there.hash,
            if here == there { "" } else { "  DIFFERS" }
        ));
    }
    let counted = copy::counts(&mut target, true).await? == copy::counts(&mut source, false).await?;
    say(if counted { "The counts of executions are right." } else { "The counts of executions DIFFER." });
    same &= counted;
    if same {
        target.commit().await?;
    }
    Ok(same)
}

/// Says what one of the two does not have.
fn tell_apart(here: &Tables, there: &Tables) {
    for (table, columns) in here.iter().filter(|(name, _)| !KEPT.contains(&name.as_str())) {
        let Some(known) = there.get(table) else {
            say(&format!("left out: the table {table}, which the target does not have"));
            continue;
        };
        for column in columns.keys().filter(|column| !known.contains_key(*column)) {
            say(&format!("left out: the column {table}.{column}, which the target does not have"));
        }
    }
    let empty = there.keys().filter(|name| !here.contains_key(*name) && !KEPT.contains(&name.as_str()));
    let empty: Vec<&str> = empty.map(String::as_str).collect();
    if !empty.is_empty() {
        say(&format!("empty, because the source does not have them: {}", empty.join(", ")));
    }
}

async fn copy_rows(source: &mut Tx, target: &mut Tx, table: &Table) -> sqlx::Result<Sum> {
    let (mut sum, mut held, mut size) = (Sum::default(), Vec::new(), 0);
    let each = async |row: Vec<Value>| {
        table.add(&mut sum, &row);
        size += row.iter().map(Value::size).sum::<usize>();
        held.push(row);
        if held.len() < ROWS && size < BYTES {
            return Ok(());
        }
        size = 0;
        copy::write(target, table, std::mem::take(&mut held)).await
    };
    copy::read(source, table, End::From, each).await?;
    if !held.is_empty() {
        copy::write(target, table, held).await?;
    }
    Ok(sum)
}

/// What belongs to an installation and stands in no database.
fn last_words(from: Option<&Path>, to: Option<&Path>) -> String {
    let key = match (from, to) {
        (Some(_), Some(_)) => "`jwt.key` beside it too, or the same JWT_SECRET_KEY",
        (Some(_), None) => "set JWT_SECRET_KEY to what `jwt.key` there says",
        (None, Some(_)) => "set the same JWT_SECRET_KEY, or write it into `jwt.key` of the new data folder (mode 0600)",
        (None, None) => "set the same JWT_SECRET_KEY",
    };
    format!(
        "Not copied: the folder `objects` of the data folder, with archives of scripts and large results. Start the server on the \
         copy with the same --data-dir, or take `objects` along first (cp -a OLD/objects NEW/), and the key that signs tokens: \
         {key}. Without the key people sign in again."
    )
}
