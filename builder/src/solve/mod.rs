//! Does the steps of a plan: each is looked up first and executed only on a miss.

mod explain;
mod files;
mod flight;
mod run;
mod schedule;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use rbuild_cache::{CacheKey, Ingredient, LayerRecord, Position, Record};
use rbuild_store::local::{Area, LocalStore};

use crate::clock;
use crate::context::{Context, StatCache};
use crate::error::{BuildError, Doing};
use crate::event::{BuildEvent, Miss, Observer};
use crate::graph::{Graph, Op, Step, StepId};
use crate::request::BuildRequest;
use crate::rootfs::State;
use crate::{Environment, copy};
use flight::Flights;

pub(crate) use schedule::solve;

/// What a step gave.
#[derive(Debug, Clone)]
pub(crate) struct Solved {
    pub(crate) state: State,
    /// The layer it added.
    pub(crate) layer: Option<LayerRecord>,
    /// When that was made, seconds since the Unix epoch.
    pub(crate) created: u64,
}

/// What all steps of a build share.
pub(crate) struct Solver<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) env: &'a Environment,
    pub(crate) observer: &'a dyn Observer,
    pub(crate) graph: &'a Graph,
    pub(crate) context: Option<Context>,
    pub(crate) stat_cache: Option<StatCache>,
    /// Names the Dockerfile among others, for finding the earlier run of a step.
    pub(crate) origin: String,
    /// What step numbers in events begin at.
    pub(crate) first_number: usize,
    pub(crate) flights: Flights,
    /// Steps that may still be executed at once.
    pub(crate) slots: schedule::Slots,
    pub(crate) executed: AtomicUsize,
}

/// A looked-up or executed step, for events.
struct Done {
    layer: Option<LayerRecord>,
    created: u64,
    cached: bool,
}

impl<'a> Solver<'a> {
    pub(crate) fn new(
        request: &'a BuildRequest,
        env: &'a Environment,
        observer: &'a dyn Observer,
        graph: &'a Graph,
        context: Option<Context>,
        first_number: usize,
    ) -> Self {
        let stat_cache = context
            .as_ref()
            .map(|context| StatCache::open(&env.store.dir(Area::StatCache), context.root()));
        let root = context
            .as_ref()
            .map(|context| context.root().display().to_string())
            .unwrap_or_default();
        Self {
            request,
            env,
            observer,
            graph,
            context,
            stat_cache,
            origin: format!("{root}\0{}", request.dockerfile.name),
            first_number,
            flights: Flights::default(),
            slots: schedule::Slots::new(request.jobs),
            executed: AtomicUsize::new(0),
        }
    }

    fn store(&self) -> &LocalStore {
        &self.env.store
    }

    /// Does one step. `earlier` gives the results of the steps before it.
    fn step(
        &self,
        id: StepId,
        earlier: &dyn Fn(StepId) -> Option<Arc<Solved>>,
    ) -> Result<Solved, BuildError> {
        let step = &self.graph.steps[id.0];
        let number = self.first_number + id.0;
        let started = Instant::now();
        self.observer.on_event(BuildEvent::StepStarted {
            step: number,
            name: &step.name,
        });
        let result = self.dispatch(step, number, earlier);
        let duration = started.elapsed();
        match &result {
            Ok((_, cached)) => {
                self.observer.on_event(BuildEvent::StepFinished {
                    step: number,
                    cached: *cached,
                    duration,
                });
            }
            Err(BuildError::Cancelled) => self
                .observer
                .on_event(BuildEvent::StepCancelled { step: number }),
            Err(_) => self.observer.on_event(BuildEvent::StepFailed {
                step: number,
                duration,
            }),
        }
        result.map(|(solved, _)| solved)
    }

