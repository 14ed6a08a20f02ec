//! The queue of what may have become garbage, and the decision about each entry.

use rbuild_image::Digest;
use rbuild_store::BlobInfo;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::{Change, Delays, Result, ReviewKind, Reviewed};
use super::blob::any_holder;
use super::{event, manifest, parsed, signed, unsigned};
use crate::clock::Moment;

/// Asks for a review, not before `due`. An earlier request for the same thing is put off, never lost.
pub(super) fn enqueue(
    connection: &Connection,
    kind: ReviewKind,
    repository: i64,
    digest: &str,
    due: Moment,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO reviews (kind, repository_id, digest, due_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (kind, repository_id, digest) DO UPDATE SET due_at = excluded.due_at
             WHERE excluded.due_at > reviews.due_at",
        )?
        .execute(params![kind_text(kind), repository, digest, due.0])?;
    Ok(())
}

const fn kind_text(kind: ReviewKind) -> &'static str {
    match kind {
        ReviewKind::Manifest => "manifest",
        ReviewKind::Link => "link",
        ReviewKind::Blob => "blob",
    }
}

/// Whether a manifest of any repository refers to the digest.
pub(super) fn any_reference(connection: &Connection, digest: &str) -> Result<bool> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM manifest_references WHERE target = ?1")?
        .exists([digest])?)
}

pub(super) fn run(
    connection: &Connection,
    now: Moment,
    delays: Delays,
    limit: usize,
) -> Result<Reviewed> {
    let mut due: Vec<(String, i64, String)> = Vec::new();
    let mut statement = connection.prepare_cached(
        "SELECT kind, repository_id, digest FROM reviews WHERE due_at <= ?1
         ORDER BY due_at, kind DESC, repository_id, digest LIMIT ?2",
    )?;
    let mut rows = statement.query(params![now.0, signed(limit as u64)])?;
    while let Some(row) = rows.next()? {
        due.push((row.get(0)?, row.get(1)?, row.get(2)?));
    }
    let mut reviewed = Reviewed::default();
    for (kind, repository, digest) in due {
        reviewed.reviews += 1;
        match kind.as_str() {
            "manifest" => {
                done(connection, &kind, repository, &digest)?;
                if collect_manifest(connection, repository, &digest, now, delays)? {
                    reviewed.manifests += 1;
                }
            }
            "link" => {
                done(connection, &kind, repository, &digest)?;
                if collect_link(connection, repository, &digest, now)? {
                    reviewed.links += 1;
                }
            }
            _ => match collect_blob(connection, &digest)? {
                // The entry stays until the blob is forgotten, so that a crash in between loses nothing.
                Some(orphan) => reviewed.orphans.push(orphan),
                None => done(connection, &kind, repository, &digest)?,
            },
        }
    }
    Ok(reviewed)
}

pub(super) fn next(connection: &Connection) -> Result<Option<Moment>> {
    let due: Option<i64> = connection
        .prepare_cached("SELECT min(due_at) FROM reviews")?
        .query_row([], |row| row.get(0))?;
    Ok(due.map(Moment))
}

/// Whether the review of a manifest is due before `soon`.
pub(super) fn is_near(
    connection: &Connection,
    repository: &str,
    digest: &Digest,
    soon: Moment,
) -> Result<bool> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM repositories r JOIN reviews v ON v.repository_id = r.id
             WHERE r.name = ?1 AND v.kind = 'manifest' AND v.digest = ?2 AND v.due_at < ?3",
        )?
        .exists(params![repository, digest.to_string(), soon.0])?)
}

/// Puts the review of a manifest off, if there is one.
pub(super) fn put_off(
    connection: &Connection,
    repository: &str,
    digest: &Digest,
    until: Moment,
) -> Result<()> {
    connection
        .prepare_cached(
            "UPDATE reviews SET due_at = ?3 WHERE kind = 'manifest' AND digest = ?2 AND due_at < ?3
             AND repository_id = (SELECT id FROM repositories WHERE name = ?1)",
        )?
        .execute(params![repository, digest.to_string(), until.0])?;
    Ok(())
}

fn done(connection: &Connection, kind: &str, repository: i64, digest: &str) -> Result<()> {
    connection
        .prepare_cached(
            "DELETE FROM reviews WHERE kind = ?1 AND repository_id = ?2 AND digest = ?3",
        )?
        .execute(params![kind, repository, digest])?;
    Ok(())
}

fn collect_manifest(
    connection: &Connection,
    repository: i64,
    digest: &str,
    now: Moment,
    delays: Delays,
) -> Result<bool> {
    let kept = !manifest::exists(connection, repository, digest)?
        || connection
            .prepare_cached("SELECT 1 FROM tags WHERE repository_id = ?1 AND digest = ?2")?
            .exists(params![repository, digest])?
        || manifest::parent(connection, repository, digest)?.is_some()
        || connection
            .prepare_cached(
                "SELECT 1 FROM manifests m JOIN manifests s
                     ON s.repository_id = m.repository_id AND s.digest = m.subject
                 WHERE m.repository_id = ?1 AND m.digest = ?2",
            )?
            .exists(params![repository, digest])?;
    if !kept {
        manifest::remove(
            connection,
            repository,
            digest,
            now.plus(delays.unreferenced),
        )?;
        let name: String = connection
            .prepare_cached("SELECT name FROM repositories WHERE id = ?1")?
            .query_row([repository], |row| row.get(0))?;
        let digest = parsed(digest)?;
        event::record(connection, &name, &Change::Collected { digest }, now)?;
    }
    Ok(!kept)
}

fn collect_link(
    connection: &Connection,
    repository: i64,
    digest: &str,
    now: Moment,
) -> Result<bool> {
    let protected_until: Option<i64> = connection
        .prepare_cached(
            "SELECT protected_until FROM repository_blobs WHERE repository_id = ?1 AND digest = ?2",
        )?
        .query_row(params![repository, digest], |row| row.get(0))
        .optional()?;
    let Some(protected_until) = protected_until.map(Moment) else {
        return Ok(false);
    };
    let referenced = connection
        .prepare_cached(
            "SELECT 1 FROM manifest_references
             WHERE repository_id = ?1 AND target = ?2 AND kind <> 'manifest'",
        )?
        .exists(params![repository, digest])?;
    if referenced {
        return Ok(false);
    }
    if protected_until > now {
        enqueue(
            connection,
            ReviewKind::Link,
            repository,
            digest,
            protected_until,
        )?;
        return Ok(false);
    }
    connection
        .prepare_cached("DELETE FROM repository_blobs WHERE repository_id = ?1 AND digest = ?2")?
        .execute(params![repository, digest])?;
    enqueue(connection, ReviewKind::Blob, 0, digest, now)?;
    Ok(true)
}

/// The blob, if nobody holds it; one that is kept here is gone already.
fn collect_blob(connection: &Connection, digest: &str) -> Result<Option<BlobInfo>> {
    if any_holder(connection, digest)? {
        return Ok(None);
    }
    let size: Option<i64> = connection
        .prepare_cached("SELECT size FROM blobs WHERE digest = ?1")?
        .query_row([digest], |row| row.get(0))
        .optional()?;
    let Some(size) = size else { return Ok(None) };
    Ok(Some(BlobInfo {
        digest: parsed(digest)?,
        size: unsigned(size)?,
    }))
}
