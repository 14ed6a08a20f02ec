//! The tables, as numbered steps that are never changed once released.
//!
//! The SQL keeps to what `PostgreSQL` understands as well, so that a second store can share it.

use rusqlite::Connection;

use super::super::{MetadataError, Result};

/// Each entry leads to the version that is its number, counted from 1.
const STEPS: &[&str] = &[
    include_str!("0001.sql"),
    include_str!("0002.sql"),
    include_str!("0003.sql"),
    include_str!("0004.sql"),
];

/// Version of the schema in the file; 0 if it is empty.
pub(super) fn version(connection: &Connection) -> Result<u32> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

pub(super) fn check_known(found: u32) -> Result<()> {
    let known = u32::try_from(STEPS.len()).unwrap_or(u32::MAX);
    if found > known {
        return Err(MetadataError::Newer { found, known });
    }
    Ok(())
}

/// Brings the file to the newest version, each step as a whole.
pub(super) fn migrate(connection: &mut Connection) -> Result<()> {
    let _mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    let found = version(connection)?;
    check_known(found)?;
    for (version, step) in (1_u32..).zip(STEPS).filter(|(version, _)| *version > found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}
