//! Steps that are being done now, so that two stages with equal steps do them once.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, PoisonError};

use rbuild_cache::CacheKey;

/// The keys that some thread works on.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    keys: Mutex<HashSet<CacheKey>>,
    landed: Condvar,
}

/// The right to work on a key; given back when dropped.
#[derive(Debug)]
pub(crate) struct Flight<'a> {
    flights: &'a Flights,
    key: CacheKey,
}

impl Flights {
    /// Waits until nobody works on `key`.
    pub(crate) fn enter(&self, key: CacheKey) -> Flight<'_> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        while !keys.insert(key) {
            keys = self
                .landed
                .wait(keys)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Flight { flights: self, key }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.flights
            .keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
        self.flights.landed.notify_all();
    }
}
