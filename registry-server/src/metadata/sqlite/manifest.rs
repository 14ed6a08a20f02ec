//! Manifests, their tags and what they refer to.

use rbuild_image::{Digest, Tag};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::freed::{Gone, Holdings, freed};
use super::super::{
    Change, Delays, Edge, EdgeKind, Freed, ManifestName, ManifestRecord, NewManifest, PutManifest,
    Removal, Result, ReviewKind,
};
use super::blob::ensure_repository;
use super::event;
use super::holdings::Repository;
use super::review::enqueue;
use super::{parsed, repository_id, signed, unsigned};
use crate::clock::Moment;

pub(super) fn get(
    connection: &Connection,
    repository: &str,
    name: &ManifestName,
) -> Result<Option<ManifestRecord>> {
    let (sql, value) = match name {
        ManifestName::Digest(digest) => (
            "SELECT m.digest, m.media_type, m.artifact_type, m.annotations, m.subject, m.content
             FROM repositories r
             JOIN manifests m ON m.repository_id = r.id AND m.digest = ?2
             WHERE r.name = ?1",
            digest.to_string(),
        ),
        ManifestName::Tag(tag) => (
            "SELECT m.digest, m.media_type, m.artifact_type, m.annotations, m.subject, m.content
             FROM repositories r
             JOIN tags t ON t.repository_id = r.id AND t.name = ?2
             JOIN manifests m ON m.repository_id = r.id AND m.digest = t.digest
             WHERE r.name = ?1",
            tag.as_str().to_owned(),
        ),
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![repository, value])?;
    rows.next()?.map(record).transpose()
}

fn record(row: &Row<'_>) -> Result<ManifestRecord> {
    let digest: String = row.get(0)?;
    let subject: Option<String> = row.get(4)?;
    Ok(ManifestRecord {
        digest: parsed(&digest)?,
        media_type: row.get(1)?,
        artifact_type: row.get(2)?,
        annotations: row.get(3)?,
        subject: subject.as_deref().map(parsed).transpose()?,
        content: row.get(5)?,
    })
}

pub(super) fn put(
    connection: &Connection,
    repository: &str,
    manifest: &NewManifest,
    delays: Delays,
) -> Result<PutManifest> {
    let known = repository_id(connection, repository)?;
    if let Some(refusal) = check_edges(connection, known, &manifest.edges)? {
        return Ok(refusal);
    }
    for tag in &manifest.tags {
        let current = match known {
            Some(id) => tag_digest(connection, id, tag)?,
            None => None,
        };
        if !manifest.precondition.holds(current) {
            return Ok(PutManifest::PreconditionFailed {
                tag: tag.clone(),
                current,
            });
        }
    }
    let id = ensure_repository(connection, repository, manifest.now)?;
    let record = &manifest.record;
    let digest = record.digest.to_string();
    connection
        .prepare_cached(
            "INSERT INTO manifests
                 (repository_id, digest, media_type, artifact_type, annotations, subject, pushed_at, content)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (repository_id, digest) DO UPDATE SET
                 media_type = excluded.media_type, artifact_type = excluded.artifact_type,
                 annotations = excluded.annotations, subject = excluded.subject, content = excluded.content",
        )?
        .execute(params![
            id,
            digest,
            record.media_type,
            record.artifact_type,
            record.annotations,
            record.subject.map(|subject| subject.to_string()),
            manifest.now.0,
            record.content,
        ])?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO manifest_references (repository_id, manifest, target, kind)
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
    )?;
    for edge in &manifest.edges {
        insert.execute(params![
            id,
            digest,
            edge.target.to_string(),
            kind_text(edge.kind)
        ])?;
    }
    let pushed = Change::Pushed {
        digest: record.digest,
    };
    event::record(connection, repository, &pushed, manifest.now)?;
    for tag in &manifest.tags {
        let before = set_tag(connection, id, tag, record.digest, manifest.now, delays)?;
        if before != Some(record.digest) {
            let tagged = Change::Tagged {
                tag: tag.clone(),
                digest: record.digest,
                previous: before,
            };
            event::record(connection, repository, &tagged, manifest.now)?;
        }
    }
    if manifest.tags.is_empty() {
        let due = manifest
            .now
            .plus(delays.untagged)
            .max(manifest.protected_until);
        enqueue(connection, ReviewKind::Manifest, id, &digest, due)?;
    }
    Ok(PutManifest::Stored)
}

