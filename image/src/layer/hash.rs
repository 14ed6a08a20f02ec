//! Hashing a long stream beside the work that makes it.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::{Digest, Hasher};

/// Bytes of one chunk. Large enough that handing it over costs nothing, small enough to stay in cache.
pub(super) const CHUNK: usize = 256 << 10;
/// Chunks between maker and hasher: with those at either end, what bounds the memory.
const QUEUE: usize = 4;

/// Computes the SHA-256 of a stream that comes in chunks, on a thread of its own once the stream is long.
///
/// Where no thread can be had it hashes in place.
#[derive(Debug)]
pub(super) struct ChunkHasher {
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing has come yet: short streams are not worth a thread.
    Fresh,
    Inline(Hasher),
    Beside(Beside),
}

#[derive(Debug)]
struct Beside {
    full: SyncSender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    made: usize,
    thread: JoinHandle<Hasher>,
}

impl ChunkHasher {
    pub(super) const fn new() -> Self {
        Self {
            state: State::Fresh,
        }
    }

    /// Never starts a thread.
    pub(super) fn inline() -> Self {
        Self {
            state: State::Inline(Hasher::sha256()),
        }
    }

    /// Takes a full chunk and returns one of [`CHUNK`] bytes to fill, whose content means nothing.
    pub(super) fn swap(&mut self, chunk: Vec<u8>) -> Vec<u8> {
        if matches!(self.state, State::Fresh) {
            self.state =
                Beside::start().map_or_else(|| State::Inline(Hasher::sha256()), State::Beside);
        }
        match &mut self.state {
            State::Beside(beside) => beside.swap(chunk),
            State::Inline(hasher) => {
                hasher.update(&chunk);
                chunk
            }
            State::Fresh => chunk,
        }
    }

    /// The digest of all chunks and of `last`, the bytes after them.
    pub(super) fn finish(self, last: &[u8]) -> Digest {
        let mut hasher = match self.state {
            State::Fresh => Hasher::sha256(),
            State::Inline(hasher) => hasher,
            State::Beside(beside) => beside.join(),
        };
        hasher.update(last);
        hasher.finish()
    }
}

impl Beside {
    fn start() -> Option<Self> {
        let (full, incoming) = sync_channel::<Vec<u8>>(QUEUE);
        let (outgoing, empty) = sync_channel(QUEUE + 2);
        let work = move || {
            let mut hasher = Hasher::sha256();
            for chunk in incoming {
                hasher.update(&chunk);
                // The maker may be gone, or have chunks enough.
                let _ = outgoing.try_send(chunk);
            }
            hasher
        };
        let thread = thread::Builder::new()
            .name("layer-hash".to_owned())
            .spawn(work)
            .ok()?;
        Some(Self {
            full,
            empty,
            made: 1,
            thread,
        })
    }

    fn swap(&mut self, chunk: Vec<u8>) -> Vec<u8> {
        self.send(chunk);
        if let Ok(chunk) = self.empty.try_recv() {
            return chunk;
        }
        if self.made < QUEUE {
            self.made += 1;
            return vec![0; CHUNK];
        }
        self.empty.recv().unwrap_or_else(|_| vec![0; CHUNK])
    }

    fn send(&self, chunk: Vec<u8>) {
        // It fails only after the hasher has panicked, which `join` hands on.
        let _ = self.full.send(chunk);
    }

    fn join(self) -> Hasher {
        drop(self.full);
        match self.thread.join() {
            Ok(hasher) => hasher,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
