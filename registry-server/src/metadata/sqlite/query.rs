//! Lists: repositories, tags, referrers, holders, totals; and where a tag leads.

use std::collections::BTreeSet;

use rbuild_image::{Digest, RepositoryName, Tag};
use rusqlite::{Connection, params};

use super::super::{Holder, Page, Referrer, Result, TagList, TagOrder, TagRecord, Totals};
use super::manifest::{one_more, tag_digest};
use super::{parsed, repository_id, unsigned};
use crate::clock::Moment;

pub(super) fn repositories(
    connection: &Connection,
    after: Option<&str>,
    limit: usize,
) -> Result<Page<RepositoryName>> {
    let mut statement = connection.prepare_cached(
        "SELECT name FROM repositories r WHERE name > ?1
             AND (EXISTS (SELECT 1 FROM repository_blobs WHERE repository_id = r.id)
                 OR EXISTS (SELECT 1 FROM manifests WHERE repository_id = r.id))
         ORDER BY name LIMIT ?2",
    )?;
    let names = statement
        .query_map(params![after.unwrap_or(""), one_more(limit)], |row| {
            row.get(0)
        })?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    page(names, limit)
}

pub(super) fn tags(
    connection: &Connection,
    repository: &str,
    list: &TagList,
) -> Result<Option<Page<TagRecord>>> {
    let Some(id) = repository_id(connection, repository)? else {
        return Ok(None);
    };
    let sql = match &list.order {
        TagOrder::Name(_) => {
            "SELECT name, moved_at FROM tags WHERE repository_id = ?1 AND name > ?2 ORDER BY name"
        }
        TagOrder::Newest(None) => {
            "SELECT name, moved_at FROM tags WHERE repository_id = ?1 AND ?2 = '' ORDER BY moved_at DESC, name"
        }
        TagOrder::Newest(Some(_)) => {
            "SELECT name, moved_at FROM tags WHERE repository_id = ?1
             AND (moved_at < ?3 OR (moved_at = ?3 AND name > ?2)) ORDER BY moved_at DESC, name"
        }
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = match &list.order {
        TagOrder::Name(after) => statement.query(params![id, after.as_deref().unwrap_or("")])?,
        TagOrder::Newest(None) => statement.query(params![id, ""])?,
        TagOrder::Newest(Some((at, name))) => statement.query(params![id, name, at.0])?,
    };
    let mut entries = Vec::new();
    // One more than wanted tells whether there is more.
    while entries.len() <= list.limit
        && let Some(row) = rows.next()?
    {
        let name = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        if list
            .filter
            .as_ref()
            .is_none_or(|filter| filter.matches(name))
        {
            entries.push(TagRecord {
                tag: parsed(name)?,
                pushed_at: Moment(row.get(1)?),
            });
        }
    }
    let more = entries.len() > list.limit;
    entries.truncate(list.limit);
    Ok(Some(Page { entries, more }))
}

fn page<T: std::str::FromStr>(mut names: Vec<String>, limit: usize) -> Result<Page<T>> {
    let more = names.len() > limit;
    names.truncate(limit);
    let entries = names
        .iter()
        .map(|name| parsed(name))
        .collect::<Result<_>>()?;
    Ok(Page { entries, more })
}

pub(super) fn referrers(
    connection: &Connection,
    repository: &str,
    subject: &Digest,
    artifact_type: Option<&str>,
    after: Option<&Digest>,
    limit: usize,
) -> Result<Page<Referrer>> {
    let mut entries = Vec::new();
    let Some(id) = repository_id(connection, repository)? else {
        return Ok(Page {
            entries,
            more: false,
        });
    };
    let mut statement = connection.prepare_cached(
        "SELECT digest, media_type, length(content), artifact_type, annotations FROM manifests
         WHERE repository_id = ?1 AND subject = ?2 AND digest > ?3 AND (?4 IS NULL OR artifact_type = ?4)
         ORDER BY digest LIMIT ?5",
    )?;
    let after = after.map(ToString::to_string).unwrap_or_default();
    let mut rows = statement.query(params![
        id,
        subject.to_string(),
        after,
        artifact_type,
        one_more(limit)
    ])?;
    while let Some(row) = rows.next()? {
        entries.push(Referrer {
            digest: parsed(&row.get::<_, String>(0)?)?,
            media_type: row.get(1)?,
            size: unsigned(row.get(2)?)?,
            artifact_type: row.get(3)?,
            annotations: row.get(4)?,
        });
    }
    let more = entries.len() > limit;
    entries.truncate(limit);
    Ok(Page { entries, more })
}

pub(super) fn holders(
    connection: &Connection,
    digest: &Digest,
    now: Moment,
) -> Result<Vec<Holder>> {
    let start = digest.to_string();
    let mut places = BTreeSet::new();
    for sql in [
        "SELECT r.id, r.name FROM repository_blobs l JOIN repositories r ON r.id = l.repository_id
         WHERE l.digest = ?1",
        "SELECT r.id, r.name FROM manifests m JOIN repositories r ON r.id = m.repository_id
         WHERE m.digest = ?1",
    ] {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([&start])?;
        while let Some(row) = rows.next()? {
            places.insert((row.get::<_, String>(1)?, row.get::<_, i64>(0)?));
        }
    }
    let mut holders = Vec::new();
    for (name, id) in places {
        let repository: RepositoryName = parsed(&name)?;
        let before = holders.len();
        climb(connection, id, &repository, &[*digest], &mut holders)?;
        if holders.len() == before {
            let until: i64 = connection
                .prepare_cached(
                    "SELECT coalesce(max(at), 0) FROM (
                         SELECT protected_until AS at FROM repository_blobs
                             WHERE repository_id = ?1 AND digest = ?2
                         UNION ALL
                         SELECT due_at FROM reviews WHERE kind IN ('manifest', 'link')
                             AND repository_id = ?1 AND digest = ?2)",
                )?
                .query_row(params![id, start], |row| row.get(0))?;
            holders.push(Holder {
                repository,
                path: vec![*digest],
                tags: Vec::new(),
                protected_until: Some(Moment(until).max(now)),
            });
        }
    }
    Ok(holders)
}

