//! An index in memory, for tests.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{CacheIndex, CacheKey, Position, Record};

/// Records in memory; gone with the process.
#[derive(Debug, Default)]
pub struct MemoryCacheIndex(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    records: HashMap<CacheKey, Record>,
    positions: HashMap<Position, CacheKey>,
}

impl MemoryCacheIndex {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheIndex for MemoryCacheIndex {
    fn get(&self, key: &CacheKey) -> io::Result<Option<Record>> {
        Ok(self.lock().records.get(key).cloned())
    }

    fn put(&self, key: &CacheKey, position: &Position, record: &Record) -> io::Result<()> {
        let mut inner = self.lock();
        inner.records.insert(*key, record.clone());
        inner.positions.insert(*position, *key);
        Ok(())
    }

    fn latest(&self, position: &Position) -> io::Result<Option<Record>> {
        let inner = self.lock();
        Ok(inner
            .positions
            .get(position)
            .and_then(|key| inner.records.get(key))
            .cloned())
    }

    fn confirm(&self, key: &CacheKey, position: &Position) -> io::Result<()> {
        self.lock().positions.insert(*position, *key);
        Ok(())
    }

    fn walk(&self, visit: &mut dyn FnMut(&CacheKey, Record)) -> io::Result<()> {
        for (key, record) in &self.lock().records {
            visit(key, record.clone());
        }
        Ok(())
    }

    fn delete(&self, key: &CacheKey) -> io::Result<()> {
        self.lock().records.remove(key);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn keeps_the_promises_of_an_index() {
        crate::contract::check(|| Box::new(super::MemoryCacheIndex::default()));
    }
}
