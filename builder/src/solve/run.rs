//! `RUN`: who runs it, what it says, and what becomes of its failure.

use std::cell::RefCell;
use std::sync::Arc;

use rbuild_cache::LayerRecord;
use rbuild_image::Digest;
use rbuild_image::layer::{Rootfs, join};
use rbuild_parser::Diagnostic;

use super::{Done, Solved, Solver};
use crate::copy::{Meta, OwnerError, PlaceError, Placement, Tree, digest_of, identity};
use crate::error::{BuildError, Doing, StepFailure};
use crate::event::BuildEvent;
use crate::exec::{Command, CommandMount, ExecError};
use crate::graph::{MountSpec, RunSpec, Step, StepId};
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
        earlier: &dyn Fn(StepId) -> Option<Arc<Solved>>,
    ) -> Result<Done, BuildError> {
        let mut bound = Vec::new();
        let mut contents = Vec::new();
        for mount in &spec.mounts {
            if let MountSpec::Bind { from, source, .. } = mount {
                let state = earlier(*from).ok_or(BuildError::Cancelled)?.state.clone();
                contents.push(self.content_below(step, &state, source)?);
                bound.push(state);
            }
        }
        let key = key::run(&parent.content, spec, &contents);
        self.cached(step, number, key, &|_| None, &|| {
            self.execute(step, number, spec, parent, &bound)
        })
    }

    /// The identity of the files that a bind mount shows.
    fn content_below(
        &self,
        step: &Step,
        state: &State,
        source: &str,
    ) -> Result<Digest, BuildError> {
        let doing = || "cannot read the files of a mount".to_owned();
        let tree = state.tree(self.store()).doing(doing)?;
        let path = source.trim_start_matches('/').as_bytes();
        let Some(top) = tree.lookup(path).doing(doing)? else {
            let message = format!("`{source}` is not there to mount");
            return Err(Diagnostic::error("no-such-file", step.span, message).into());
        };
        let empty = Rootfs::new(Vec::new());
        let mut placement = Placement::new(&empty, Meta::default());
        let placed =
            |error: PlaceError| Diagnostic::error("bad-mount", step.span, error.to_string());
        placement.put(b"mount", &top).map_err(placed)?;
        if top.is_directory() {
            for node in tree.walk(path).doing(doing)? {
                placement
                    .put(&join(b"mount", &node.path), &node)
                    .map_err(placed)?;
            }
        }
        Ok(digest_of(&placement.finish()))
    }

    fn execute(
        &self,
        step: &Step,
        number: usize,
        spec: &RunSpec,
        parent: &State,
        bound: &[State],
    ) -> Result<Option<LayerRecord>, BuildError> {
        let who = identity(&spec.user, &|path| parent.read(self.store(), path))
            .map_err(|error| no_user(step, &error))?;
        let mut env = spec.env.clone();
        env.extend(spec.uncounted_env.iter().cloned());
        if !env.iter().any(|(name, _)| name == "HOME") {
            env.push(("HOME".to_owned(), who.home));
        }
        let mounts = self.mounts(step, spec, bound, &mut env)?;
        let command = Command {
            spec,
            layers: &parent.layers,
            user: who.user,
            env,
            mounts,
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

    /// The mounts of a command with nothing left to look up; variables of secrets go into `env`.
    fn mounts(
        &self,
        step: &Step,
        spec: &RunSpec,
        bound: &[State],
        env: &mut Vec<(String, String)>,
    ) -> Result<Vec<CommandMount>, BuildError> {
        let mut bound = bound.iter();
        let mut mounts = Vec::new();
        for mount in &spec.mounts {
            match mount {
                MountSpec::Bind {
                    source,
                    target,
                    read_only,
                    ..
                } => {
                    mounts.extend(bound.next().map(|state| CommandMount::Layers {
                        layers: state.layers.clone(),
                        source: source.clone(),
                        target: target.clone(),
                        read_only: *read_only,
                    }));
                }
                MountSpec::Cache {
                    id,
                    target,
                    sharing,
                    read_only,
                    mode,
                    uid,
                    gid,
                } => {
                    mounts.push(CommandMount::Cache {
                        name: Digest::sha256(id).hex(),
                        target: target.clone(),
                        sharing: (*sharing).into(),
                        read_only: *read_only,
                        mode: *mode,
                        uid: *uid,
                        gid: *gid,
                    });
                }
                MountSpec::Tmpfs { target, size } => {
                    mounts.push(CommandMount::Tmpfs {
                        target: target.clone(),
                        size: *size,
                    });
                }
                MountSpec::Secret {
                    id,
                    target,
                    env: variable,
                    required,
                    mode,
                    uid,
                    gid,
                } => {
                    let Some(secret) = self
                        .request
                        .secrets
                        .iter()
                        .rev()
                        .find(|secret| secret.id == *id)
                    else {
                        if *required {
                            return Err(Diagnostic::error("no-secret", step.span, format!("the secret `{id}` was not given"))
                                .with_help(format!("give it with `--secret id={id},src=FILE` or `--secret id={id},env=NAME`"))
                                .into());
                        }
                        continue;
                    };
                    if let Some(name) = variable {
                        let text = String::from_utf8(secret.content.clone()).map_err(|_| {
                            Diagnostic::error(
                                "bad-secret",
                                step.span,
                                format!("the secret `{id}` is no text, so it cannot be a variable"),
                            )
                        })?;
                        env.push((name.clone(), text));
                    }
                    mounts.extend(target.iter().map(|target| CommandMount::File {
                        target: target.clone(),
                        content: secret.content.clone(),
                        mode: *mode,
                        uid: *uid,
                        gid: *gid,
                    }));
                }
            }
        }
        Ok(mounts)
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
