//! How many files the process may have open, and what that means for connections.

use std::io;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::config::Limits;

/// Files that the registry has open by itself: event loops, records, locks, standard streams.
const OWN_FILES: u64 = 48;

/// Connections at a time: each may need a blob's file as well, so no more than the system lets us open files for.
/// Those that are too many wait to be taken; their requests do not fail.
pub(super) fn connections(limits: &Limits) -> usize {
    let most = getrlimit(Resource::Nofile).current;
    let files = most.unwrap_or(u64::MAX).saturating_sub(OWN_FILES);
    let possible = usize::try_from(files / 2).unwrap_or(usize::MAX).max(1);
    if possible < limits.connections {
        tracing::warn!(
            connections = possible,
            "the system allows too few open files for `limits.connections`; more of them wait"
        );
    }
    limits.connections.min(possible)
}

/// Lets the process open as many files as the system allows: each connection and each upload is one.
pub fn raise_file_limit() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}