/// `None`: everything that is required is in the repository, as long as it should be.
fn check_edges(
    connection: &Connection,
    repository: Option<i64>,
    edges: &[Edge],
) -> Result<Option<PutManifest>> {
    let mut missing = Vec::new();
    for edge in edges {
        let size = match repository {
            Some(id) => target_size(connection, id, edge)?,
            None => None,
        };
        match size {
            None if edge.required => missing.push(edge.clone()),
            Some(actual) if actual != edge.size => {
                return Ok(Some(PutManifest::WrongSize {
                    target: edge.target,
                    promised: edge.size,
                    actual,
                }));
            }
            _ => {}
        }
    }
    Ok((!missing.is_empty()).then_some(PutManifest::Missing(missing)))
}

fn target_size(connection: &Connection, repository: i64, edge: &Edge) -> Result<Option<u64>> {
    let blob = "SELECT b.size FROM repository_blobs l JOIN blobs b ON b.digest = l.digest
                WHERE l.repository_id = ?1 AND l.digest = ?2";
    let manifest = "SELECT length(content) FROM manifests WHERE repository_id = ?1 AND digest = ?2";
    let questions: &[&str] = match edge.kind {
        EdgeKind::Blob => &[blob],
        EdgeKind::Manifest => &[manifest],
        EdgeKind::Either => &[manifest, blob],
    };
    for question in questions {
        let size: Option<i64> = connection
            .prepare_cached(question)?
            .query_row(params![repository, edge.target.to_string()], |row| {
                row.get(0)
            })
            .optional()?;
        if let Some(size) = size {
            return unsigned(size).map(Some);
        }
    }
    Ok(None)
}

const fn kind_text(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Blob => "blob",
        EdgeKind::Manifest => "manifest",
        EdgeKind::Either => "either",
    }
}

pub(super) fn tag_digest(
    connection: &Connection,
    repository: i64,
    tag: &Tag,
) -> Result<Option<Digest>> {
    let digest: Option<String> = connection
        .prepare_cached("SELECT digest FROM tags WHERE repository_id = ?1 AND name = ?2")?
        .query_row(params![repository, tag.as_str()], |row| row.get(0))
        .optional()?;
    digest.as_deref().map(parsed).transpose()
}

/// Sets a tag, and tells where it was.
fn set_tag(
    connection: &Connection,
    repository: i64,
    tag: &Tag,
    digest: Digest,
    now: Moment,
    delays: Delays,
) -> Result<Option<Digest>> {
    let before = tag_digest(connection, repository, tag)?;
    connection
        .prepare_cached(
            "INSERT INTO tags (repository_id, name, digest, moved_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (repository_id, name) DO UPDATE
             SET digest = excluded.digest, moved_at = excluded.moved_at",
        )?
        .execute(params![repository, tag.as_str(), digest.to_string(), now.0])?;
    if let Some(before) = before
        && before != digest
    {
        let due = now.plus(delays.untagged);
        enqueue(
            connection,
            ReviewKind::Manifest,
            repository,
            &before.to_string(),
            due,
        )?;
    }
    Ok(before)
}

pub(super) fn delete_tag(
    connection: &Connection,
    repository: &str,
    tag: &Tag,
    now: Moment,
    delays: Delays,
) -> Result<Option<Freed>> {
    let Some(id) = repository_id(connection, repository)? else {
        return Ok(None);
    };
    let Some(digest) = tag_digest(connection, id, tag)? else {
        return Ok(None);
    };
    connection
        .prepare_cached("DELETE FROM tags WHERE repository_id = ?1 AND name = ?2")?
        .execute(params![id, tag.as_str()])?;
    let due = now.plus(delays.untagged);
    enqueue(
        connection,
        ReviewKind::Manifest,
        id,
        &digest.to_string(),
        due,
    )?;
    let untagged = Change::Untagged {
        tag: tag.clone(),
        digest,
    };
    event::record(connection, repository, &untagged, now)?;
    let holdings = Repository { connection, id };
    let stays = holdings.is_kept(&digest, &Gone::new())?;
    let at = due.plus(delays.unreferenced);
    freed(&holdings, digest, stays, at, delays.unreferenced).map(Some)
}

