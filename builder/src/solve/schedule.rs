//! Which step is done when: one thread for each stage, steps of a stage one after the other, a step waits for what
//! it takes from other stages.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{Solved, Solver};
use crate::error::BuildError;
use crate::graph::StepId;

/// Bounds how many steps are executed at once.
#[derive(Debug)]
pub(crate) struct Slots {
    free: Mutex<usize>,
    freed: Condvar,
}

/// One of the places; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot<'a>(&'a Slots);

impl Slots {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            free: Mutex::new(count.max(1)),
            freed: Condvar::new(),
        }
    }

    pub(crate) fn take(&self) -> Slot<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            free = self
                .freed
                .wait(free)
                .unwrap_or_else(PoisonError::into_inner);
        }
        *free -= 1;
        Slot(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// Results as they come.
struct Board {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    results: Vec<Option<Arc<Solved>>>,
    /// The first error; all others only follow from it.
    failed: Option<BuildError>,
    stopped: bool,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of a step, once it is there; none when the build has failed.
    fn wait(&self, step: StepId) -> Option<Arc<Solved>> {
        let mut inner = self.lock();
        loop {
            if inner.stopped {
                return None;
            }
            if let Some(result) = &inner.results[step.0] {
                return Some(Arc::clone(result));
            }
            inner = self
                .changed
                .wait(inner)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    fn put(&self, step: StepId, result: Solved) {
        self.lock().results[step.0] = Some(Arc::new(result));
        self.changed.notify_all();
    }

    fn fail(&self, error: BuildError) {
        let mut inner = self.lock();
        inner.stopped = true;
        if inner.failed.is_none() || matches!(inner.failed, Some(BuildError::Cancelled)) {
            inner.failed = Some(error);
        }
        drop(inner);
        self.changed.notify_all();
    }
}

/// Does every step; the results in the order of the graph.
pub(crate) fn solve(solver: &Solver<'_>) -> Result<Vec<Arc<Solved>>, BuildError> {
    let count = solver.graph.steps.len();
    let board = Board {
        inner: Mutex::new(Inner {
            results: vec![None; count],
            failed: None,
            stopped: false,
        }),
        changed: Condvar::new(),
    };
    let stage = |stage: usize| {
        for (index, _) in solver
            .graph
            .steps
            .iter()
            .enumerate()
            .filter(|(_, step)| step.stage == stage)
        {
            if board.is_stopped() {
                return;
            }
            if solver.env.cancel.is_cancelled() {
                return board.fail(BuildError::Cancelled);
            }
            match solver.step(StepId(index), &|id| board.wait(id)) {
                Ok(result) => board.put(StepId(index), result),
                Err(error) => {
                    // What still runs in other stages has no use any more.
                    if !board.is_stopped() {
                        solver.env.cancel_steps();
                    }
                    return board.fail(error);
                }
            }
        }
    };
    match solver.graph.stages {
        1 => stage(0),
        stages => std::thread::scope(|scope| {
            for number in 0..stages {
                scope.spawn(move || stage(number));
            }
        }),
    }
    if let Some(context) = &solver.stat_cache {
        // A cache of hints: not writing it costs time only.
        let _ = context.save();
    }
    let inner = board
        .inner
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    match inner.failed {
        Some(error) => Err(error),
        None => inner
            .results
            .into_iter()
            .collect::<Option<Vec<_>>>()
            .ok_or(BuildError::Cancelled),
    }
}
