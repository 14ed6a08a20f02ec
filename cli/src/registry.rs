//! The bridge to registries: errors as failures, interrupts, and base images for builds.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rbuild_builder::{ImageSource, SourceError};
use rbuild_image::layer::{compress, scan};
use rbuild_image::{Descriptor, DiffId, Digest, Platform, Reference};
use rbuild_registry_client::{Blocking, ClientError, Observer, PulledImage, TransferEvent};
use rbuild_store::BlobStore;
use rbuild_store::local::LocalStore;

use crate::exit::{Doing, Exit, Failure, Outcome};
use crate::interrupt::{Interrupt, Watched, interrupted};
use crate::session::Session;

/// A client error as a failure. What a registry sent that is not what it promised is wrong input; all else is the surroundings.
pub(crate) fn failure(message: impl Into<String>, error: &ClientError) -> Failure {
    let failure = Failure::unable(message)
        .rooted_in(error)
        .hint_if(error.hint());
    match error {
        ClientError::NotFound { .. }
        | ClientError::Digest { .. }
        | ClientError::Size { .. }
        | ClientError::NoPlatform { .. }
        | ClientError::Image { .. } => failure.exit(Exit::Failed),
        _ => failure,
    }
}

/// Runs a future of the client until it ends or the user interrupts it.
pub(crate) fn interruptible<T>(
    client: &Blocking,
    session: &Session,
    future: impl Future<Output = T>,
) -> Outcome<T> {
    let interrupt = session.interrupt.clone();
    client.run(async move {
        tokio::select! {
            done = future => Ok(done),
            () = interrupt.wait() => Err(interrupted()),
        }
    })
}

/// Pulls an image into the store, checks its layers and names it.
pub(crate) fn pull(
    client: &Blocking,
    session: &Session,
    store: &LocalStore,
    reference: &Reference,
    platform: &Platform,
    observer: &dyn Observer,
) -> Outcome<PulledImage> {
    let _ = session.interrupt.watch();
    let pulled = pull_watched(client, session, store, reference, platform, observer);
    if session.interrupt.is_set() {
        forget_ingests(store);
        return Err(interrupted());
    }
    pulled
}

/// Waits for the threads that threw away what they had of the layers.
fn forget_ingests(store: &LocalStore) {
    for _ in 0..200 {
        let mut left = 0;
        let looked = store.blobs().walk_ingests(&mut |_, _, _| left += 1);
        if left == 0 || looked.is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn pull_watched(
    client: &Blocking,
    session: &Session,
    store: &LocalStore,
    reference: &Reference,
    platform: &Platform,
    observer: &dyn Observer,
) -> Outcome<PulledImage> {
    let blobs: Arc<dyn BlobStore> = Arc::new(store.blobs().clone());
    let pulling = || format!("cannot pull `{}`", reference.familiar());
    let failed = |error: ClientError| failure(pulling(), &error);
    let image = interruptible(
        client,
        session,
        client
            .client()
            .pull_documents(reference, platform, &blobs, observer),
    )?
    .map_err(failed)?;
    let layers = Layers::new(store, &session.interrupt, &image);
    let watch = Watch {
        layers: &layers,
        observer,
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(|| layers.check())).collect();
        let pulled = interruptible(
            client,
            session,
            client
                .client()
                .pull_layers(&image, &|_, _| true, &blobs, &watch),
        );
        layers.close();
        for worker in workers {
            // A panic there is one here.
            worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        pulled
    })?
    .map_err(failed)?;
    if let Some(failure) = layers.failure() {
        return Err(failure);
    }
    let naming = || format!("cannot name `{}`", reference.familiar());
    let pulled = &image.manifest_descriptor;
    store
        .tag(&reference.with_digest(image.top.descriptor.digest), pulled)
        .doing(naming)?;
    store.tag(reference, pulled).doing(naming)?;
    Ok(image)
}

/// Layers to check as they arrive: that they decompress to what the config promises.
#[derive(Debug)]
struct Layers<'a> {
    store: &'a LocalStore,
    interrupt: &'a Interrupt,
    expected: Vec<(Descriptor, DiffId)>,
    arrived: crossing::Queue<Digest>,
    failure: Mutex<Option<Failure>>,
}

impl<'a> Layers<'a> {
    fn new(store: &'a LocalStore, interrupt: &'a Interrupt, image: &PulledImage) -> Self {
        let layers = image.manifest.value().layers.iter().cloned();
        let diff_ids = image.config.value().rootfs.diff_ids.iter().copied();
        Self {
            store,
            interrupt,
            expected: layers.zip(diff_ids).collect(),
            arrived: crossing::Queue::default(),
            failure: Mutex::new(None),
        }
    }

    fn check(&self) {
        while let Some(digest) = self.arrived.pop() {
            for (blob, diff_id) in self
                .expected
                .iter()
                .filter(|(blob, _)| blob.digest == digest)
            {
                if let Err(failure) = check_layer(self.store, self.interrupt, blob, *diff_id) {
                    self.failure
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(failure);
                }
            }
        }
    }

    fn close(&self) {
        self.arrived.close();
    }