    fn dispatch(
        &self,
        step: &Step,
        number: usize,
        earlier: &dyn Fn(StepId) -> Option<Arc<Solved>>,
    ) -> Result<(Solved, bool), BuildError> {
        let parent = match step.parent {
            None => State::scratch(),
            Some(parent) => earlier(parent).ok_or(BuildError::Cancelled)?.state.clone(),
        };
        let done = match &step.op {
            Op::Scratch => {
                return Ok((
                    Solved {
                        state: parent,
                        layer: None,
                        created: 0,
                    },
                    true,
                ));
            }
            Op::Base(image) => {
                let state = State::of_base(self.store(), image).doing(|| {
                    format!(
                        "cannot read the layers of image `{}`",
                        image.reference.familiar()
                    )
                })?;
                return Ok((
                    Solved {
                        state,
                        layer: None,
                        created: 0,
                    },
                    true,
                ));
            }
            Op::Run(spec) => self.run(step, number, spec, &parent, earlier)?,
            Op::Workdir(spec) => self.workdir(step, number, spec, &parent)?,
            Op::Copy(spec) => {
                let source = match spec.from {
                    crate::graph::CopySource::Context => None,
                    crate::graph::CopySource::Step(from) => {
                        Some(earlier(from).ok_or(BuildError::Cancelled)?)
                    }
                };
                self.copy(
                    step,
                    number,
                    spec,
                    &parent,
                    source.as_deref().map(|solved| &solved.state),
                )?
            }
        };
        let state = parent.with(done.layer);
        Ok((
            Solved {
                state,
                layer: done.layer,
                created: done.created,
            },
            done.cached,
        ))
    }

    fn position(&self, step: &Step) -> Position {
        Position::new(&self.origin, &step.stage_name, step.number)
    }

    /// The record under `key`, when all that it names is still here.
    fn look_up(&self, key: &CacheKey, step: &Step) -> Result<Option<Record>, BuildError> {
        if self.request.no_cache {
            return Ok(None);
        }
        let doing = || "cannot read the build cache".to_owned();
        let Some(record) = self.env.cache.get(key).doing(doing)? else {
            return Ok(None);
        };
        if let Some(layer) = &record.layer {
            let has_blob = self
                .store()
                .layer_blob(layer.diff_id)
                .doing(doing)?
                .is_some();
            if !has_blob || self.store().toc(layer.diff_id).doing(doing)?.is_none() {
                return Ok(None);
            }
        }
        self.env
            .cache
            .confirm(key, &self.position(step))
            .doing(doing)?;
        Ok(Some(record))
    }

    /// Finds the result under `key` or makes it with `make`, once even when several stages want it now.
    fn cached(
        &self,
        step: &Step,
        number: usize,
        (key, ingredients): (CacheKey, Vec<Ingredient>),
        why: &dyn Fn(&Record) -> Option<String>,
        make: &dyn Fn() -> Result<Option<LayerRecord>, BuildError>,
    ) -> Result<Done, BuildError> {
        let _flight = self.flights.enter(key);
        if let Some(record) = self.look_up(&key, step)? {
            return Ok(Done {
                layer: record.layer,
                created: record.created,
                cached: true,
            });
        }
        let _slot = self.slots.take();
        if self.env.cancel.is_cancelled() {
            return Err(BuildError::Cancelled);
        }
        let reason = if self.request.no_cache {
            None
        } else {
            self.reason(step, &ingredients, why)?
        };
        self.observer.on_event(BuildEvent::StepMissed {
            step: number,
            reason: match &reason {
                _ if self.request.no_cache => Miss::Disabled,
                None => Miss::First,
                Some(reason) => Miss::Changed(reason),
            },
        });
        self.executed
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let started = Instant::now();
        let layer = make()?;
        let created = clock::now();
        let record = Record {
            layer,
            created,
            duration_ms: milliseconds(started.elapsed()),
            ingredients,
        };
        self.env
            .cache
            .put(&key, &self.position(step), &record)
            .doing(|| "cannot write the build cache".to_owned())?;
        Ok(Done {
            layer,
            created,
            cached: false,
        })
    }

    /// Time of what steps make and no source gives one.
    fn created_time(&self) -> rbuild_image::layer::Time {
        self.request
            .epoch
            .map_or(copy::CREATED_TIME, rbuild_image::layer::Time::from_seconds)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
