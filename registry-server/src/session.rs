//! What this process knows of uploads besides their records: who writes to one right now, and how many have received nothing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metadata::UploadId;

/// All uploads of this process. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Sessions(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    busy: HashSet<UploadId>,
    /// Records of uploads without bytes; counted, because a count by the metadata store takes as long as there are many.
    empty: u64,
}

/// The right to write to one upload; given back when dropped.
#[derive(Debug)]
pub(crate) struct Exclusive {
    sessions: Sessions,
    id: UploadId,
}

impl Sessions {
    /// `empty` of the recorded uploads have received nothing.
    pub(crate) fn new(empty: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            busy: HashSet::new(),
            empty,
        })))
    }

    /// Counts one more upload without bytes. `false`: there are `limit` of them already.
    pub(crate) fn add_empty(&self, limit: u64) -> bool {
        let mut state = self.state();
        let room = state.empty < limit;
        if room {
            state.empty += 1;
        }
        room
    }

    /// So many uploads without bytes have got some, or are gone.
    pub(crate) fn remove_empty(&self, count: u64) {
        let mut state = self.state();
        state.empty = state.empty.saturating_sub(count);
    }

    /// Takes the right to write; `None` while somebody else has it.
    pub(crate) fn exclusive(&self, id: &UploadId) -> Option<Exclusive> {
        self.state().busy.insert(id.clone()).then(|| Exclusive {
            sessions: self.clone(),
            id: id.clone(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one step, so a panic elsewhere leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        self.sessions.state().busy.remove(&self.id);
    }
}
