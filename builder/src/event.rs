//! What the outside learns while a build runs. The builder prints nothing.

use std::fmt;
use std::time::Duration;

use rbuild_parser::Diagnostic;

use crate::sandbox::Stream;

/// Receives the events of a build, from any thread.
pub trait Observer: Sync {
    /// One event.
    fn on_event(&self, event: BuildEvent<'_>);
}

/// Names a step in events: unique in a build, in the order in which steps stand in the Dockerfile.
pub type StepNumber = usize;

/// Why the cache did not have the result of a step. Shown, it is in words for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss<'a> {
    /// The step was not built before at this place of this Dockerfile.
    First,
    /// The cache is not to be used.
    Disabled,
    /// This differs from the earlier run.
    Changed(&'a str),
}

impl fmt::Display for Miss<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First => "it was not built before",
            Self::Disabled => "the cache is switched off",
            Self::Changed(what) => what,
        })
    }
}

/// Something happened.
#[derive(Debug, Clone, Copy)]
pub enum BuildEvent<'a> {
    /// The plan is made; this many steps will be started or found cached.
    Planned {
        /// Number of steps.
        steps: usize,
    },
    /// Something in the Dockerfile is worth a warning.
    Warning(&'a Diagnostic),
    /// Something else is worth telling.
    Notice(&'a str),
    /// A step begins to look for its result.
    StepStarted {
        /// The step.
        step: StepNumber,
        /// `[build 2/5] RUN make`.
        name: &'a str,
    },
    /// The cache does not have the step's result: it will be executed.
    StepMissed {
        /// The step.
        step: StepNumber,
        /// Why.
        reason: Miss<'a>,
    },
    /// A command wrote something.
    StepOutput {
        /// The step.
        step: StepNumber,
        /// Where to.
        stream: Stream,
        /// What; it may end inside a line or a character.
        bytes: &'a [u8],
    },
    /// Bytes came in from elsewhere.
    Transfer {
        /// The step.
        step: StepNumber,
        /// What: a short digest.
        label: &'a str,
        /// Bytes so far.
        done: u64,
        /// Bytes in all; 0 when not known.
        total: u64,
    },
    /// A step has its result.
    StepFinished {
        /// The step.
        step: StepNumber,
        /// Whether the cache had it.
        cached: bool,
        /// Time since it started.
        duration: Duration,
    },
    /// A step failed.
    StepFailed {
        /// The step.
        step: StepNumber,
        /// Time since it started.
        duration: Duration,
    },
    /// A step was given up because another one failed or the build was cancelled.
    StepCancelled {
        /// The step.
        step: StepNumber,
    },
}
