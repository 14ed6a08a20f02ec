//! The promise of every cache index.

use std::fmt;
use std::io;

use rbuild_image::Digest;

use crate::{CacheKey, Record};

/// Where in which Dockerfile a step stands: names the nearest earlier run of the same step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position(Digest);

impl Position {
    /// The position of the step `number` of `stage` in the Dockerfile that `origin` names.
    pub fn new(origin: &str, stage: &str, number: usize) -> Self {
        Self(Digest::sha256(format!(
            "{}:{origin}{}:{stage}{number}",
            origin.len(),
            stage.len()
        )))
    }

    /// The digest itself, for naming files.
    pub const fn digest(&self) -> Digest {
        self.0
    }
}

/// Records by key. Several processes may use one index at once.
///
/// The index is a hint: an implementation may forget, and answers a record that it cannot read with none.
/// What it answers is always one whole record that was put under that key.
pub trait CacheIndex: Send + Sync + fmt::Debug {
    /// The record under `key`.
    fn get(&self, key: &CacheKey) -> io::Result<Option<Record>>;

    /// Puts a record, replacing one that is there, and remembers it as the latest of `position`.
    fn put(&self, key: &CacheKey, position: &Position, record: &Record) -> io::Result<()>;

    /// The record that was last put or confirmed for `position`.
    fn latest(&self, position: &Position) -> io::Result<Option<Record>>;

    /// Remembers the record under `key`, which was used again, as the latest of `position`.
    fn confirm(&self, key: &CacheKey, position: &Position) -> io::Result<()>;

    /// Visits every record.
    fn walk(&self, visit: &mut dyn FnMut(&CacheKey, Record)) -> io::Result<()>;

    /// Forgets the record under `key`; `Ok` means that it is not there now.
    fn delete(&self, key: &CacheKey) -> io::Result<()>;
}
