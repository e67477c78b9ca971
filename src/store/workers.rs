//! Table `worker`: the processes that take jobs, and when each was last seen.

use super::{Db, Id, Time};
use crate::{reading, writing};

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

/// Whether any worker that has not signed off was seen since.
pub async fn any_since(db: &Db, since: Time) -> sqlx::Result<bool> {
    let one: Option<Id> =
        reading!(db, |on| sqlx::query_scalar("SELECT id FROM worker WHERE seen_at >= $1 AND draining = $2 LIMIT 1")
            .bind(since)
            .bind(false)
            .fetch_optional(on)
            .await)?;
    Ok(one.is_some())
}
