//! Blobs and which repository holds them.

use rbuild_image::Digest;
use rbuild_store::BlobInfo;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::{BlobRecord, Delays, Freed, Removal, Result, ReviewKind};
use super::review::{any_reference, enqueue};
use super::{blob_infos, parsed, repository_id, signed, unsigned};
use crate::clock::Moment;

pub(super) fn get(
    connection: &Connection,
    repository: &str,
    digest: &Digest,
    with_content: bool,
) -> Result<Option<BlobRecord>> {
    let content = if with_content { "b.content" } else { "NULL" };
    let row = connection
        .prepare_cached(&format!(
            "SELECT b.size, l.protected_until, {content}
             FROM repositories r
             JOIN repository_blobs l ON l.repository_id = r.id AND l.digest = ?2
             JOIN blobs b ON b.digest = l.digest
             WHERE r.name = ?1"
        ))?
        .query_row(params![repository, digest.to_string()], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    row.map(|(size, protected_until, content)| {
        Ok(BlobRecord {
            blob: BlobInfo {
                digest: *digest,
                size: unsigned(size)?,
            },
            content,
            protected_until: Moment(protected_until),
        })
    })
    .transpose()
}

/// The number of a repository that is made if it is new.
pub(super) fn ensure_repository(connection: &Connection, name: &str, now: Moment) -> Result<i64> {
    if let Some(id) = repository_id(connection, name)? {
        return Ok(id);
    }
    connection
        .prepare_cached("INSERT INTO repositories (name, created_at) VALUES (?1, ?2)")?
        .execute(params![name, now.0])?;
    Ok(connection.last_insert_rowid())
}

pub(super) fn put(
    connection: &Connection,
    repository: &str,
    blob: BlobInfo,
    content: Option<&[u8]>,
    now: Moment,
    protected_until: Moment,
) -> Result<()> {
    let id = ensure_repository(connection, repository, now)?;
    let digest = blob.digest.to_string();
    // Pushed again, it takes the new bytes: what was here may have been damaged.
    connection
        .prepare_cached(
            "INSERT INTO blobs (digest, size, created_at, content) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (digest) DO UPDATE SET size = excluded.size, content = excluded.content",
        )?
        .execute(params![digest, signed(blob.size), now.0, content])?;
    link(connection, id, &digest, now, protected_until)
}

pub(super) fn mount(
    connection: &Connection,
    repository: &str,
    from: Option<&str>,
    digest: &Digest,
    now: Moment,
    protected_until: Moment,
) -> Result<Option<BlobInfo>> {
    let text = digest.to_string();
    let size: Option<i64> = match from {
        Some(from) => get(connection, from, digest, false)?.map(|record| signed(record.blob.size)),
        None => connection
            .prepare_cached(
                "SELECT size FROM blobs WHERE digest = ?1
                 AND EXISTS (SELECT 1 FROM repository_blobs l WHERE l.digest = ?1)",
            )?
            .query_row([&text], |row| row.get(0))
            .optional()?,
    };
    let Some(size) = size else { return Ok(None) };
    let id = ensure_repository(connection, repository, now)?;
    link(connection, id, &text, now, protected_until)?;
    Ok(Some(BlobInfo {
        digest: *digest,
        size: unsigned(size)?,
    }))
}

fn link(
    connection: &Connection,
    repository: i64,
    digest: &str,
    now: Moment,
    protected_until: Moment,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO repository_blobs (repository_id, digest, linked_at, protected_until)
             VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (repository_id, digest) DO UPDATE SET protected_until =
                 CASE WHEN repository_blobs.protected_until > excluded.protected_until
                      THEN repository_blobs.protected_until ELSE excluded.protected_until END",
        )?
        .execute(params![repository, digest, now.0, protected_until.0])?;
    enqueue(
        connection,
        ReviewKind::Link,
        repository,
        digest,
        protected_until,
    )
}

