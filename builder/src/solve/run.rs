//! `RUN`: who runs it, what it says, and what becomes of its failure.

use std::cell::RefCell;

use rbuild_parser::Diagnostic;

use super::{Done, Solver};
use crate::copy::{OwnerError, identity};
use crate::error::{BuildError, StepFailure};
use crate::event::BuildEvent;
use crate::exec::{Command, ExecError};
use crate::graph::{RunSpec, Step};
use crate::key;
use crate::rootfs::State;
use crate::sandbox::{Outcome, SandboxError};

/// How much of the last output a failed step shows, in bytes.
const TAIL_MAX: usize = 8 << 10;

impl Solver<'_> {
    pub(super) fn run(
        &self,
        step: &Step,
        number: usize,
        spec: &RunSpec,
        parent: &State,
    ) -> Result<Done, BuildError> {
        let key = key::run(&parent.content, spec);
        self.cached(step, number, key, &|_| None, &|| {
            self.execute(step, number, spec, parent)
        })
    }

    fn execute(
        &self,
        step: &Step,
        number: usize,
        spec: &RunSpec,
        parent: &State,
    ) -> Result<Option<rbuild_cache::LayerRecord>, BuildError> {
        let who = identity(&spec.user, &|path| parent.read(self.store(), path))
            .map_err(|error| no_user(step, &error))?;
        let mut env = spec.env.clone();
        env.extend(spec.uncounted_env.iter().cloned());
        if !env.iter().any(|(name, _)| name == "HOME") {
            env.push(("HOME".to_owned(), who.home));
        }
        let command = Command {
            spec,
            layers: &parent.layers,
            user: who.user,
            env,
        };
        let tail = RefCell::new(Vec::new());
        let executed = self.env.executor.run(
            &command,
            &mut |stream, bytes| {
                keep_tail(&mut tail.borrow_mut(), bytes);
                self.observer.on_event(BuildEvent::StepOutput {
                    step: number,
                    stream,
                    bytes,
                });
            },
            &self.env.cancel,
        );
        match executed {
            Ok(executed) if executed.outcome.success() => Ok(executed.layer),
            Ok(executed) => Err(failure(step, executed.outcome, tail.into_inner())),
            Err(ExecError::Sandbox(SandboxError::Cancelled)) => Err(BuildError::Cancelled),
            Err(error) => {
                let hint = match &error {
                    ExecError::Sandbox(error) => error.hint().map(str::to_owned),
                    ExecError::Io(_) => None,
                };
                let mut diagnostic = Diagnostic::error(
                    "cannot-run",
                    step.span,
                    format!("cannot run this step: {}", chain(&error)),
                );
                diagnostic.help = hint;
                Err(diagnostic.into())
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let message = next.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = next.source();
    }
    text
}

fn no_user(step: &Step, error: &OwnerError) -> BuildError {
    Diagnostic::error("no-such-user", step.span, error.to_string())
        .with_help("create the user in an earlier `RUN`, or give its number")
        .into()
}

fn failure(step: &Step, outcome: Outcome, tail: Vec<u8>) -> BuildError {
    let message = match outcome {
        Outcome::Exited(127) => "the command failed with exit code 127 (not found)".to_owned(),
        Outcome::Exited(code) => format!("the command failed with exit code {code}"),
        Outcome::Signaled(signal) => format!("the command was ended by signal {signal}"),
    };
    let diagnostic = Diagnostic::error("step-failed", step.span, message);
    BuildError::Step(Box::new(StepFailure {
        name: step.name.clone(),
        diagnostic,
        outcome,
        tail,
    }))
}

fn keep_tail(tail: &mut Vec<u8>, bytes: &[u8]) {
    tail.extend_from_slice(bytes);
    if tail.len() > 2 * TAIL_MAX {
        let cut = tail.len() - TAIL_MAX;
        let line_end = tail[cut..]
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(cut, |at| cut + at + 1);
        tail.drain(..line_end);
    }
}
