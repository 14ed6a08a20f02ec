//! The stream of a tar: counted, hashed, and read in blocks.

use std::io::{self, Read};

use super::super::hash::{CHUNK, ChunkHasher};
use super::LayerError;
use crate::Digest;

pub(super) const BLOCK: usize = 512;

#[derive(Debug)]
pub(super) struct Input<R> {
    inner: R,
    chunk: Vec<u8>,
    /// Bytes of the chunk that have been read from `inner`.
    filled: usize,
    /// Bytes of the chunk that have been handed out.
    used: usize,
    /// Bytes of all chunks before this one.
    before: u64,
    hasher: ChunkHasher,
}

impl<R: Read> Input<R> {
    pub(super) fn new(inner: R) -> Self {
        Self {
            inner,
            chunk: vec![0; CHUNK],
            filled: 0,
            used: 0,
            before: 0,
            hasher: ChunkHasher::new(),
        }
    }

    /// How many bytes have been handed out.
    pub(super) const fn position(&self) -> u64 {
        self.before + self.used as u64
    }

    fn truncated(&self) -> LayerError {
        LayerError::Truncated {
            offset: self.position(),
        }
    }

    /// Some next bytes, not yet handed out; empty at the end.
    fn peek(&mut self) -> io::Result<&[u8]> {
        if self.used == CHUNK {
            let chunk = std::mem::take(&mut self.chunk);
            self.chunk = self.hasher.swap(chunk);
            self.before += CHUNK as u64;
            self.filled = 0;
            self.used = 0;
        }
        while self.used == self.filled {
            match self.inner.read(&mut self.chunk[self.filled..]) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.chunk[self.used..self.filled])
    }

    /// Hands out the next `size` bytes, piece by piece.
    pub(super) fn read(
        &mut self,
        size: u64,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), LayerError> {
        let mut left = size;
        while left > 0 {
            let bytes = self.peek()?;
            if bytes.is_empty() {
                return Err(self.truncated());
            }
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            take(&bytes[..count]);
            self.used += count;
            left -= count as u64;
        }
        Ok(())
    }

    /// The next block; none at the end of the stream.
    pub(super) fn block(&mut self) -> Result<Option<[u8; BLOCK]>, LayerError> {
        if self.peek()?.is_empty() {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        let mut at = 0;
        self.read(BLOCK as u64, |bytes| {
            block[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        })?;
        Ok(Some(block))
    }

    /// Skips what fills the last block of a content of `size` bytes.
    pub(super) fn skip_padding(&mut self, size: u64) -> Result<(), LayerError> {
        let over = size % BLOCK as u64;
        if over == 0 {
            return Ok(());
        }
        self.read(BLOCK as u64 - over, |_| {})
    }

    /// Reads to the end of the stream: what stands behind the archive counts for the digest.
    pub(super) fn drain(&mut self) -> io::Result<()> {
        loop {
            let count = self.peek()?.len();
            if count == 0 {
                return Ok(());
            }
            self.used += count;
        }
    }

    /// The digest of all that was read.
    pub(super) fn finish(self) -> Digest {
        self.hasher.finish(&self.chunk[..self.filled])
    }
}