/// Indexes above a manifest that are looked at; a base image with more of them is not told about.
const INDEXES: u16 = 200;

/// Where the tag is, if it leads to `before` no more.
pub(super) fn moved_tag(
    connection: &Connection,
    repository: &str,
    tag: &Tag,
    before: &Digest,
) -> Result<Option<Digest>> {
    let Some(id) = repository_id(connection, repository)? else {
        return Ok(None);
    };
    let Some(current) = tag_digest(connection, id, tag)? else {
        return Ok(None);
    };
    let mut statement = connection.prepare_cached(
        "WITH RECURSIVE above (digest) AS (
             SELECT ?2 UNION
             SELECT m.manifest FROM above CROSS JOIN manifest_references m
             WHERE m.target = above.digest AND m.repository_id = ?1)
         SELECT digest FROM above LIMIT ?3",
    )?;
    let mut rows = statement.query(params![id, before.to_string(), INDEXES])?;
    let current_text = current.to_string();
    let mut seen = 0;
    while let Some(row) = rows.next()? {
        seen += 1;
        if seen == INDEXES
            || row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)? == current_text
        {
            return Ok(None);
        }
    }
    Ok(Some(current))
}

/// Follows references upwards to every tag. A path cannot run in a circle: a manifest contains its targets' digests.
fn climb(
    connection: &Connection,
    repository: i64,
    name: &RepositoryName,
    path: &[Digest],
    holders: &mut Vec<Holder>,
) -> Result<()> {
    let Some(top) = path.last().map(ToString::to_string) else {
        return Ok(());
    };
    let tags = strings(
        connection,
        "SELECT name FROM tags WHERE repository_id = ?1 AND digest = ?2 ORDER BY name",
        repository,
        &top,
    )?;
    if !tags.is_empty() {
        holders.push(Holder {
            repository: name.clone(),
            path: path.to_vec(),
            tags: tags.iter().map(|tag| parsed(tag)).collect::<Result<_>>()?,
            protected_until: None,
        });
    }
    let mut parents = strings(
        connection,
        "SELECT DISTINCT manifest FROM manifest_references
         WHERE repository_id = ?1 AND target = ?2 ORDER BY manifest",
        repository,
        &top,
    )?;
    parents.extend(strings(
        connection,
        "SELECT subject FROM manifests
         WHERE repository_id = ?1 AND digest = ?2 AND subject IS NOT NULL",
        repository,
        &top,
    )?);
    for parent in parents {
        let parent: Digest = parsed(&parent)?;
        if !path.contains(&parent) {
            let mut longer = path.to_vec();
            longer.push(parent);
            climb(connection, repository, name, &longer, holders)?;
        }
    }
    Ok(())
}

fn strings(
    connection: &Connection,
    sql: &str,
    repository: i64,
    digest: &str,
) -> Result<Vec<String>> {
    Ok(connection
        .prepare_cached(sql)?
        .query_map(params![repository, digest], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?)
}

pub(super) fn totals(connection: &Connection) -> Result<Totals> {
    let count = |sql: &str| -> Result<u64> {
        unsigned(
            connection
                .prepare_cached(sql)?
                .query_row([], |row| row.get(0))?,
        )
    };
    Ok(Totals {
        repositories: count("SELECT count(*) FROM repositories")?,
        manifests: count("SELECT count(*) FROM manifests")?,
        tags: count("SELECT count(*) FROM tags")?,
        blobs: count("SELECT count(*) FROM blobs")?,
        blob_bytes: count("SELECT coalesce(sum(size), 0) FROM blobs")?,
        uploads: count("SELECT count(*) FROM uploads")?,
        reviews: count("SELECT count(*) FROM reviews")?,
    })
}