pub(super) fn protect(
    connection: &Connection,
    repository: &str,
    digest: &Digest,
    until: Moment,
) -> Result<bool> {
    let Some(id) = repository_id(connection, repository)? else {
        return Ok(false);
    };
    let digest = digest.to_string();
    let held = connection
        .prepare_cached("SELECT 1 FROM repository_blobs WHERE repository_id = ?1 AND digest = ?2")?
        .exists(params![id, digest])?;
    if held {
        connection
            .prepare_cached(
                "UPDATE repository_blobs SET protected_until = ?3
                 WHERE repository_id = ?1 AND digest = ?2 AND protected_until < ?3",
            )?
            .execute(params![id, digest, until.0])?;
        enqueue(connection, ReviewKind::Link, id, &digest, until)?;
    }
    Ok(held)
}

pub(super) fn unlink(
    connection: &Connection,
    repository: &str,
    digest: &Digest,
    now: Moment,
    delays: Delays,
) -> Result<Removal> {
    let Some(record) = get(connection, repository, digest, false)? else {
        return Ok(Removal::Missing);
    };
    let Some(id) = repository_id(connection, repository)? else {
        return Ok(Removal::Missing);
    };
    let text = digest.to_string();
    let holder: Option<String> = connection
        .prepare_cached(
            "SELECT manifest FROM manifest_references WHERE repository_id = ?1 AND target = ?2
             AND kind <> 'manifest'",
        )?
        .query_row(params![id, text], |row| row.get(0))
        .optional()?;
    if let Some(holder) = holder {
        return Ok(Removal::InUse(parsed(&holder)?));
    }
    connection
        .prepare_cached("DELETE FROM repository_blobs WHERE repository_id = ?1 AND digest = ?2")?
        .execute(params![id, text])?;
    let at = now.plus(delays.unreferenced);
    enqueue(connection, ReviewKind::Blob, 0, &text, at)?;
    let shared = any_holder(connection, &text)? || any_reference(connection, &text)?;
    let size = record.blob.size;
    Ok(Removal::Removed(Freed {
        bytes: if shared { 0 } else { size },
        shared_bytes: if shared { size } else { 0 },
        at,
    }))
}

/// Whether any repository holds the blob.
pub(super) fn any_holder(connection: &Connection, digest: &str) -> Result<bool> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM repository_blobs WHERE digest = ?1")?
        .exists([digest])?)
}

pub(super) fn forget(connection: &Connection, digest: &Digest) -> Result<bool> {
    let digest = digest.to_string();
    if any_holder(connection, &digest)? {
        return Ok(false);
    }
    connection
        .prepare_cached("DELETE FROM blobs WHERE digest = ?1")?
        .execute([&digest])?;
    connection
        .prepare_cached(
            "DELETE FROM reviews WHERE kind = 'blob' AND repository_id = 0 AND digest = ?1",
        )?
        .execute([&digest])?;
    Ok(true)
}

pub(super) fn stored(
    connection: &Connection,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Vec<BlobInfo>> {
    let after = after.map(ToString::to_string).unwrap_or_default();
    let mut statement = connection.prepare_cached(
        "SELECT digest, size FROM blobs WHERE digest > ?1 AND content IS NULL ORDER BY digest LIMIT ?2",
    )?;
    blob_infos(statement.query(params![after, signed(limit as u64)])?)
}

pub(super) fn known(connection: &Connection, digest: &Digest) -> Result<bool> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?
        .exists([digest.to_string()])?)
}

pub(super) fn contents(
    connection: &Connection,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Vec<(Digest, Vec<u8>)>> {
    let after = after.map(ToString::to_string).unwrap_or_default();
    let mut statement = connection.prepare_cached(
        "SELECT digest, content FROM blobs WHERE digest > ?1 AND content IS NOT NULL
         UNION SELECT digest, content FROM manifests WHERE digest > ?1
         ORDER BY digest LIMIT ?2",
    )?;
    let mut rows = statement.query(params![after, signed(limit as u64)])?;
    let mut contents = Vec::new();
    while let Some(row) = rows.next()? {
        contents.push((parsed(&row.get::<_, String>(0)?)?, row.get(1)?));
    }
    Ok(contents)
}