pub(super) fn delete(
    connection: &Connection,
    repository: &str,
    digest: &Digest,
    now: Moment,
    delays: Delays,
) -> Result<Removal> {
    let text = digest.to_string();
    let id = match repository_id(connection, repository)? {
        Some(id) if exists(connection, id, &text)? => id,
        _ => return Ok(Removal::Missing),
    };
    if let Some(holder) = parent(connection, id, &text)? {
        return Ok(Removal::InUse(holder));
    }
    let at = now.plus(delays.unreferenced);
    let holdings = Repository { connection, id };
    let freed = freed(&holdings, *digest, false, at, delays.unreferenced)?;
    for tag in tags_on(connection, id, &text)? {
        let untagged = Change::Untagged {
            tag,
            digest: *digest,
        };
        event::record(connection, repository, &untagged, now)?;
    }
    event::record(
        connection,
        repository,
        &Change::Deleted { digest: *digest },
        now,
    )?;
    remove(connection, id, &text, at)?;
    Ok(Removal::Removed(freed))
}

/// Tags on a manifest, by bytes.
fn tags_on(connection: &Connection, repository: i64, digest: &str) -> Result<Vec<Tag>> {
    let names = connection
        .prepare_cached(
            "SELECT name FROM tags WHERE repository_id = ?1 AND digest = ?2 ORDER BY name",
        )?
        .query_map(params![repository, digest], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    names.iter().map(|name| parsed(name)).collect()
}

pub(super) fn exists(connection: &Connection, repository: i64, digest: &str) -> Result<bool> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM manifests WHERE repository_id = ?1 AND digest = ?2")?
        .exists(params![repository, digest])?)
}

/// An index of the repository that lists the manifest.
pub(super) fn parent(
    connection: &Connection,
    repository: i64,
    digest: &str,
) -> Result<Option<Digest>> {
    let parent: Option<String> = connection
        .prepare_cached(
            "SELECT manifest FROM manifest_references
             WHERE repository_id = ?1 AND target = ?2 AND kind <> 'blob'",
        )?
        .query_row(params![repository, digest], |row| row.get(0))
        .optional()?;
    parent.as_deref().map(parsed).transpose()
}

/// Removes a manifest with its tags, and queues everything that it may have kept.
pub(super) fn remove(
    connection: &Connection,
    repository: i64,
    digest: &str,
    due: Moment,
) -> Result<()> {
    let key = params![repository, digest];
    let mut queue: Vec<(ReviewKind, String)> = Vec::new();
    let mut statement = connection.prepare_cached(
        "SELECT target, kind FROM manifest_references WHERE repository_id = ?1 AND manifest = ?2",
    )?;
    let mut rows = statement.query(key)?;
    while let Some(row) = rows.next()? {
        let (target, kind): (String, String) = (row.get(0)?, row.get(1)?);
        if kind != "manifest" {
            queue.push((ReviewKind::Link, target.clone()));
        }
        if kind != "blob" {
            queue.push((ReviewKind::Manifest, target));
        }
    }
    let mut statement = connection
        .prepare_cached("SELECT digest FROM manifests WHERE repository_id = ?1 AND subject = ?2")?;
    let mut rows = statement.query(key)?;
    while let Some(row) = rows.next()? {
        queue.push((ReviewKind::Manifest, row.get(0)?));
    }
    for sql in [
        "DELETE FROM tags WHERE repository_id = ?1 AND digest = ?2",
        "DELETE FROM manifest_references WHERE repository_id = ?1 AND manifest = ?2",
        "DELETE FROM manifests WHERE repository_id = ?1 AND digest = ?2",
    ] {
        connection.prepare_cached(sql)?.execute(key)?;
    }
    for (kind, target) in queue {
        enqueue(connection, kind, repository, &target, due)?;
    }
    Ok(())
}

/// The length of a page, and one more to see whether there is another.
pub(super) fn one_more(limit: usize) -> i64 {
    signed(limit as u64).saturating_add(1)
}
