//! What the manifests of a repository keep, for the answer to a removal.

use rbuild_image::Digest;
use rbuild_store::BlobInfo;
use rusqlite::{Connection, OptionalExtension, params};

use super::super::Result;
use super::super::freed::{Gone, Holdings, MANIFESTS};
use super::{blob_infos, manifest, parsed};

/// The repository with this number.
pub(super) struct Repository<'a> {
    pub(super) connection: &'a Connection,
    pub(super) id: i64,
}

impl Holdings for Repository<'_> {
    fn below(&self, manifest: &Digest) -> Result<Vec<Digest>> {
        let mut below = Vec::new();
        for sql in [
            "SELECT e.target FROM manifest_references e
             JOIN manifests m ON m.repository_id = e.repository_id AND m.digest = e.target
             WHERE e.repository_id = ?1 AND e.manifest = ?2 AND e.kind <> 'blob' LIMIT ?3",
            "SELECT digest FROM manifests WHERE repository_id = ?1 AND subject = ?2 LIMIT ?3",
        ] {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query(params![
                self.id,
                manifest.to_string(),
                manifest::one_more(MANIFESTS)
            ])?;
            while let Some(row) = rows.next()? {
                below.push(parsed(&row.get::<_, String>(0)?)?);
            }
        }
        Ok(below)
    }

    fn is_kept(&self, manifest: &Digest, gone: &Gone) -> Result<bool> {
        let text = manifest.to_string();
        let key = params![self.id, text];
        let tagged = self
            .connection
            .prepare_cached("SELECT 1 FROM tags WHERE repository_id = ?1 AND digest = ?2")?
            .exists(key)?;
        if tagged {
            return Ok(true);
        }
        let subject: Option<String> = self
            .connection
            .prepare_cached(
                "SELECT s.digest FROM manifests m JOIN manifests s
                     ON s.repository_id = m.repository_id AND s.digest = m.subject
                 WHERE m.repository_id = ?1 AND m.digest = ?2",
            )?
            .query_row(key, |row| row.get(0))
            .optional()?;
        if let Some(subject) = subject
            && !gone.contains_key(&parsed(&subject)?)
        {
            return Ok(true);
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT manifest FROM manifest_references
             WHERE repository_id = ?1 AND target = ?2 AND kind <> 'blob'",
        )?;
        let mut rows = statement.query(key)?;
        while let Some(row) = rows.next()? {
            if !gone.contains_key(&parsed(&row.get::<_, String>(0)?)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn blobs(&self, manifest: &Digest) -> Result<Vec<BlobInfo>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT b.digest, b.size FROM manifest_references e JOIN blobs b ON b.digest = e.target
             WHERE e.repository_id = ?1 AND e.manifest = ?2",
        )?;
        blob_infos(statement.query(params![self.id, manifest.to_string()])?)
    }

    fn is_used(&self, blob: &Digest, gone: &Gone) -> Result<bool> {
        let text = blob.to_string();
        let elsewhere = self
            .connection
            .prepare_cached(
                "SELECT 1 FROM repository_blobs WHERE digest = ?1 AND repository_id <> ?2",
            )?
            .exists(params![text, self.id])?;
        if elsewhere {
            return Ok(true);
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT repository_id, manifest FROM manifest_references WHERE target = ?1",
        )?;
        let mut rows = statement.query([text])?;
        while let Some(row) = rows.next()? {
            let goes = row.get::<_, i64>(0)? == self.id
                && gone.contains_key(&parsed(&row.get::<_, String>(1)?)?);
            if !goes {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
