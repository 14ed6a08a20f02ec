//! The tests, by subject.

mod files;
mod lifecycle;
mod privilege;
mod process;

use super::harness::Case;

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    [
        process::CASES,
        privilege::CASES,
        files::CASES,
        lifecycle::CASES,
    ]
    .concat()
}
