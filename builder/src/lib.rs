//! Dockerfile instructions to a graph of steps, to layers, to an image in the local store.
//!
//! [`build`] is the way in. The crate knows no HTTP, no terminal and no configuration file: base images come
//! from an [`ImageSource`], commands run in an [`exec::Executor`], and what happens is told to an [`Observer`].

mod base;
mod clock;
mod container;
pub mod context;
mod copy;
mod error;
mod event;
pub mod exec;
mod export;
mod graph;
mod key;
mod plan;
mod replace;
mod request;
mod rootfs;
pub mod sandbox;
pub mod snapshot;

mod solve;
mod source;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rbuild_cache::CacheIndex;
use rbuild_parser::ignore::Ignore;
use rbuild_parser::{Diagnostic, parse};
use rbuild_store::local::LocalStore;

pub use base::BaseImage;
pub use container::{ImageRoot, NoUser};
pub use error::{BuildError, StepFailure};
pub use event::{BuildEvent, Miss, Observer, StepNumber};
pub use export::Exported;
pub use request::{BuildRequest, Dockerfile, IgnoreFile, NetworkMode, PullPolicy, Secret};
pub use sandbox::{CancelToken, Outcome, Stream};
pub use source::{ImageSource, NoSource, SourceError};

use base::Bases;
use error::Doing;
use exec::Executor;
use graph::BaseName;
use solve::{Solver, solve};

/// What a build works with.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Where images and layers are.
    pub store: LocalStore,
    /// Where results of earlier steps are remembered.
    pub cache: Arc<dyn CacheIndex>,
    /// Where base images come from.
    pub source: Arc<dyn ImageSource>,
    /// What runs commands.
    pub executor: Arc<dyn Executor>,
    /// Ends the build.
    pub cancel: CancelToken,
}

impl Environment {
    /// Ends the steps that still run, because one has failed.
    fn cancel_steps(&self) {
        self.cancel.cancel();
    }
}

/// Builds an image into the local store.
///
/// Equal requests over equal content give the same image, byte for byte, as long as the cache is kept.
pub fn build(
    request: &BuildRequest,
    env: &Environment,
    observer: &dyn Observer,
) -> Result<Exported, BuildError> {
    let _session = env
        .store
        .session()
        .doing(|| "cannot open the store".to_owned())?;
    let parsed = parse(&request.dockerfile.text);
    let (errors, warnings): (Vec<_>, Vec<_>) = parsed
        .diagnostics
        .iter()
        .cloned()
        .partition(Diagnostic::is_error);
    for warning in &warnings {
        observer.on_event(BuildEvent::Warning(warning));
    }
    if !errors.is_empty() {
        return Err(BuildError::Diagnostics(errors));
    }
    let fetched = AtomicUsize::new(0);
    let known: Mutex<HashMap<String, Arc<BaseImage>>> = Mutex::default();
    let ask = |name: &BaseName| -> Result<Arc<BaseImage>, BuildError> {
        let id = format!("{} {}", name.reference, name.platform);
        if let Some(image) = known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
        {
            return Ok(Arc::clone(image));
        }
        let image = Arc::new(ask_base(request, env, observer, name, &fetched)?);
        known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, Arc::clone(&image));
        Ok(image)
    };
    let planned = plan::plan(&parsed, request, &ask)?;
    for notice in &planned.notices {
        observer.on_event(BuildEvent::Notice(notice));
    }
    observer.on_event(BuildEvent::Planned {
        steps: planned.graph.steps.len(),
    });
    let context = open_context(request)?;
    let first_number = fetched.load(Ordering::Relaxed);
    let solver = Solver::new(
        request,
        env,
        observer,
        &planned.graph,
        context,
        first_number,
    );
    let results = solve(&solver)?;
    export::export(&env.store, &planned.graph.target, &results, request)
}

/// Finds a base image; a pull is shown as a step of its own.
fn ask_base(
    request: &BuildRequest,
    env: &Environment,
    observer: &dyn Observer,
    name: &BaseName,
    fetched: &AtomicUsize,
) -> Result<BaseImage, BuildError> {
    let started = Instant::now();
    let step = Mutex::new(None);
    let begin = || {
        let mut step = step.lock().unwrap_or_else(PoisonError::into_inner);
        *step.get_or_insert_with(|| {
            let number = fetched.fetch_add(1, Ordering::Relaxed);
            let title = format!("[internal] pull {}", name.reference.familiar());
            observer.on_event(BuildEvent::StepStarted {
                step: number,
                name: &title,
            });
            number
        })
    };
    let bases = Bases {
        store: &env.store,
        source: &*env.source,
        pull: request.pull,
    };
    let progress = |label: &str, done: u64, total: u64| {
        let step = begin();
        observer.on_event(BuildEvent::Transfer {
            step,
            label,
            done,
            total,
        });
    };
    let result = bases.get(name, &progress);
    if let Some(step) = *step.lock().unwrap_or_else(PoisonError::into_inner) {
        let duration = started.elapsed();
        observer.on_event(match &result {
            Ok(_) => BuildEvent::StepFinished {
                step,
                cached: false,
                duration,
            },
            Err(_) => BuildEvent::StepFailed { step, duration },
        });
    }
    result
}

fn open_context(request: &BuildRequest) -> Result<Option<context::Context>, BuildError> {
    let Some(root) = &request.context else {
        return Ok(None);
    };
    let root = root
        .canonicalize()
        .doing(|| format!("cannot open the build context `{}`", root.display()))?;
    let (text, name) = match &request.ignore {
        Some(file) => (file.text.as_str(), file.name.clone()),
        None => ("", ".dockerignore".to_owned()),
    };
    let ignore = Ignore::parse(text).map_err(|error| BuildError::System {
        what: format!("`{name}` has a pattern that cannot be read"),
        hint: None,
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, error.to_string()),
    })?;
    Ok(Some(context::Context::new(root, ignore, name)))
}
