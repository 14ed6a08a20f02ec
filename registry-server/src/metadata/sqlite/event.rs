//! Events, recorded by the transactions that make them happen.

use rbuild_image::{Digest, Tag};
use rusqlite::{Connection, params};

use super::super::{Change, Event, MetadataError, Result};
use super::{parsed, signed, unsigned};
use crate::clock::Moment;

/// Records what this transaction does.
pub(super) fn record(
    connection: &Connection,
    repository: &str,
    change: &Change,
    at: Moment,
) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO events (at, repository, action, digest, tag, previous)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            at.0,
            repository,
            change.action(),
            change.digest().to_string(),
            change.tag().map(Tag::as_str),
            change.previous().map(ToString::to_string),
        ])?;
    Ok(())
}

pub(super) fn list(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Event>> {
    let mut statement = connection.prepare_cached(
        "SELECT number, at, repository, action, digest, tag, previous FROM events
         WHERE number > ?1 ORDER BY number LIMIT ?2",
    )?;
    let mut rows = statement.query(params![signed(after), signed(limit as u64)])?;
    let mut events = Vec::new();
    while let Some(row) = rows.next()? {
        let digest: Digest = parsed(&row.get::<_, String>(4)?)?;
        let tag: Option<String> = row.get(5)?;
        let tag: Option<Tag> = tag.as_deref().map(parsed).transpose()?;
        let previous: Option<String> = row.get(6)?;
        let action: String = row.get(3)?;
        let change = match (action.as_str(), tag) {
            ("push", _) => Change::Pushed { digest },
            ("tag", Some(tag)) => Change::Tagged {
                tag,
                digest,
                previous: previous.as_deref().map(parsed).transpose()?,
            },
            ("untag", Some(tag)) => Change::Untagged { tag, digest },
            ("delete", _) => Change::Deleted { digest },
            ("collect", _) => Change::Collected { digest },
            _ => {
                return Err(MetadataError::Damaged {
                    what: format!("there is no event `{action}`"),
                });
            }
        };
        events.push(Event {
            number: unsigned(row.get(0)?)?,
            at: Moment(row.get(1)?),
            repository: parsed(&row.get::<_, String>(2)?)?,
            change,
        });
    }
    Ok(events)
}

/// Whether [`forget`] would remove something.
pub(super) fn has_older(connection: &Connection, cutoff: Moment) -> Result<bool> {
    Ok(connection
        .prepare_cached(
            "SELECT 1 FROM events WHERE at < ?1 AND number < (SELECT max(number) FROM events)",
        )?
        .exists([cutoff.0])?)
}

/// Removes events from before `cutoff`, but never the newest: its number must not be given again.
pub(super) fn forget(connection: &Connection, cutoff: Moment) -> Result<u64> {
    let removed = connection
        .prepare_cached(
            "DELETE FROM events WHERE at < ?1 AND number < (SELECT max(number) FROM events)",
        )?
        .execute([cutoff.0])?;
    Ok(removed as u64)
}
