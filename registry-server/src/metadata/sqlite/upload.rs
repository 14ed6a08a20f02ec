//! Uploads that are under way.

use rbuild_store::IngestId;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::{MetadataError, Received, Result, UploadId, UploadRecord};
use super::{parsed, signed, unsigned};
use crate::clock::Moment;

/// A row as it is stored: content or ingest, never both.
struct Stored {
    repository: String,
    algorithm: String,
    touched_at: i64,
    content: Option<Vec<u8>>,
    ingest: Option<String>,
    received: i64,
    hash_state: Option<Vec<u8>>,
}

pub(super) fn get(connection: &Connection, id: &UploadId) -> Result<Option<UploadRecord>> {
    let row = connection
        .prepare_cached(
            "SELECT repository, algorithm, touched_at, content, ingest, received, hash_state
             FROM uploads WHERE id = ?1",
        )?
        .query_row([id.as_str()], |row| {
            Ok(Stored {
                repository: row.get(0)?,
                algorithm: row.get(1)?,
                touched_at: row.get(2)?,
                content: row.get(3)?,
                ingest: row.get(4)?,
                received: row.get(5)?,
                hash_state: row.get(6)?,
            })
        })
        .optional()?;
    let Some(row) = row else { return Ok(None) };
    let received = match (row.content, row.ingest) {
        (Some(content), None) => Received::Here(content),
        (None, Some(ingest)) => Received::Ingest {
            id: parsed(&ingest)?,
            offset: unsigned(row.received)?,
            hash_state: row.hash_state.unwrap_or_default(),
        },
        _ => {
            return Err(MetadataError::Damaged {
                what: format!("upload `{id}` must have either content or an ingest"),
            });
        }
    };
    Ok(Some(UploadRecord {
        id: id.clone(),
        repository: parsed(&row.repository)?,
        algorithm: parsed(&row.algorithm)?,
        received,
        touched_at: Moment(row.touched_at),
    }))
}

pub(super) fn put(connection: &Connection, upload: &UploadRecord) -> Result<()> {
    let (content, ingest, hash_state) = match &upload.received {
        Received::Here(content) => (Some(content), None, None),
        Received::Ingest { id, hash_state, .. } => (None, Some(id.as_str()), Some(hash_state)),
    };
    connection
        .prepare_cached(
            "INSERT INTO uploads
                 (id, repository, algorithm, touched_at, content, ingest, received, hash_state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             ON CONFLICT (id) DO UPDATE SET repository = excluded.repository,
                 algorithm = excluded.algorithm, touched_at = excluded.touched_at,
                 content = excluded.content, ingest = excluded.ingest,
                 received = excluded.received, hash_state = excluded.hash_state",
        )?
        .execute(params![
            upload.id.as_str(),
            upload.repository.as_str(),
            upload.algorithm.as_str(),
            upload.touched_at.0,
            content,
            ingest,
            signed(upload.received.offset()),
            hash_state,
        ])?;
    Ok(())
}

pub(super) fn delete(connection: &Connection, id: &UploadId) -> Result<bool> {
    let count = connection
        .prepare_cached("DELETE FROM uploads WHERE id = ?1")?
        .execute([id.as_str()])?;
    Ok(count > 0)
}

pub(super) fn names_ingest(connection: &Connection, id: &IngestId) -> Result<bool> {
    Ok(connection
        .prepare_cached("SELECT 1 FROM uploads WHERE ingest = ?1")?
        .exists([id.as_str()])?)
}

pub(super) fn count_empty(connection: &Connection) -> Result<u64> {
    unsigned(
        connection
            .prepare_cached("SELECT count(*) FROM uploads WHERE received = 0")?
            .query_row([], |row| row.get(0))?,
    )
}

pub(super) fn stale(
    connection: &Connection,
    cutoff: Moment,
    limit: usize,
) -> Result<Vec<UploadId>> {
    let mut statement = connection.prepare_cached(
        "SELECT id FROM uploads WHERE touched_at < ?1 ORDER BY touched_at LIMIT ?2",
    )?;
    let mut rows = statement.query(params![cutoff.0, signed(limit as u64)])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        ids.push(parsed(&row.get::<_, String>(0)?)?);
    }
    Ok(ids)
}
