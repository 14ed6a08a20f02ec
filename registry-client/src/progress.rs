//! What the outside learns while bytes travel.

use std::time::Duration;

use rbuild_image::{Descriptor, Reference, RepositoryName};

use crate::ClientError;

/// Something that happened in a transfer.
#[derive(Debug)]
#[non_exhaustive]
pub enum TransferEvent<'a> {
    /// A name was looked up: it is this manifest or index now.
    Resolved {
        /// The name.
        reference: &'a Reference,
        /// What it names; digest and size.
        descriptor: &'a Descriptor,
    },
    /// The bytes are there already: in the store while pulling, in the registry while pushing.
    Exists {
        /// The blob.
        descriptor: &'a Descriptor,
    },
    /// The registry took the blob over from another of its repositories.
    Mounted {
        /// The blob.
        descriptor: &'a Descriptor,
        /// The repository that had it.
        from: &'a RepositoryName,
    },
    /// A blob begins to travel.
    Started {
        /// The blob.
        descriptor: &'a Descriptor,
    },
    /// So many bytes have travelled; comes with every piece, so the receiver throttles.
    /// It goes back when a transfer has to begin again.
    Progress {
        /// The blob; its `size` is the total.
        descriptor: &'a Descriptor,
        /// Bytes that have travelled.
        done: u64,
    },
    /// A transfer failed and is tried again.
    Retrying {
        /// What is tried again.
        what: &'a str,
        /// Why.
        error: &'a ClientError,
        /// After this time.
        delay: Duration,
    },
    /// A blob has arrived whole: pulled, verified and stored, or taken by the registry.
    Done {
        /// The blob.
        descriptor: &'a Descriptor,
    },
}

/// Gets the events. It is called from the threads that move the bytes, so it must not block.
///
/// To work on a layer as soon as it is here, hand its descriptor to another thread
/// on [`TransferEvent::Done`] and [`TransferEvent::Exists`].
pub trait Observer: Send + Sync {
    /// Something happened.
    fn on_event(&self, event: &TransferEvent<'_>);
}

/// Hears nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {
    fn on_event(&self, _event: &TransferEvent<'_>) {}
}

impl<F: Fn(&TransferEvent<'_>) + Send + Sync> Observer for F {
    fn on_event(&self, event: &TransferEvent<'_>) {
        self(event);
    }
}