    fn failure(&self) -> Option<Failure> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Notes which layer a blob is, after reading it once.
pub(crate) fn check_layer(
    store: &LocalStore,
    interrupt: &Interrupt,
    blob: &Descriptor,
    layer: DiffId,
) -> Outcome<()> {
    let short = blob.digest.short();
    let reading = || format!("cannot read layer `{short}`");
    let known = store
        .layer_blob(layer)
        .doing(reading)?
        .is_some_and(|known| known == *blob)
        && store.toc(layer).doing(reading)?.is_some();
    if known {
        return Ok(());
    }
    let open = store
        .blobs()
        .open_file(&blob.digest)
        .doing(reading)?
        .ok_or_else(|| Failure::unable(format!("layer `{short}` has gone from the local store")))?
        .0;
    let compression = blob.media_type.layer_compression().ok_or_else(|| {
        Failure::input(format!(
            "layer `{short}` has the unknown media type `{}`",
            blob.media_type
        ))
    })?;
    let unpacked = compress::decompress(Watched::new(open, interrupt), compression);
    let summary = scan(unpacked).map_err(|error| {
        if interrupt.is_set() {
            return interrupted();
        }
        Failure::input(format!("layer `{short}` cannot be used")).caused_by(&error)
    })?;
    if summary.diff_id != layer {
        return Err(Failure::input(format!(
            "layer `{short}` does not hold what the image's config promises: its diff id is `{}`, not `{layer}`",
            summary.diff_id
        )));
    }
    store.note_layer(layer, blob).doing(reading)?;
    store.put_summary(&summary).doing(reading)
}

/// Hands arrived layers to the workers.
struct Watch<'a> {
    layers: &'a Layers<'a>,
    observer: &'a dyn Observer,
}

impl Observer for Watch<'_> {
    fn on_event(&self, event: &TransferEvent<'_>) {
        if let TransferEvent::Done { descriptor } | TransferEvent::Exists { descriptor } = event {
            self.layers.arrived.push(descriptor.digest);
        }
        self.observer.on_event(event);
    }
}

/// Base images for the builder.
#[derive(Debug)]
pub(crate) struct Source {
    session: Session,
    store: LocalStore,
    /// Made when the first image is asked for: most builds ask for none.
    client: Mutex<Option<Arc<Blocking>>>,
}

impl Source {
    pub(crate) const fn new(session: Session, store: LocalStore) -> Self {
        Self {
            session,
            store,
            client: Mutex::new(None),
        }
    }

    /// Shows what registries have warned of, if any was asked.
    pub(crate) fn show_warnings(&self) {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            self.session.show_warnings(client);
        }
    }

    fn client(&self) -> Outcome<Arc<Blocking>> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = &*client {
            return Ok(Arc::clone(client));
        }
        let fresh = Arc::new(self.session.registry()?);
        *client = Some(Arc::clone(&fresh));
        Ok(fresh)
    }
}

impl ImageSource for Source {
    fn fetch(
        &self,
        reference: &Reference,
        platform: &Platform,
        progress: &dyn Fn(&str, u64, u64),
    ) -> Result<Descriptor, SourceError> {
        let moved: crossing::Queue<(Digest, u64, u64)> = crossing::Queue::default();
        let observer = |event: &TransferEvent<'_>| {
            let (descriptor, done) = match event {
                TransferEvent::Started { descriptor } => (descriptor, 0),
                TransferEvent::Progress { descriptor, done } => (descriptor, *done),
                TransferEvent::Done { descriptor } => (descriptor, descriptor.size),
                _ => return,
            };
            moved.push((descriptor.digest, done, descriptor.size));
        };
        let pulled = std::thread::scope(|scope| {
            let puller = scope.spawn(|| {
                let pulled = self.client().and_then(|client| {
                    pull(
                        &client,
                        &self.session,
                        &self.store,
                        reference,
                        platform,
                        &observer,
                    )
                });
                moved.close();
                pulled
            });
            // The builder hears of it on its own thread.
            while let Some((digest, done, total)) = moved.pop() {
                progress(&digest.short(), done, total);
            }
            puller
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let image = pulled.map_err(|failure| SourceError {
            message: failure.causes.first().cloned().unwrap_or(failure.message),
            hint: failure.hint,
        })?;
        Ok(image.manifest_descriptor)
    }
}

mod crossing {
    //! A queue between the threads that move bytes and those that read them.

    use std::collections::VecDeque;
    use std::sync::{Condvar, Mutex, PoisonError};

    #[derive(Debug)]
    pub(super) struct Queue<T> {
        state: Mutex<(VecDeque<T>, bool)>,
        changed: Condvar,
    }

    impl<T> Default for Queue<T> {
        fn default() -> Self {
            Self {
                state: Mutex::new((VecDeque::new(), false)),
                changed: Condvar::new(),
            }
        }
    }

    impl<T> Queue<T> {
        pub(super) fn push(&self, item: T) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.0.push_back(item);
            self.changed.notify_one();
        }

        /// No more will come.
        pub(super) fn close(&self) {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.1 = true;
            self.changed.notify_all();
        }

        /// The next one; `None` when all are taken and no more will come.
        pub(super) fn pop(&self) -> Option<T> {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                if let Some(item) = state.0.pop_front() {
                    return Some(item);
                }
                if state.1 {
                    return None;
                }
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}
