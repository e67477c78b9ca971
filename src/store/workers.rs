//! Table `worker`: the processes that take jobs, and when each was last seen.

use std::collections::BTreeSet;

use serde::Serialize;
use sqlx::types::Json as SqlJson;

use super::{Db, Id, Json, Time, Tx};
use crate::{reading, within, writing};

/// A row of `worker`.
#[derive(Debug, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Worker {
    pub id: Id,
    /// Stays with its data folder.
    pub node_id: String,
    /// The places that it works in.
    #[schema(value_type = Vec<String>)]
    pub scopes: Json,
    pub started_at: chrono::NaiveDateTime,
    pub seen_at: chrono::NaiveDateTime,
    /// It takes on nothing new: it was told so, or it has signed off.
    pub draining: bool,
}

/// A worker as it signs on.
pub struct NewWorker<'a> {
    pub id: Id,
    /// Stays with the data folder.
    pub node: &'a str,
    /// Changes with each start.
    pub boot: &'a str,
    pub scope: &'a str,
}

/// Signs on, and takes back at once what an earlier boot of this node had leased: that process is dead, since the
/// data folder can be locked by one process only.
pub async fn sign_on(db: &Db, new: &NewWorker<'_>, now: Time) -> anyhow::Result<()> {
    let mut tx = db.begin().await?;
    let scopes = serde_json::value::to_raw_value(&[new.scope])?;
    crate::within!(&mut tx, |on| {
        sqlx::query(
        "UPDATE job SET lease_until = $3 WHERE state = 'running' AND worker_id IN (SELECT id FROM worker WHERE node_id = $1 AND boot_id <> $2)"
    )
    .bind(new.node)
    .bind(new.boot)
    .bind(now)
    .execute(on)
    .await
    .map(drop)
    })?;
    crate::within!(&mut tx, |on| sqlx::query("DELETE FROM worker WHERE node_id = $1 AND boot_id <> $2")
        .bind(new.node)
        .bind(new.boot)
        .execute(on)
        .await
        .map(drop))?;
    crate::within!(&mut tx, |on| {
        sqlx::query(
        "INSERT INTO worker (id, node_id, boot_id, scopes, started_at, seen_at, draining) VALUES ($1, $2, $3, $4, $5, $5, $6)"
    )
    .bind(new.id)
    .bind(new.node)
    .bind(new.boot)
    .bind(sqlx::types::Json(&*scopes))
    .bind(now)
    .bind(false)
    .execute(on)
    .await
    .map(drop)
    })?;
    tx.commit().await?;
    Ok(())
}

/// Says that a worker lives.
pub async fn seen(db: &Db, id: Id, now: Time) -> sqlx::Result<()> {
    writing!(db, |on| sqlx::query("UPDATE worker SET seen_at = $2 WHERE id = $1")
        .bind(id)
        .bind(now)
        .execute(on)
        .await
        .map(drop))
}

/// Signs off. The row stays until this node's next start: without it other nodes would take the place for lost at once,
/// although its units go on.
pub async fn sign_off(db: &Db, id: Id, now: Time) -> sqlx::Result<()> {
    writing!(db, |on| sqlx::query("UPDATE worker SET draining = $2, seen_at = $3 WHERE id = $1")
        .bind(id)
        .bind(true)
        .bind(now)
        .execute(on)
        .await
        .map(drop))
}

/// Whether a worker may take on anything new: neither it nor the whole system is at rest.
pub async fn may_take(db: &Db, id: Id) -> sqlx::Result<bool> {
    let rests: Option<bool> = reading!(db, |on| sqlx::query_scalar(
        "SELECT draining OR EXISTS (SELECT 1 FROM maintenance) FROM worker WHERE id = $1"
    )
    .bind(id)
    .fetch_optional(on)
    .await)?;
    Ok(!rests.unwrap_or(false))
}

/// Every worker that is known, those seen last first.
pub async fn list(db: &Db) -> sqlx::Result<Vec<Worker>> {
    reading!(db, |on| sqlx::query_as(
        "SELECT id, node_id, scopes, started_at, seen_at, draining FROM worker ORDER BY seen_at DESC, id LIMIT 1000"
    )
    .fetch_all(on)
    .await)
}

/// Has a worker take on nothing new, or again; `None` if there is none.
pub async fn drain(tx: &mut Tx, id: Id, draining: bool) -> sqlx::Result<Option<Worker>> {
    within!(tx, |on| sqlx::query_as(
        "UPDATE worker SET draining = $2 WHERE id = $1 RETURNING id, node_id, scopes, started_at, seen_at, draining"
    )
    .bind(id)
    .bind(draining)
    .fetch_optional(on)
    .await)
}

/// The places of all workers that have not signed off and were seen since.
pub async fn places_since(db: &Db, since: Time) -> sqlx::Result<BTreeSet<String>> {
    let scopes: Vec<SqlJson<Vec<String>>> =
        reading!(db, |on| sqlx::query_scalar("SELECT scopes FROM worker WHERE seen_at >= $1 AND draining = $2")
            .bind(since)
            .bind(false)
            .fetch_all(on)
            .await)?;
    Ok(scopes.into_iter().flat_map(|scopes| scopes.0).collect())
}
