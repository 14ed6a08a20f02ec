//! Live uploads: which have been started, and which are being written right now.
//!
//! An upload that has received bytes is a record of the metadata store and survives a restart.
//! One that has not is only remembered here: there is nothing yet that a client could lose.
//! A server that is asked to stop makes records of these too, so that clients go on with the next one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rbuild_image::{Algorithm, RepositoryName};

use crate::clock::Moment;
use crate::metadata::UploadId;

/// An upload without bytes.
#[derive(Debug, Clone)]
pub(crate) struct Fresh {
    pub(crate) repository: RepositoryName,
    pub(crate) algorithm: Algorithm,
    pub(crate) started_at: Moment,
}

/// All uploads of this process. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    fresh: HashMap<UploadId, Fresh>,
    busy: HashSet<UploadId>,
}

/// The right to write to one upload; given back when dropped.
#[derive(Debug)]
pub(crate) struct Exclusive {
    sessions: Sessions,
    id: UploadId,
}

impl Sessions {
    /// Remembers a new upload. `false`: there are `limit` of them already.
    pub(crate) fn start(&self, id: UploadId, fresh: Fresh, limit: usize) -> bool {
        let mut state = self.state();
        let room = state.fresh.len() < limit;
        if room {
            state.fresh.insert(id, fresh);
        }
        room
    }

    pub(crate) fn fresh(&self, id: &UploadId) -> Option<Fresh> {
        self.state().fresh.get(id).cloned()
    }

    pub(crate) fn forget(&self, id: &UploadId) -> Option<Fresh> {
        self.state().fresh.remove(id)
    }

    /// All uploads without bytes, those that were started last first.
    pub(crate) fn all_fresh(&self) -> Vec<(UploadId, Fresh)> {
        let state = self.state();
        let fresh = state.fresh.iter();
        let mut all: Vec<_> = fresh
            .map(|(id, fresh)| (id.clone(), fresh.clone()))
            .collect();
        all.sort_by_key(|(_, fresh)| std::cmp::Reverse(fresh.started_at));
        all
    }

    /// Takes the right to write; `None` while somebody else has it.
    pub(crate) fn exclusive(&self, id: &UploadId) -> Option<Exclusive> {
        self.state().busy.insert(id.clone()).then(|| Exclusive {
            sessions: self.clone(),
            id: id.clone(),
        })
    }

    /// Forgets uploads that were started before `cutoff` and never received anything.
    pub(crate) fn expire(&self, cutoff: Moment) -> usize {
        let mut state = self.state();
        let State { fresh, busy } = &mut *state;
        let before = fresh.len();
        fresh.retain(|id, fresh| fresh.started_at >= cutoff || busy.contains(id));
        before - fresh.len()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one call on a map, so a panic elsewhere leaves them whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        self.sessions.state().busy.remove(&self.id);
    }
}
